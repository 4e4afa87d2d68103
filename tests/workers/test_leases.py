"""Leases and fences, with real commits and several threads. PostgreSQL shows what SQLite's one writer hides."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from bots.models import Lease
from bots.workers.database_time import database_time
from bots.workers.leases import (
    LEASE_TTL_S,
    SHARD_COUNT,
    Fence,
    LeaseHolder,
    LeaseLost,
    free_leases_of,
    shard_lease,
    shard_of,
)
from tests.conftest import CommittedDatabase, on_sqlite

NAMES = [shard_lease(shard) for shard in range(SHARD_COUNT)]


def expire(*names: str) -> None:
    """Let these leases run out a second ago."""
    Lease.objects.filter(name__in=names).update(expires_at=database_time(-1))


def in_thread(act: Callable[[], object]) -> object:
    """Do something on another connection."""

    def run() -> object:
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(timeout=20)


def holder_of(*names: str, holder: str = "one") -> LeaseHolder:
    leases = LeaseHolder(holder)
    assert leases.claim(names, len(names)) == set(names)
    leases.renew()
    return leases


def test_every_bot_belongs_to_exactly_one_shard() -> None:
    assert {shard_of(bot_id) for bot_id in range(1, 1000)} == set(range(SHARD_COUNT))


@pytest.mark.django_db
class TestClaim:
    def test_free_leases_are_won_up_to_the_limit_with_a_new_token(self) -> None:
        leases = LeaseHolder("one")
        assert leases.claim(NAMES, 5) == set(sorted(NAMES)[:5])
        assert set(leases.epochs.values()) == {1}
        assert Lease.objects.filter(holder="one").count() == 5

    def test_held_leases_are_not_won(self) -> None:
        holder_of(*NAMES[:8])
        other = LeaseHolder("two")
        assert other.claim(NAMES, 16) == set(NAMES[8:])

    def test_expired_lease_is_won_with_a_higher_token(self) -> None:
        holder_of("shard:3")
        expire("shard:3")
        other = LeaseHolder("two")
        assert other.claim(["shard:3"], 1) == {"shard:3"}
        assert other.fence().token == "shard:3#2"

    def test_lease_just_before_its_end_is_not_won(self) -> None:
        holder_of("shard:3")
        Lease.objects.update(expires_at=database_time(0.5))
        assert LeaseHolder("two").claim(["shard:3"], 1) == set()

    def test_expiry_far_ahead_from_a_clock_that_was_set_back_does_not_hold_for_ever(self) -> None:
        holder_of("shard:3")
        Lease.objects.update(expires_at=database_time(600))
        assert LeaseHolder("two").claim(["shard:3"], 1) == {"shard:3"}

    @pytest.mark.parametrize("limit", [0, -3])
    def test_nothing_is_claimed_without_room(self, limit: int) -> None:
        assert LeaseHolder("one").claim(NAMES, limit) == set()

    def test_released_lease_is_won_at_once(self) -> None:
        holder_of("shard:3", "shard:4").release(["shard:3"])
        other = LeaseHolder("two")
        assert other.claim(["shard:3", "shard:4"], 2) == {"shard:3"}


@pytest.mark.django_db
class TestRenew:
    def test_renewed_lease_lives_one_lifetime_more(self) -> None:
        leases = holder_of("shard:3")
        Lease.objects.update(expires_at=database_time(0.5))
        assert leases.renew() == set()
        assert Lease.objects.filter(expires_at__gt=database_time(LEASE_TTL_S - 1)).exists()

    def test_expired_lease_is_lost_even_when_nobody_took_it(self) -> None:
        leases = holder_of("shard:3", "shard:4")
        expire("shard:3")
        assert leases.renew() == {"shard:3"}
        assert leases.names == {"shard:4"}

    def test_lease_that_another_took_is_lost_and_left_alone(self) -> None:
        leases = holder_of("shard:3")
        expire("shard:3")
        LeaseHolder("two").claim(["shard:3"], 1)
        assert leases.renew() == {"shard:3"}
        leases.release()
        assert Lease.objects.get(pk="shard:3").holder == "two"

    def test_lease_with_another_token_is_lost(self) -> None:
        leases = holder_of("shard:3")
        Lease.objects.update(epoch=9)
        assert leases.renew() == {"shard:3"}

    def test_leases_of_a_dead_worker_are_freed_by_its_id_only(self) -> None:
        holder_of("shard:3")
        holder_of("shard:4", holder="two")
        assert free_leases_of(["one"]) == 1
        assert dict(Lease.objects.values_list("name", "holder")) == {"shard:3": "", "shard:4": "two"}


@pytest.mark.django_db
class TestFence:
    def test_check_passes_while_held(self) -> None:
        holder_of("shard:3", "shard:4").fence().check()

    @pytest.mark.parametrize("change", [{"holder": "two"}, {"epoch": 2}, {"expires_at": None}])
    def test_check_refuses_another_holder_another_token_and_an_expired_lease(self, change: dict[str, object]) -> None:
        fence = holder_of("shard:3", "shard:4").fence()
        if "expires_at" in change:
            expire("shard:4")
        else:
            Lease.objects.filter(pk="shard:4").update(**change)
        with pytest.raises(LeaseLost, match="shard:4"):
            fence.check()

    def test_check_refuses_a_lease_that_is_gone(self) -> None:
        fence = holder_of("shard:3").fence()
        Lease.objects.all().delete()
        with pytest.raises(LeaseLost):
            fence.check()

    def test_narrowed_fence_needs_only_its_own_leases(self) -> None:
        fence = holder_of("shard:3", "shard:4").fence()
        expire("shard:4")
        fence.for_bot(3).check()
        with pytest.raises(LeaseLost):
            fence.for_bot(4).check()

    def test_fence_of_a_bot_of_another_worker_is_refused(self) -> None:
        with pytest.raises(LeaseLost, match="shard:5"):
            holder_of("shard:3").fence().for_bot(5)

    def test_token_names_every_lease_and_its_epoch(self) -> None:
        assert holder_of("shard:3", "shard:10").fence().token == "shard:10#1,shard:3#1"

    def test_outlives_is_true_just_inside_the_lifetime_and_false_just_beyond(self) -> None:
        fence = holder_of("shard:3").fence()
        assert fence.outlives(timezone.now() + timedelta(seconds=LEASE_TTL_S - 0.5))
        assert not fence.outlives(timezone.now() + timedelta(seconds=LEASE_TTL_S + 0.01))

    def test_outlives_is_false_after_a_sleep_that_only_the_wall_clock_saw(self) -> None:
        held = holder_of("shard:3").fence()
        slept = type(held.confirmed)(held.confirmed.monotonic_s, held.confirmed.wall - timedelta(seconds=60))
        fence = Fence(held.holder, held.epochs, slept)
        assert not fence.outlives(timezone.now())


def test_check_outside_a_transaction_is_refused(committed_db: CommittedDatabase) -> None:
    fence = holder_of("shard:3").fence()
    with pytest.raises(TransactionManagementError):
        fence.check()


def test_frozen_holder_cannot_commit_after_another_took_over(committed_db: CommittedDatabase) -> None:
    fence = holder_of("shard:3").fence()
    expire("shard:3")
    in_thread(lambda: LeaseHolder("two").claim(["shard:3"], 1))

    def write_late() -> None:
        with transaction.atomic():
            Lease.objects.create(name="written by the frozen one", expires_at=timezone.now())
            fence.check()

    with pytest.raises(LeaseLost):
        write_late()
    assert not Lease.objects.filter(name="written by the frozen one").exists()


def test_nobody_takes_a_lease_between_the_check_and_the_commit(committed_db: CommittedDatabase) -> None:
    fence = holder_of("shard:3").fence()
    committed_at: list[float] = []
    won_at: list[float] = []

    def take_over() -> None:
        other = LeaseHolder("two")
        ends_s = time.monotonic() + 10
        while not other.claim(["shard:3"], 1) and time.monotonic() < ends_s:
            time.sleep(0.01)
        won_at.append(time.monotonic())
        connection.close()

    thread = threading.Thread(target=take_over)
    with transaction.atomic():
        Lease.objects.filter(pk="shard:3").update(expires_at=database_time(0.3))
        fence.check()
        thread.start()
        time.sleep(0.8)  # the lease runs out while the transaction is still open
        assert not won_at
        committed_at.append(time.monotonic())
    thread.join(timeout=15)
    assert committed_at[0] <= won_at[0]


def test_many_claimers_never_share_a_lease(committed_db: CommittedDatabase) -> None:
    holders = [LeaseHolder(f"holder {number}") for number in range(8)]
    start = threading.Barrier(len(holders))

    def claim(leases: LeaseHolder) -> frozenset[str]:
        try:
            start.wait(timeout=10)
            return frozenset().union(*(leases.claim(NAMES, 4) for _ in range(3)))
        finally:
            connection.close()

    with ThreadPoolExecutor(len(holders)) as pool:
        won = list(pool.map(claim, holders))
    taken = [name for names in won for name in names]
    assert sorted(taken) == sorted(set(taken)) == sorted(NAMES)
    assert set(Lease.objects.values_list("epoch", flat=True)) == {1}


def test_claim_does_not_wait_for_a_transaction_that_holds_the_row(committed_db: CommittedDatabase) -> None:
    if on_sqlite():
        pytest.skip("SQLite has one writer: there is no row to skip")
    fence = holder_of("shard:3").fence()
    started_s = time.monotonic()
    with transaction.atomic():
        fence.check()
        Lease.objects.filter(pk="shard:3").update(expires_at=database_time(-1))
        assert in_thread(lambda: LeaseHolder("two").claim(["shard:3", "shard:4"], 2)) == {"shard:4"}
    assert time.monotonic() - started_s < 5
