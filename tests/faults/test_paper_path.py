"""The paper path under kill -9, freezes and a failing database: real processes, real commits, then the oracle.

FAULTS.md rows 1, 2, 4, 9, 32, 33, 37, 40 and 41, as far as they concern the built-in paper broker.
"""

import random
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from audit.models import OrderEvent
from bots.models import Bot, BotTick, Fill, Lease, Order, Position
from bots.strategies import registry
from bots.workers.leases import SHARD_COUNT, LeaseHolder, shard_lease
from tests.bots.builders import Floor, Worker, buy, make_bot, position_of
from tests.conftest import CommittedDatabase
from tests.faults.churn import Churn
from tests.faults.conftest import LEASE_LOST, SIGKILLED, Nursery
from tests.faults.oracle import check_everything

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

LOOKED = "+bots.tick.unit"
#: Where a tick is killed, in the order in which it gets there: what it has done by then, and nothing of it is committed.
BEFORE_THE_COMMIT = {
    "looked, before the transaction": LOOKED,
    "locked, before the intent": "+bots.tick.executor.submit",
    "intent recorded, before the gate": "+bots.executor.paper.gather",
    "claimed, before the second look": "+bots.executor.steps.second_look",
    "before the send": "+bots.brokers.paper.PaperBroker.submit",
    "filled, not booked": "-bots.brokers.paper.PaperBroker.submit",
    "order and fills booked, position not": "-bots.ledger._save_deal",
    "booked, fill not recorded": "-bots.ledger.record_executions",
    "in the middle of the batch": "+bots.tick._act:2",
    "all bots done, ticks not saved": "+bots.tick._save",
    "lease checked": "-bots.workers.leases.Fence.check",
    "audit rows inserted, heads not moved": "-audit.insert._insert",
    "heads moved, before the commit": "-audit.log.append_rows",
}
AFTER_THE_COMMIT = {"committed, before anyone was told": "-bots.tick.tick_batch"}
POINTS = BEFORE_THE_COMMIT | AFTER_THE_COMMIT
ROUNDS = 3


