"""One signer per key: threads, processes and a killed holder, against a venue that refuses every nonce that does not rise."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone

from audit.log import unit
from bots.brokers.base import VenueError
from bots.brokers.kraken import KrakenBroker
from bots.brokers.signer import OpenTransactionError, Signer, SignerBusy
from bots.brokers.turn_holder import is_gone, new_holder
from bots.models import NonceKey
from tests.bots.brokers.kraken_builders import broker_at, live_order, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def in_threads(*jobs: Callable[[], object]) -> None:
    """Run the jobs at once, each on a database connection of its own."""

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ask(broker: KrakenBroker, times: int) -> None:
    """Ask so many questions that reach the venue: on a busy machine a turn may take longer to come than a question waits."""
    for _ in range(times):
        while "got no turn" in (rights := broker.key_rights()).reason:
            pass
        assert rights.is_known, rights.reason


def check_nonces(venue: KrakenLoopback, count: int) -> None:
    """Check that so many requests came, one at a time, each with a higher nonce, and that none was refused."""
    entries = venue.log("GetApiKeyInfo")
    assert [entry.outcome for entry in entries] == ["ok"] * count
    nonces = [entry.nonce or 0 for entry in entries]
    assert nonces == sorted(set(nonces))
    for before, after in pairwise(entries):
        assert before.performed is not None
        assert after.received >= before.performed


def test_threads_of_one_process(kraken: KrakenLoopback) -> None:
    broker = broker_at(kraken)
    in_threads(*[partial(ask, broker, 15)] * 8)
    check_nonces(kraken, 120)


def test_brokers_that_know_nothing_of_each_other(kraken: KrakenLoopback) -> None:
    brokers = [broker_at(kraken) for _ in range(4)]
    in_threads(*(partial(ask, broker, 20) for broker in brokers))
    check_nonces(kraken, 80)


@pytest.mark.slow
def test_processes(kraken: KrakenLoopback, committed_db: CommittedDatabase) -> None:
    command = [sys.executable, "-m", "tests.bots.brokers.signer_worker", "25"]
    environ = committed_db.environ(**kraken.environ())
    workers = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [worker.communicate(timeout=180)[0].split("\n")[:-1] for worker in workers]
    assert said == [["ok"] * 25] * 4
    check_nonces(kraken, 100)


def kill_in_its_turn(kraken: KrakenLoopback, database: CommittedDatabase) -> None:
    """Leave the turn of a process that was killed while it waited for its answer."""
    kraken.fault(faults.answer_lost("GetApiKeyInfo"))
    command = [sys.executable, "-m", "tests.bots.brokers.signer_worker", "1"]
    with subprocess.Popen(command, env=database.environ(**kraken.environ()), stdout=subprocess.DEVNULL) as worker:
        kraken.wait_for("GetApiKeyInfo", timeout_s=30)
        worker.send_signal(signal.SIGKILL)
    assert NonceKey.objects.get().holder


@pytest.mark.slow
def test_turn_of_a_killed_process_is_taken_over(kraken: KrakenLoopback, committed_db: CommittedDatabase) -> None:
    kill_in_its_turn(kraken, committed_db)
    # The first question already: it does not have to wait until the turn ends by itself.
    assert broker_at(kraken).key_rights().is_known
    nonces = [entry.nonce or 0 for entry in kraken.log("GetApiKeyInfo")]
    assert nonces == sorted(set(nonces))
    assert len(nonces) == 2


@pytest.mark.slow
def test_turn_of_a_process_of_another_host_ends_by_itself(
    kraken: KrakenLoopback, committed_db: CommittedDatabase
) -> None:
    kill_in_its_turn(kraken, committed_db)
    id_, _, pid = NonceKey.objects.get().holder.split(" ")
    NonceKey.objects.update(holder=f"{id_} elsewhere {pid}")
    broker = broker_at(kraken)
    refused = broker.key_rights()
    assert not refused.is_known
    assert "got no turn" in refused.reason
    assert broker.key_rights().is_known
    assert len(kraken.log("GetApiKeyInfo")) == 2


def test_turn_of_a_process_that_runs_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        id_, place, _ = new_holder().split(" ")
        holder = f"{id_} {place} {running.pid}"
        assert not is_gone(holder)
        running.kill()
        running.wait()
        assert is_gone(holder) == bool(place)
    assert not is_gone("")
    assert not is_gone(f"{id_} elsewhere 1")
    assert not is_gone(new_holder())


@pytest.mark.parametrize("jump", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_clock_that_jumps_holds_nobody_up_and_the_nonce_still_rises(
    kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    others = broker_at(kraken)
    others.cancel(live_order(), "OAAAAA-BBBBB-CCCCCC", urgent=True)
    now, time_ns = timezone.now, time.time_ns
    monkeypatch.setattr(timezone, "now", lambda: now() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + jump // timedelta(microseconds=1) * 1000)
    began = time.monotonic()
    assert broker_at(kraken).key_rights().is_known
    assert others.cancel(order, order_id).status == "canceled"
    # It waited for the urgent request's second at most, and not for ten minutes.
    assert time.monotonic() - began < 30
    asked = [entry for entry in kraken.log() if entry.nonce]
    nonces = [entry.nonce or 0 for entry in asked]
    assert nonces == sorted(set(nonces))
    assert not [entry for entry in asked if "nonce" in entry.outcome]


def test_turn_left_by_a_clock_that_was_set_back_is_free() -> None:
    with Signer("key").turn(timezone.now() + timedelta(seconds=5)):
        NonceKey.objects.update(expires_at=timezone.now() + timedelta(minutes=10), urgent_until=timezone.now())
        with Signer("key").turn(timezone.now() + timedelta(seconds=5)) as nonce:
            assert nonce


def test_clock_that_was_set_back_does_not_bring_back_a_nonce(kraken: KrakenLoopback) -> None:
    broker = broker_at(kraken)
    assert broker.key_rights().is_known
    ahead = (time.time_ns() + 600 * 10**9) // 1000
    NonceKey.objects.update(nonce=ahead)
    assert [broker.key_rights().is_known for _ in range(2)] == [True, True]
    assert [entry.nonce for entry in kraken.log("GetApiKeyInfo")][1:] == [ahead + 1, ahead + 2]


def test_key_itself_is_not_in_the_database(kraken: KrakenLoopback) -> None:
    broker_at(kraken).key_rights()
    row = NonceKey.objects.get()
    assert len(row.name) == 64
    assert kraken.key not in row.name
    assert row.holder == ""


def test_urgent_cancel_goes_before_all_that_waits(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    ours, other = broker_at(kraken), broker_at(kraken)
    kraken.fault(faults.arrives_late("GetApiKeyInfo", 1.5))
    before = kraken.last_id()

    def ask_account(broker: KrakenBroker) -> None:
        kraken.wait_for("GetApiKeyInfo")
        # On a busy machine some get no turn in time; what counts is who came first.
        with suppress(VenueError):
            broker.account()

    def cancel() -> None:
        kraken.wait_for("GetApiKeyInfo")
        time.sleep(0.5)
        ours.cancel(order, order_id, urgent=True)

    in_threads(ours.key_rights, *[partial(ask_account, broker) for broker in (ours, other) * 3], cancel)
    asked = [entry.path for entry in kraken.log(after_id=before) if entry.nonce]
    assert asked[:3] == ["GetApiKeyInfo", "CancelOrder", "QueryOrders"]
    assert "BalanceEx" in asked


def test_turn_that_does_not_come_in_time_sends_nothing(kraken: KrakenLoopback) -> None:
    signer = Signer(kraken.key)
    order = live_order()
    with signer.turn(timezone.now() + timedelta(seconds=40)):
        began = time.monotonic()
        report = send(order, within_s=3)
        # Far below the turn that it waits for, and far above what a busy machine adds to its own time.
        assert time.monotonic() - began < 20
    assert report.status == "rejected"
    assert "nothing was sent" in report.reason
    assert kraken.log("AddOrder") == []


def test_order_whose_turn_comes_too_late_for_the_venues_deadline_is_not_sent(kraken: KrakenLoopback) -> None:
    signer = Signer(kraken.key)
    reports = []

    def hold() -> None:
        with signer.turn(timezone.now() + timedelta(seconds=10)):
            time.sleep(2.2)

    def submit() -> None:
        time.sleep(0.2)
        reports.append(send(live_order(), within_s=3))

    in_threads(hold, submit)
    assert [report.status for report in reports] == ["rejected"]
    assert kraken.log("AddOrder") == []


def test_wait_ends_at_the_deadline() -> None:
    first, second = Signer("key"), Signer("key")
    with first.turn(timezone.now() + timedelta(seconds=40)):
        for signer in (first, second):
            began = time.monotonic()
            with pytest.raises(SignerBusy), signer.turn(timezone.now() + timedelta(seconds=0.3)):
                pass
            assert 0.2 < time.monotonic() - began < 15


def test_keys_do_not_wait_for_each_other() -> None:
    deadline = timezone.now() + timedelta(seconds=5)
    with Signer("one").turn(deadline), Signer("two").turn(deadline) as nonce:
        assert nonce > 0


def test_nothing_is_asked_inside_a_transaction(kraken: KrakenLoopback) -> None:
    with unit(), pytest.raises(OpenTransactionError):
        broker_at(kraken).key_rights()
    assert kraken.log("GetApiKeyInfo") == []


def test_answer_survives_a_turn_that_could_not_be_given_back(kraken: KrakenLoopback) -> None:
    broker = broker_at(kraken)
    assert broker.key_rights().is_known
    with Signer(kraken.key).turn(timezone.now() + timedelta(seconds=5)) as nonce, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE nonce_keys RENAME TO nonce_keys_away")
    assert nonce
    # Without the table there is no turn either: nothing leaves.
    rights = broker.key_rights()
    assert "the database could not give a turn" in rights.reason
    assert len(kraken.log("GetApiKeyInfo")) == 1
