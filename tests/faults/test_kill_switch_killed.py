"""kill -9 in the middle of the kill switch and of a flatten: the latch holds, the work goes on, nothing is sold twice.

FAULTS.md rows 12 and 13, with real processes.
"""

import sys
from decimal import Decimal

import pytest
from django.utils import timezone

from bots.markets import market_for
from bots.models import Bot, Order, Position
from bots.strategies import registry
from safety import kill_runs
from safety.intents import Level, Side
from safety.kill_switch import read_state
from safety.models import KillRun
from tests.bots.builders import make_bot, trade
from tests.conftest import CommittedDatabase
from tests.faults.churn import Churn
from tests.faults.conftest import SIGKILLED, Nursery
from tests.faults.oracle import check_everything

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

BEFORE_THE_COMMIT = {
    "before the state is locked": "+safety.kill_switch._locked",
    "state raised, not committed": "-safety.kill_switch._raise_locked",
    "heads moved, before the commit": "-audit.log.append_rows",
}
AFTER_THE_COMMIT = {
    "committed, nobody told": "+safety.kill_switch.tell_engaged",
    "time kept": "-safety.kill_switch._timed",
    "expected, nothing cancelled": "-safety.kill_runs.expect",
    "first order cancelled, not committed": "-bots.executor.cancel",
    "first bot done": "+bots.executor.cancel:2",
    "all cancelled, not noted": "+bots.clean_up._note",
    "noted": "-safety.kill_runs.note",
}
FLATTEN_POINTS = {
    "begun, nobody told": "+safety.kill_switch.tell_engaged",
    "before the first sale": "+bots.flatten._intent",
    "claimed": "+bots.executor.steps.second_look",
    "sold, not booked": "-bots.brokers.paper.PaperBroker.submit",
    "first bot sold, second not": "+bots.flatten._sell_paper:2",
    "all sold, not ended": "+bots.flatten._end",
    "ended, not committed": "-safety.kill_switch._audit:2",
    "ended, not cleaned up": "-bots.flatten._end",
}


@pytest.fixture
def holders(committed_db: CommittedDatabase, nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> list[Bot]:
    """Return two bots on the recorded market, each with a position and a resting purchase."""
    monkeypatch.setitem(registry._strategies, Churn.key, Churn())
    bots = [make_bot(f"holder {number}", strategy=Churn.key) for number in range(2)]
    assert nursery.run("tick", [bot.pk for bot in bots], due_at=timezone.now().isoformat()) == 0
    for bot in bots:
        held = Position.objects.get(bot=bot)
        assert held.quantity > 0
        view = market_for(bot.venue, bot.symbol, timezone.now()).view
        limit = (view.quote.bid * Decimal("0.8") / view.rules.tick_size).to_integral_value() * view.rules.tick_size
        submission = trade(bot, Side.BUY, str(held.quantity), limit=str(limit))
        assert submission.order.status == "accepted", submission.denials
    return bots


def resting() -> int:
    return Order.objects.filter(status__in=["accepted", "partially_filled"]).count()


@pytest.mark.parametrize("point", [*BEFORE_THE_COMMIT, *AFTER_THE_COMMIT])
def test_kill_switch_that_is_killed_holds_and_its_cancels_go_on(
    nursery: Nursery, holders: list[Bot], point: str
) -> None:
    points = BEFORE_THE_COMMIT | AFTER_THE_COMMIT
    assert nursery.run("engage", [], point=points[point]) == SIGKILLED
    check_everything()
    assert read_state().level == (Level.ACTIVE if point in BEFORE_THE_COMMIT else Level.HALTED)
    assert KillRun.objects.exists() is (point in AFTER_THE_COMMIT)
    if point in BEFORE_THE_COMMIT:
        assert resting() == 2
        assert nursery.run("engage", []) == 0
    assert nursery.run("go_on", []) == 0
    assert resting() == 0
    assert kill_runs.unfinished() == []
    told = kill_runs.progress()
    assert told is not None
    assert (told.is_drained, told.is_done, len(told.canceled)) == (True, True, 2)
    check_everything()


@pytest.mark.parametrize("point", FLATTEN_POINTS)
def test_flatten_that_is_killed_is_carried_on_and_sells_once(nursery: Nursery, holders: list[Bot], point: str) -> None:
    before = {bot.pk: Position.objects.get(bot=bot).quantity for bot in holders}
    assert nursery.run("flatten", [], point=FLATTEN_POINTS[point]) == SIGKILLED
    check_everything()
    assert read_state().level != Level.ACTIVE
    for _ in range(30):
        assert nursery.run("go_on", []) == 0
        if not kill_runs.unfinished():
            break
    check_everything()
    assert kill_runs.unfinished() == []
    assert read_state().level == Level.HALTED
    for bot in holders:
        sold = sum(one.filled_quantity for one in Order.objects.filter(bot=bot, is_flatten=True))
        assert Position.objects.get(bot=bot).quantity == before[bot.pk] - sold
        assert Position.objects.get(bot=bot).quantity == 0
    assert resting() == 0
