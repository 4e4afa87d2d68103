"""kill -9 of a sender at each of its steps, and a database that goes: one order at most, and every outcome is found out.

Real processes, the real client and the loopback venue's own ledger. FAULTS.md rows 2, 4 to 8, 38 and 39.
"""

import sys

import psycopg
import pytest
from django.db import connection

from bots.models import Order
from tests.conftest import CommittedDatabase
from tests.faults.desk import Desk
from tests.faults.killer import DATABASE_GONE
from tests.faults.nursery import SIGKILLED
from tests.loopback import faults

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

BEFORE_THE_CLAIM = {
    "intent recorded, before the gate": "+bots.executor.steps.claim",
    "allowed, not committed": "-bots.executor.steps.claim",
    "audit rows written, before the commit": "-audit.log.append_rows",
}
CLAIMED = {
    "committed, before the broker": "-bots.executor.venue._claim",
    "before the second look": "+bots.executor.steps.second_look",
}
LOOKED = {
    "looked again, before the broker": "+bots.brokers.kraken.KrakenBroker.submit",
    "before the turn of the key": "+bots.brokers.signer.Signer.turn",
    "in the turn, number taken": "-bots.brokers.signer.Signer._claim",
    "signed, before the socket": "+bots.brokers.kraken_client.KrakenClient.private",
}
ANSWERED = {
    "answer read, turn not given back": "+bots.brokers.signer.Signer._give_back",
    "acknowledged, fills not asked for": "-bots.brokers.kraken.transaction_id",
    "reported, before its transaction": "+bots.executor.venue.apply",
    "booked, before the fill's audit row": "-bots.ledger.record_executions",
    "all written, before the commit": "-audit.log.append_rows:2",
}


@pytest.mark.fault(2)
@pytest.mark.parametrize("point", BEFORE_THE_CLAIM)
def test_killed_before_the_claim_commits_sends_nothing_and_the_repeat_has_the_same_id(
    kraken_desk: Desk, point: str
) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent, point=BEFORE_THE_CLAIM[point]) == SIGKILLED
    assert not Order.objects.exists()
    assert desk.sent() == 0
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "filled"
    assert desk.sent() == 1
    desk.check(intent, struck=point)


@pytest.mark.fault(2)
def test_killed_with_a_denial_not_committed_sends_nothing(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(quantity="90")
    assert desk.send(intent, point="-bots.executor.steps.deny") == SIGKILLED
    assert not Order.objects.exists()
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "denied"
    assert desk.sent() == 0
    desk.check(intent, struck="denied, not committed")


@pytest.mark.parametrize(
    "point",
    [
        *(pytest.param(point, marks=pytest.mark.fault(4)) for point in CLAIMED),
        *(pytest.param(point, marks=pytest.mark.fault(5)) for point in LOOKED),
    ],
)
def test_killed_between_claim_and_socket_is_never_sent_by_another(kraken_desk: Desk, point: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent, point=(CLAIMED | LOOKED)[point]) == SIGKILLED
    assert desk.order(intent).status == "submitting"
    assert desk.send(intent) == 0
    assert desk.sent() == 0
    desk.later(8)
    desk.chores()
    assert desk.order(intent).status == "submitting", "only its sender may end it before deadline and grace"
    desk.later(12)
    desk.chores()
    assert desk.order(intent).status == "unknown"
    for _ in range(2):
        desk.later(9)
        desk.chores()
        assert desk.order(intent).status == "unknown", "not the whole window has passed"
    desk.settle()
    assert desk.order(intent).status == "not_sent"
    assert desk.sent() == 0
    desk.check(intent, struck=point)


@pytest.mark.fault(6)
@pytest.mark.parametrize("limit", [None, "98"], ids=["fills at once", "rests"])
def test_killed_after_the_request_left_is_found_and_adopted(kraken_desk: Desk, limit: str | None) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(limit=limit)
    desk.venue.loopback.fault(faults.answer_lost(desk.venue.add))
    sender = desk.start_sending(intent)
    desk.venue.loopback.wait_until(lambda: desk.there(intent), bool, 30)
    desk.nursery.kill(sender)
    assert desk.order(intent).status == "submitting"
    desk.settle()
    assert desk.order(intent).status == ("filled" if limit is None else "accepted")
    assert "adopted" in desk.story(intent)
    assert desk.sent() == 1
    desk.check(intent, struck="the request had left, no answer yet")


@pytest.mark.fault(7)
@pytest.mark.parametrize("point", ANSWERED)
def test_killed_after_the_answer_is_found_and_adopted(kraken_desk: Desk, point: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent, point=ANSWERED[point]) == SIGKILLED
    assert desk.order(intent).status == "submitting"
    assert desk.there(intent) == 1
    desk.settle()
    assert desk.story(intent) == ["intent", "submitting", "unknown", "adopted", "filled"]
    assert desk.sent() == 1
    desk.check(intent, struck=point)


@pytest.mark.fault(8)
def test_killed_after_the_acknowledgement_has_its_fills_polled_on(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(limit="98")
    assert desk.send(intent, point="-bots.executor.venue.apply") == SIGKILLED
    order = desk.order(intent)
    assert order.status == "accepted"
    for part in ("0.1", "0.05", "0.15"):
        desk.venue.fill(order.venue_order_id, part)
        desk.later(31)
        desk.chores()
    assert desk.order(intent).status == "filled"
    assert desk.sent() == 1
    desk.check(intent, struck="acknowledged, its fills not there yet")


@pytest.mark.fault(38)
def test_database_that_goes_down_after_the_send_is_recovered_from_the_venue(
    kraken_desk: Desk, committed_db: CommittedDatabase
) -> None:
    if committed_db.vendor == "sqlite":
        pytest.skip("a file does not hang up")
    desk, intent = kraken_desk, kraken_desk.intent()
    desk.venue.loopback.fault(faults.arrives_late(desk.venue.add, 1.5))
    sender = desk.start_sending(intent)
    desk.venue.loopback.wait_for(desk.venue.add, timeout_s=30)
    with psycopg.connect(committed_db.url, autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
    connection.close()
    assert desk.nursery.wait(sender) == DATABASE_GONE
    assert desk.order(intent).status == "submitting"
    desk.settle()
    assert desk.story(intent) == ["intent", "submitting", "unknown", "adopted", "filled"]
    assert desk.sent() == 1
    desk.check(intent, struck="every connection was cut while the venue was asked")


@pytest.mark.fault(39)
@pytest.mark.parametrize(("step", "ends"), [("_claim", "not_sent"), ("apply", "filled")])
def test_commit_whose_acknowledgement_is_lost_is_read_again_before_anything_is_done(
    kraken_desk: Desk, step: str, ends: str
) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent, point=f"!bots.executor.venue.{step}") == DATABASE_GONE
    assert desk.send(intent) == 0
    desk.settle()
    assert desk.order(intent).status == ends
    assert desk.sent() == (step == "apply")
    desk.check(intent, struck=f"after the commit of {step.strip('_')}")