@pytest.fixture
def churners(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ids of three running bots that trade at every tick."""
    monkeypatch.setitem(registry._strategies, Churn.key, Churn())
    return [make_bot(f"churn {number}", strategy=Churn.key).pk for number in range(3)]


@pytest.mark.parametrize("point", POINTS)
def test_tick_killed_and_repeated_loses_and_doubles_nothing(nursery: Nursery, churners: list[int], point: str) -> None:
    for number in range(ROUNDS):
        due_at = timezone.now()
        before = _counts()
        assert nursery.run("tick", churners, due_at=due_at.isoformat(), point=POINTS[point]) == SIGKILLED
        check_everything()
        killed = _counts()
        if point in BEFORE_THE_COMMIT:
            assert killed == before, "something of an unfinished tick was kept"
        assert nursery.run("tick", churners, due_at=due_at.isoformat()) == 0
        check_everything()
        # Entry or exit: each bot traded once at this due time, whoever brought it about. A repeat may go on to the
        # other leg, never to the same again.
        ids = Order.objects.filter(created_at__gte=due_at).values_list("bot_id", "leg")
        assert len(ids) == len(set(ids))
        assert {bot_id for bot_id, _ in ids} == set(churners)
        assert set(BotTick.objects.values_list("due_at", flat=True)) == {due_at}, number
    assert not Bot.objects.exclude(status="running").exists()


def test_tick_killed_at_random_moments_loses_and_doubles_nothing(nursery: Nursery, churners: list[int]) -> None:
    """The points above are between our own calls; this also lands inside the driver, the broker of commits and the disk."""
    chance = random.Random(20260301)
    ends = []
    for _ in range(15):
        due_at = timezone.now().isoformat()
        ends.append(nursery.run("tick", churners, due_at=due_at, kill_after_s=chance.uniform(0.005, 0.08)))
        status = nursery.run("tick", churners, due_at=due_at)
        if status == LEASE_LOST:
            # The server finished the dead process's claim after its leases had been freed; nothing was written under it.
            check_everything()
            status = nursery.run("tick", churners, due_at=due_at)
        assert status == 0
        check_everything()
    assert SIGKILLED in ends
    assert not Bot.objects.exclude(status="running").exists()


@pytest.mark.parametrize(
    "point", ["claimed, before the second look", "filled, not booked", "heads moved, before the commit"]
)
def test_close_by_hand_that_was_killed_can_be_asked_for_again(
    nursery: Nursery, churners: list[int], point: str
) -> None:
    assert nursery.run("tick", churners, due_at=timezone.now().isoformat()) == 0
    held = Position.objects.get(bot=churners[0]).quantity
    assert held > 0
    assert nursery.run("close", churners[:1], point=POINTS[point]) == SIGKILLED
    check_everything()
    assert Position.objects.get(bot=churners[0]).quantity == held
    assert Bot.objects.get(pk=churners[0]).status == "running"
    assert nursery.run("close", churners[:1]) == 0
    assert Position.objects.get(bot=churners[0]).quantity == 0
    assert Order.objects.filter(bot=churners[0], side="sell").count() == 1
    check_everything()


# Two workers, and one that was frozen.


def test_worker_frozen_past_its_lease_writes_nothing_when_it_thaws(nursery: Nursery, churners: list[int]) -> None:
    due_at = timezone.now().isoformat()
    frozen = nursery.freeze("tick", churners, due_at=due_at, point=LOOKED)
    _run_out()
    assert nursery.run("tick", churners, due_at=due_at) == 0
    before = _counts()
    assert nursery.thaw(frozen) == LEASE_LOST
    assert _counts() == before
    check_everything()


def test_worker_frozen_with_its_orders_filled_is_fenced_at_the_commit(nursery: Nursery, churners: list[int]) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("a frozen writer holds the whole of a SQLite database; its one host freezes as a whole")
    before = _counts()
    frozen = nursery.freeze("tick", churners, due_at=timezone.now().isoformat(), point="+bots.tick._save")
    _run_out()
    names = [shard_lease(shard) for shard in range(SHARD_COUNT)]
    assert len(LeaseHolder("other").claim(names, SHARD_COUNT)) == SHARD_COUNT
    assert nursery.thaw(frozen) == LEASE_LOST
    assert _counts() == before
    check_everything()


def test_two_workers_with_one_tick_order_once(nursery: Nursery, churners: list[int]) -> None:
    """The task was delivered twice: the second finds the leases held, and has no bot to tick."""
    due_at = timezone.now().isoformat()
    frozen = nursery.freeze("tick", churners, due_at=due_at, point=LOOKED)
    assert nursery.run("tick", churners, due_at=due_at) == LEASE_LOST
    assert not Order.objects.exists()
    assert nursery.thaw(frozen) == 0
    assert Order.objects.count() == len(churners)
    check_everything()


# The database fails.


def test_database_that_goes_away_before_the_intent_leaves_nothing(
    committed_db: CommittedDatabase, floor: Floor
) -> None:
    if committed_db.vendor == "sqlite":
        pytest.skip("a file does not hang up")
    bot = make_bot(strategy=_cut_off_at_the_second_look(floor, committed_db))
    with pytest.raises(OperationalError):
        Worker().tick(bot)
    connection.close()
    assert not Order.objects.exists()
    assert Bot.objects.get().status == "running"
    Lease.objects.update(holder="")
    Worker("next").tick(bot)
    assert Order.objects.get().status == "filled"
    check_everything()


def _cut_off_at_the_second_look(floor: Floor, database: CommittedDatabase) -> str:
    def script(view: Any) -> list[Any]:
        if len(strategy.views) == 2:
            with psycopg.connect(database.url, autocommit=True) as other, connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                other.execute("SELECT pg_terminate_backend(%s)", cursor.fetchone())
        return [buy("0.5")]

    strategy = floor.strategy("cut off", script)
    return strategy.key


def test_locked_sqlite_is_waited_for_and_then_given_up_cleanly(committed_db: CommittedDatabase, floor: Floor) -> None:
    if committed_db.vendor != "sqlite":
        pytest.skip("only SQLite locks the whole database")
    floor.strategy("eager", lambda view: [buy("0.5")])
    bot = make_bot(strategy="eager")
    worker = Worker()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=200")
    with closing(sqlite3.connect(committed_db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = datetime.now(tz=timezone.get_default_timezone())
        with pytest.raises(OperationalError, match="locked"):
            worker.tick(bot)
        assert datetime.now(tz=timezone.get_default_timezone()) - started < timedelta(seconds=5)
        other.execute("ROLLBACK")
    assert not Order.objects.exists()
    assert Bot.objects.get().status == "running"
    worker.tick(bot)
    assert Order.objects.get().status == "filled"
    check_everything()


def test_full_disk_refuses_the_order_and_keeps_the_books_whole(committed_db: CommittedDatabase, floor: Floor) -> None:
    if committed_db.vendor != "sqlite":
        pytest.skip("a PostgreSQL server's disk cannot be filled from here")
    floor.strategy("eager", lambda view: [buy("0.1", leg=f"leg-{view.now:%f}")])
    bot = make_bot(strategy="eager", capital_usd=Decimal(100_000))
    worker = Worker()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count={cursor.fetchone()[0] + 2}")
    now = timezone.now()
    with pytest.raises(OperationalError, match="full"):
        _tick_on(worker, bot, now)
    connections["default"].close()
    check_everything()
    orders, rows = Order.objects.count(), OrderEvent.objects.count()
    assert (rows, Fill.objects.count()) == (3 * orders, orders)
    assert position_of(bot).quantity == orders * Decimal("0.1")


def _tick_on(worker: Worker, bot: Bot, now: datetime) -> None:
    for _ in range(100):
        now += timedelta(seconds=20)
        worker.leases.renew()
        worker.tick(bot, now=now, due_at=now)


def _counts() -> tuple[int, ...]:
    """Return how many rows there are of everything that a tick writes."""
    tables = (Order, Fill, Position, OrderEvent)
    return (*(table.objects.count() for table in tables), BotTick.objects.filter(ticked_at__isnull=False).count())


def _run_out() -> None:
    """Let every lease run out now."""
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
