"""The first bots, and every strategy with its defaults, trade on the recorded market within minutes and without a denial."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OrderEvent
from bots import manager, seeds
from bots.market_data import feeds
from bots.market_data.replay import ReplayFeed
from bots.market_data.replay_clock import FixedClock, start_clock
from bots.models import Bot, Order
from bots.strategies import registry
from bots.tick import load_schedule, tick_batch
from bots.workers.leases import SHARD_COUNT
from bots.workers.schedule import Schedule
from tests.bots.builders import Worker, forget_process_memory, make_bot
from tests.faults.oracle import check_everything

pytestmark = pytest.mark.django_db

STEP = timedelta(seconds=2)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Return when the replay begins: now, at its first bar, so that every run sees the same market."""
    # The executor compares a claim's time with the real clock: simulated time may not be behind it.
    now = timezone.now() + timedelta(seconds=1)
    monkeypatch.setattr(feeds, "_REPLAY", ReplayFeed(FixedClock(start_clock(now))))
    forget_process_memory()
    return now


def run(worker: Worker, start: datetime, seconds: int) -> None:
    """Tick all bots as a runner does, on simulated time."""
    schedule = Schedule()
    schedule.replace(load_schedule(range(SHARD_COUNT), SHARD_COUNT), start)
    for number in range(seconds // 2):
        now = start + number * STEP
        due = schedule.pop_due(now, 64)
        worker.leases.renew()
        if due:
            tick_batch(due, worker.fence, now)


def test_first_bots_are_on_paper_and_run(start: datetime) -> None:
    bots = seeds.seed_paper_bots()
    assert len(bots) == len(seeds.SEEDS)
    assert {(bot.venue, bot.status, bot.dry_run) for bot in Bot.objects.all()} == {("replay", "running", True)}
    assert {bot.strategy for bot in bots} == {strategy.key for strategy in registry.all()}


def test_console_that_has_a_bot_is_not_seeded_again(start: datetime) -> None:
    bot = make_bot()
    manager.archive(bot.pk, actor="anna")
    assert seeds.seed_paper_bots() == []
    assert Bot.objects.count() == 1


@pytest.mark.slow
def test_first_bots_trade_within_minutes_and_are_never_denied(start: datetime) -> None:
    seeds.seed_paper_bots()
    worker = Worker()
    run(worker, start, 60)
    assert Order.objects.filter(status="filled").exists(), "the console has to show a fill within a minute"
    run(worker, start + timedelta(seconds=60), 540)
    traded = Order.objects.filter(status="filled").values("bot").distinct().count()
    assert traded >= 3, "at least three bots have to show fills after ten minutes"
    denials = OrderEvent.objects.filter(event="denied").values_list("bot_id", "reason", "details")
    assert not list(denials)
    assert not Bot.objects.exclude(status="running").exists()
    check_everything()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [strategy.key for strategy in registry.all()])
def test_defaults_of_each_strategy_trade_without_a_denial(start: datetime, strategy: str) -> None:
    make_bot(strategy=strategy, capital_usd=Decimal(250), paper_equity_usd=Decimal(500), poll_seconds=2)
    run(Worker(), start, 600)
    assert Order.objects.filter(status="filled").exists()
    assert not list(OrderEvent.objects.filter(event="denied").values_list("reason", flat=True))
    check_everything()
