"""The autopilot's workers were away for two hours, or over midnight: FAULTS.md rows 35 and 45, with real processes."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import OperatorEvent
from bots.autopilot import config, state
from bots.markets import market_for
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotLosses, AutopilotState, Bot, BotStatus, Order
from safety.intents import Side
from safety.models import Notification
from tests.bots.builders import trade
from tests.faults import oracle
from tests.faults.nursery import Nursery

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]
QUEUE = "bots.autopilot.chores.queue_cycle"
HEARTBEAT = "bots.autopilot.chores.watch_heartbeat"
LOSSES = "bots.autopilot.chores.watch_losses"
AWAY = timedelta(hours=2)
INTERVAL_S = 60


@pytest.fixture
def autopilot(nursery: Nursery) -> Nursery:
    """Let the autopilot want a bot for every symbol in which some strategy begins."""
    universe = {"replay": ["AAPL", "BTC-PERP", "SPX", "SPY"]}
    wanted = {"enabled": True, "universe": universe, "slots": 4, "sector_slots": 4, "score_demote": 0, "score_min": 0}
    config.change({**wanted, "scan_interval_s": INTERVAL_S}, actor="anna", reason="a test")
    return nursery


@pytest.mark.fault(35)
def test_two_hours_away_make_one_cycle_and_no_burst_of_bots(
    autopilot: Nursery, record_property: Callable[[str, object], None]
) -> None:
    then = timezone.now() - AWAY
    AutopilotState.objects.update(next_at=then, heartbeat_at=then, enabled_at=then - AWAY)
    assert autopilot.run("chores", [], names=[HEARTBEAT], rounds=3, every_s=0.05) == 0
    assert Notification.objects.filter(event="worker_down", subject="autopilot").count() == 1
    # Several workers come back at once, and each looks several times.
    back = [autopilot.spawn("chores", [], names=[QUEUE], rounds=4, every_s=0.05) for _ in range(3)]
    assert [autopilot.wait(one) for one in back] == [0, 0, 0]
    assert OrmQ.objects.count() == 1
    assert autopilot.run("autopilot", []) == 0
    OrmQ.objects.all().delete()
    assert autopilot.run("chores", [], names=[QUEUE], rounds=3, every_s=0.05) == 0
    assert not OrmQ.objects.exists(), "what was missed is not made up for"
    due_at = state.read().next_at
    assert due_at is not None
    assert timezone.now() < due_at <= timezone.now() + timedelta(seconds=INTERVAL_S)
    made = list(Bot.objects.filter(by_autopilot=True).values_list("symbol", flat=True))
    assert 1 <= len(made) == len(set(made)) <= 4
    assert AutopilotCycle.objects.count() == 1
    assert not Order.objects.exists()
    oracle.check()
    record_property("struck", "two hours without the autopilot's workers, three of them back at once")
    record_property("happened", "one cycle, one alarm")


@pytest.mark.fault(45)
def test_loss_of_the_autopilot_counts_on_its_day_alone(
    autopilot: Nursery, record_property: Callable[[str, object], None]
) -> None:
    assert autopilot.run("autopilot", []) == 0
    bot = Bot.objects.filter(by_autopilot=True).order_by("pk").first()
    assert bot is not None
    midnight = datetime.combine(timezone.now().astimezone(UTC).date() + timedelta(days=1), time(), UTC)

    def watch(*, after_midnight_s: float) -> AutopilotLosses:
        shift_s = (midnight - timezone.now()).total_seconds() + after_midnight_s
        assert autopilot.run("chores", [], names=[LOSSES], shift_s=shift_s) == 0
        return AutopilotLosses.objects.get(is_live=False)

    assert watch(after_midnight_s=-600).day_start_pnl_usd == 0
    ask = market_for(bot.venue, bot.symbol, timezone.now()).view.quote.ask
    quantity = str((200 / ask).quantize(Decimal("0.00001")))
    for side in (Side.BUY, Side.SELL):
        assert not trade(bot, side, quantity).is_denied
    lost_usd = -bot.positions.get().realised_pnl
    assert lost_usd > 0, "nothing was lost by buying and selling at once"
    # Half of what was lost is more than a day may cost.
    capital_usd = AutopilotConfig.objects.get().total_capital_usd
    limit_pct = (lost_usd / 2 / capital_usd * 100).quantize(Decimal("1e-9"))
    AutopilotConfig.objects.update(daily_loss_pct=limit_pct)
    before = watch(after_midnight_s=-300)
    assert before.stopped_until == midnight
    bot.refresh_from_db()
    assert bot.status == BotStatus.PAUSED
    after = watch(after_midnight_s=300)
    assert (after.day, after.day_start_pnl_usd) == (midnight.date(), -lost_usd)
    assert after.stopped_until == midnight, "the loss of the day before was counted again"
    assert OperatorEvent.objects.filter(action="autopilot_stopped_for_losses").count() == 1
    oracle.check()
    record_property("struck", "a loss five minutes before midnight, looked at on both days")
    record_property("happened", "stopped until midnight; the next day begins at nought")
