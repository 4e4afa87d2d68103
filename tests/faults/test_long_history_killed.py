"""kill -9 in the middle of a long history, which is read over many rounds: where it goes on is in the database alone.

Real processes under the smallest rate limit, and the loopback venue's own ledger.
"""

import sys
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from bots.models import AccountMovement, AccountSync, RateCounter, ReconciliationRun
from bots.reconciliation.queries import view
from tests.faults.desk import RECONCILE, Desk
from tests.faults.nursery import SIGKILLED
from tests.faults.venues import KrakenSide
from tests.loopback.client import KrakenLoopback

pytestmark = [
    pytest.mark.workers,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

FILLS, DEPOSITS = 110, 12
#: What falls off Kraken's smallest limit in a second, and what passes between two rounds: a dead process's turn is over by then.
DECAY, ROUND_S = 0.33, 31
ROUNDS_MAX = 40

IN_A_PART = {
    "page answered, nothing counted": "+bots.reconciliation.history.count",
    "some of a part counted, not committed": "-bots.reconciliation.movements.count",
    "some of a part counted": "-bots.reconciliation.movements.count:2",
    "part counted, its end not kept": "+bots.reconciliation.history.keep:2",
    "end kept": "-bots.reconciliation.history.keep:2",
    "all read, not committed": "-bots.reconciliation.movements.undo_ours",
}


def round_of_a_process(desk: Desk, kraken: KrakenLoopback, **options: str) -> object:
    """Let time pass and a fresh process do one round; return how it ended."""
    desk.later(ROUND_S)
    kraken.set_tier("starter", counter=max(0.0, kraken.counter() - DECAY * ROUND_S))
    return desk.chores(RECONCILE, **options)


@pytest.mark.fault(9)
@pytest.mark.parametrize("point", IN_A_PART)
def test_process_killed_while_a_long_history_is_read_doubles_and_misses_nothing(
    kraken_desk: Desk, kraken: KrakenLoopback, point: str
) -> None:
    desk, side = kraken_desk, kraken_desk.venue
    assert isinstance(side, KrakenSide)
    assert desk.send(desk.intent()) == 0
    desk.later(61)
    assert desk.chores(RECONCILE) == 0
    assert view("kraken", is_live=True).baseline_at is not None
    RateCounter.objects.all().delete()
    kraken.set_tier("starter")
    then = timezone.now() - timedelta(hours=3)
    AccountSync.objects.update(baseline_at=then, history_at=then, history_since=then)
    mine = set(kraken.trades())
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=True):
        order_id = kraken.place("sell", f"{FILLS * Decimal('0.0001'):f}", price="150")
        for _ in range(FILLS):
            kraken.fill(order_id, "0.0001")
        for _ in range(DEPOSITS):
            side.deposit("1.0001")
    there = set(kraken.trades()) - mine
    for _ in range(ROUNDS_MAX):
        ended = round_of_a_process(desk, kraken, point=IN_A_PART[point])
        if ended == SIGKILLED:
            break
        assert ended == 0
    assert ended == SIGKILLED, "the point was never reached"
    assert AccountSync.objects.get().holder, "its turn was not given back"
    for _ in range(ROUNDS_MAX):
        assert round_of_a_process(desk, kraken) == 0
        if ReconciliationRun.objects.latest("id").state == "agrees":
            break
    found = view("kraken", is_live=True)
    assert (found.last_run and found.last_run.state, found.reading, found.differences) == ("agrees", "", ())
    assert {line.delta for line in found.lines} == {0}
    counted = AccountMovement.objects.filter(counts=True, undone_at__isnull=True)
    references = sorted(counted.filter(kind="external_fill").values_list("reference", flat=True))
    assert references == sorted(2 * [f"fill:{one}" for one in there])
    assert counted.filter(kind="deposit").count() == DEPOSITS
    desk.check(struck=point)
