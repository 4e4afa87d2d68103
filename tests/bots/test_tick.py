"""A tick: who acts, who is held back and why, what one bot's fault does to the others, and what a lost lease leaves."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.models import Bot, BotTick, Deal, Lease, Order, Position
from bots.strategies.base import CancelProposal, Proposal, StrategyView
from bots.tick import load_schedule, tick_batch
from bots.workers.leases import SHARD_COUNT, LeaseHolder, LeaseLost, shard_lease
from bots.workers.schedule import DueTick, Schedule
from safety.intents import Level, MarketStatus, Side
from safety.kill_switch import engage, release
from safety.models import RiskLimits
from tests.bots.builders import (
    Floor,
    Worker,
    actions_on,
    blocks_of,
    buy,
    events_of,
    forget_process_memory,
    make_bot,
    match,
    no_market,
    position_of,
    sell,
    trade,
)
from tests.faults.oracle import check_everything
from tests.safety.latches import set_level

pytestmark = pytest.mark.django_db

Proposals = list[Proposal | CancelProposal]


def churn(view: StrategyView) -> Proposals:
    """Buy when flat, sell when not."""
    return [sell(str(view.position.quantity))] if view.position.quantity else [buy("0.5")]


def by_second_look(first: Proposals, act: Callable[[], object]) -> Callable[[StrategyView], Proposals]:
    """Return a script that proposes the same twice, and does something before its second answer: under the lock."""
    looks: list[StrategyView] = []

    def script(view: StrategyView) -> Proposals:
        looks.append(view)
        if len(looks) == 2:
            act()
        return first

    return script


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker()


# What an ordinary tick does.


def test_tick_orders_what_the_strategy_proposes_and_notes_it(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    now = timezone.now()
    worker.tick(bot, now=now)
    order = Order.objects.get()
    assert (order.status, order.actor, order.leg) == ("filled", f"bot:{bot.pk}", "base")
    assert order.client_order_id[0] == "t"
    assert len(order.client_order_id) == 18
    bot.tick.refresh_from_db()
    assert (bot.tick.ticked_at, bot.tick.note, bot.tick.blocked_by) == (now, "base by the script", [])
    assert bot.tick.due_at is not None
    assert bot.tick.due_at <= now
    check_everything()


def test_bot_with_nothing_to_do_is_watching_and_not_locked(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("idle")
    bot = make_bot(strategy="idle")
    worker.tick(bot)
    bot.tick.refresh_from_db()
    assert bot.tick.note == "watching"
    assert len(strategy.views) == 1


def test_strategy_is_asked_again_under_the_lock_and_only_that_answer_counts(floor: Floor, worker: Worker) -> None:
    answers: list[Proposals] = [[buy("0.5")], [buy("0.2")]]
    floor.strategy("fickle", lambda view: answers.pop(0))
    worker.tick(make_bot(strategy="fickle"))
    assert Order.objects.get().quantity == Decimal("0.2")


def test_resting_order_meets_the_market_before_the_strategy_is_asked(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("idle")
    bot = make_bot(strategy="idle")
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    floor.feed.low = Decimal("98.9")
    worker.tick(bot, now=timezone.now() + timedelta(seconds=1))
    assert events_of(order) == ["intent", "submitting", "accepted", "filled"]
    assert [view.position.quantity for view in strategy.views] == [0, Decimal("0.5")]
    check_everything()


@pytest.mark.parametrize(
    ("level", "side", "fills"),
    [
        (Level.REDUCING, Side.BUY, False),
        (Level.REDUCING, Side.SELL, True),
        (Level.HALTED, Side.BUY, False),
        (Level.HALTED, Side.SELL, False),
    ],
)
def test_resting_order_fills_while_stopped_only_if_it_shrinks_the_position(
    floor: Floor, worker: Worker, level: Level, side: Side, fills: bool
) -> None:
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "1")
    order = trade(bot, side, "0.5", limit="99" if side == Side.BUY else "101").order
    engage(level, "test", actor="test", cancel_resting=False)
    floor.feed.low, floor.feed.high = Decimal(90), Decimal(110)
    worker.tick(bot, now=timezone.now() + timedelta(seconds=1))
    order.refresh_from_db()
    assert order.status == ("filled" if fills else "accepted")
    check_everything()


def test_resting_order_does_not_fill_on_what_was_traded_while_stopped(floor: Floor, worker: Worker) -> None:
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    now = timezone.now()
    engage(Level.HALTED, "test", actor="test", cancel_resting=False)
    floor.feed.low = Decimal(90)
    worker.tick(bot, now=now + timedelta(seconds=1))
    release("test", actor="test")
    floor.feed.low = Decimal("99.99")
    worker.tick(bot, now=now + timedelta(seconds=2))
    order.refresh_from_db()
    assert (order.status, order.matched_until) == ("accepted", now + timedelta(seconds=1))
    # The market that the next look sees begins where the last one ended, while it was stopped.
    assert floor.feed.asked_since[-1] == now + timedelta(seconds=1)
    check_everything()


def test_resting_order_does_not_wait_until_the_clock_catches_up_with_its_last_look(
    floor: Floor, worker: Worker
) -> None:
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    now = timezone.now()
    match(order, now + timedelta(minutes=10))
    floor.feed.low = Decimal("98.9")
    worker.tick(bot, now=now)
    order.refresh_from_db()
    assert (order.status, order.matched_until) == ("accepted", now)
    worker.tick(bot, now=now + timedelta(seconds=1))
    order.refresh_from_db()
    assert order.status == "filled"
    assert floor.feed.asked_since[-1] == now
    check_everything()


def test_strategy_cancels_its_own_resting_order(floor: Floor, worker: Worker) -> None:
    floor.strategy("tidy", lambda view: [CancelProposal(one.client_order_id, "tidy up") for one in view.open_orders])
    bot = make_bot(strategy="tidy")
    order = trade(bot, Side.BUY, "0.5", limit="90").order
    worker.tick(bot)
    assert Order.objects.get().status == "canceled"
    assert events_of(order)[-2:] == ["cancel_requested", "canceled"]
    assert OrderEvent.objects.get(event="canceled").actor == f"bot:{bot.pk}"


def test_cancel_of_somebody_elses_order_does_nothing(floor: Floor, worker: Worker) -> None:
    other = trade(make_bot("other"), Side.BUY, "0.5", limit="90").order
    floor.strategy("rude", lambda view: [CancelProposal(other.client_order_id, "rude")])
    worker.tick(make_bot(strategy="rude"))
    assert Order.objects.get().status == "accepted"


def test_highest_bid_of_an_open_deal_is_kept(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "0.5")
    for bid, ask in (("101", "102"), ("105", "106"), ("103", "104")):
        floor.feed.move_to(bid, ask)
        worker.tick(bot)
    assert Deal.objects.get().peak_price == Decimal(105)
    worker.tick(bot)
    deal = strategy.views[-1].deal
    assert deal is not None
    assert deal.peak_price == Decimal(105)


def test_dust_is_hidden_from_the_strategy(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "0.5")
    trade(bot, Side.SELL, "0.495")
    worker.tick(bot)
    assert (strategy.views[-1].position.quantity, strategy.views[-1].deal) == (0, None)
    assert strategy.views[-1].position.last_exit_at is not None
    assert position_of(bot).quantity == Decimal("0.005")


# A tick that is repeated.


def test_repeated_tick_orders_nothing_twice_and_tells_the_audit(floor: Floor, worker: Worker) -> None:
    floor.strategy("eager", lambda view: [buy("0.5")])
    bot = make_bot(strategy="eager")
    now = timezone.now()
    worker.tick(bot, now=now, due_at=now)
    forget_process_memory()
    worker.tick(bot, now=now + timedelta(seconds=15), due_at=now)
    order = Order.objects.get()
    assert events_of(order) == ["intent", "submitting", "filled", "denied"]
    assert blocks_of(bot) == ["DUPLICATE_ORDER"]
    assert position_of(bot).quantity == Decimal("0.5")
    check_everything()


def test_tick_repeated_much_later_still_knows_its_first_run(floor: Floor, worker: Worker) -> None:
    floor.strategy("eager", lambda view: [buy("0.5")])
    bot = make_bot(strategy="eager")
    now = timezone.now()
    worker.tick(bot, now=now, due_at=now)
    forget_process_memory()
    worker.tick(bot, now=now + timedelta(hours=2), due_at=now)
    assert Order.objects.count() == 1
    assert Bot.objects.get().status == "running"


def test_two_proposals_with_one_leg_are_one_order(floor: Floor, worker: Worker) -> None:
    floor.strategy("double", lambda view: [buy("0.5"), buy("0.4")])
    bot = make_bot(strategy="double")
    worker.tick(bot)
    assert Order.objects.get().quantity == Decimal("0.5")


def test_denied_leg_is_held_off_for_a_while(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("greedy", lambda view: [buy("500")])
    bot = make_bot(strategy="greedy")
    now = timezone.now()
    worker.tick(bot, now=now)
    assert "NOTIONAL_ABOVE_MAX" in blocks_of(bot)
    for seconds, orders in ((1, 1), (59, 1), (61, 2)):
        worker.tick(bot, now=now + timedelta(seconds=seconds))
        assert Order.objects.count() == orders, seconds
    # Another leg is not held off.
    strategy.script = lambda view: [buy("0.5", leg="so1")]
    worker.tick(bot, now=now + timedelta(seconds=62))
    assert Order.objects.filter(leg="so1", status="filled").exists()


def test_bot_that_fails_at_every_tick_says_so_once(
    floor: Floor, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view: StrategyView) -> Proposals:
        raise ValueError("always the same")

    strategy = floor.strategy("broken", fail)
    bot = make_bot(strategy="broken")
    now = timezone.now()
    worker.tick(bot, now=now)
    first = Bot.objects.get()
    for seconds in (1, 2, 3):
        worker.tick(bot, now=now + timedelta(seconds=seconds))
    bot.refresh_from_db()
    assert (bot.revision, bot.last_error) == (first.revision, "ValueError: always the same")
    assert bot.last_error_at == now + timedelta(seconds=3)
    assert [record.levelname for record in caplog.records if "its tick failed" in record.message] == ["ERROR"]
    # Another fault is news.
    strategy.script = lambda view: [][1]
    worker.tick(bot, now=now + timedelta(seconds=4))
    bot.refresh_from_db()
    assert (bot.revision, bot.last_error) == (first.revision + 1, "IndexError: list index out of range")


def test_leg_is_not_held_off_until_the_clock_catches_up_with_where_it_was(floor: Floor, worker: Worker) -> None:
    floor.strategy("stubborn", lambda view: [sell("1")])
    bot = make_bot(strategy="stubborn")
    now = timezone.now()
    worker.tick(bot, now=now + timedelta(minutes=10))
    worker.tick(bot, now=now)
    assert Order.objects.filter(status="denied").count() == 2


def test_bot_that_was_away_for_two_hours_ticks_once(floor: Floor, worker: Worker) -> None:
    floor.strategy("eager", lambda view: [buy("0.1", leg=f"{view.now:%M%S%f}")])
    bot = make_bot(strategy="eager")
    now = timezone.now()
    worker.tick(bot, now=now)
    schedule, later = Schedule(), now + timedelta(hours=2)
    schedule.replace(load_schedule(range(SHARD_COUNT), SHARD_COUNT), later)
    due = schedule.pop_due(later, 1000)
    assert [tick.bot_id for tick in due] == [bot.pk]
    assert later - due[0].due_at <= timedelta(seconds=1)
    tick_batch(due, worker.fence, later)
    assert Order.objects.count() == 2


# One bot's fault.


@pytest.mark.parametrize("when", ["at the first look", "under the lock"])
@pytest.mark.parametrize(
    "error", [ValueError("bad idea"), KeyError("x"), IntegrityError("refused"), ZeroDivisionError()]
)
def test_strategy_that_raises_pauses_its_own_bot_and_no_other(
    floor: Floor, worker: Worker, when: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    floor.strategy("churn", churn)
    looks: list[StrategyView] = []

    def script(view: StrategyView) -> Proposals:
        looks.append(view)
        if when == "at the first look" or len(looks) == 2:
            raise error
        return [buy("0.3")]

    floor.strategy("faulty", script)
    bots = [make_bot("a", strategy="churn"), make_bot("b", strategy="faulty"), make_bot("c", strategy="churn")]
    worker.tick(*bots)
    assert [Bot.objects.get(pk=bot.pk).status for bot in bots] == ["running", "paused", "running"]
    faulty = Bot.objects.get(pk=bots[1].pk)
    assert faulty.last_error.startswith(type(error).__name__)
    assert faulty.last_error_at is not None
    assert actions_on(faulty)[-1] == ("bot_paused", "worker", "running", "paused")
    assert BotTick.objects.get(bot=faulty).note == "paused after an error"
    assert sorted(Order.objects.values_list("bot_id", "status")) == [(bots[0].pk, "filled"), (bots[2].pk, "filled")]
    check_everything()


def test_row_that_the_database_refuses_rolls_back_its_own_bot_alone(
    floor: Floor, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Two legs: the first fills, the second cannot be stored. Nothing of either may stay, and no audit row of them."""
    caplog.set_level(logging.CRITICAL)
    floor.strategy("churn", churn)
    floor.strategy("broken", lambda view: [buy("0.3", leg="good"), buy("-1", leg="bad")])
    bots = [make_bot("a", strategy="churn"), make_bot("b", strategy="broken"), make_bot("c", strategy="churn")]
    worker.tick(*bots)
    assert [Bot.objects.get(pk=bot.pk).status for bot in bots] == ["running", "paused", "running"]
    assert "IntegrityError" in Bot.objects.get(pk=bots[1].pk).last_error
    assert set(Order.objects.values_list("bot_id", flat=True)) == {bots[0].pk, bots[2].pk}
    assert set(OrderEvent.objects.values_list("bot_id", flat=True)) == {bots[0].pk, bots[2].pk}
    assert not Position.objects.filter(bot=bots[1]).exists()
    check_everything()


def test_fault_of_the_database_pauses_nobody(floor: Floor, worker: Worker) -> None:
    """The replay's clock is read from the database at the first look; a lock there is no bot's fault."""
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    floor.feed.broken = OperationalError("database is locked")
    with pytest.raises(OperationalError):
        worker.tick(bot)
    assert Bot.objects.get().status == "running"


def test_reason_that_no_column_takes_holds_up_nobody(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    floor.strategy(
        "odd", lambda view: [CancelProposal(one.client_order_id, "odd \0 \ud800") for one in view.open_orders]
    )
    bots = [make_bot("a", strategy="churn"), make_bot("b", strategy="odd")]
    trade(bots[1], Side.BUY, "0.5", limit="90")
    worker.tick(*bots)
    assert Order.objects.get(bot=bots[0]).status == "filled"


@pytest.mark.parametrize("look", [1, 2])
def test_market_that_fails_blocks_the_bot_and_does_not_pause_it(floor: Floor, worker: Worker, look: int) -> None:
    def script(view: StrategyView) -> Proposals:
        if len(strategy.views) == look:
            raise no_market("candles are late")
        return [buy("0.5")]

    strategy = floor.strategy("unlucky", script)
    bot = make_bot(strategy="unlucky")
    worker.tick(bot)
    assert Bot.objects.get().status == "running"
    assert blocks_of(bot) == ["MARKET_DATA"]
    assert not Order.objects.exists()
    check_everything()


def test_bot_whose_venue_has_no_feed_says_what_is_missing(floor: Floor, worker: Worker) -> None:
    bot = make_bot(venue="alpaca", symbol="SPY")
    worker.tick(bot)
    bot.tick.refresh_from_db()
    assert bot.tick.note == "no market data"
    ((code, message),) = [tuple(block.values()) for block in bot.tick.blocked_by]
    assert code == "MARKET_DATA"
    assert "Alpaca" in message
    assert Bot.objects.get().status == "running"


# What holds a bot back.


@pytest.mark.parametrize("status", ["paused", "entries held"])
def test_held_bot_makes_no_entries_and_manages_its_exits(floor: Floor, worker: Worker, status: str) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    trade(bot, Side.BUY, "0.5")
    if status == "paused":
        manager.pause(bot.pk, actor="anna")
    else:
        Bot.objects.filter(pk=bot.pk).update(entries_held="released by anna; clear it by hand")
    now = timezone.now()
    worker.tick(bot, now=now + timedelta(seconds=1))
    assert position_of(bot).quantity == 0
    worker.tick(bot, now=now + timedelta(seconds=2))
    assert position_of(bot).quantity == 0
    assert blocks_of(bot) == ["ENTRIES_HELD"]
    assert not Order.objects.filter(status="denied").exists()


def test_halted_bot_proposes_nothing_and_says_so(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bots = [make_bot("flat", strategy="churn"), make_bot("long", strategy="churn")]
    trade(bots[1], Side.BUY, "0.5")
    rows = OrderEvent.objects.count()
    engage(Level.HALTED, "a bad day", actor="anna")
    worker.tick(*bots)
    assert [blocks_of(bot) for bot in bots] == [["KILL_SWITCH"], ["KILL_SWITCH"]]
    assert "a bad day" in bots[0].tick.blocked_by[0]["message"]
    assert OrderEvent.objects.count() == rows


def test_halted_bot_may_still_cancel(floor: Floor, worker: Worker) -> None:
    floor.strategy("tidy", lambda view: [CancelProposal(one.client_order_id, "tidy up") for one in view.open_orders])
    bot = make_bot(strategy="tidy")
    trade(bot, Side.BUY, "0.5", limit="90")
    engage(Level.HALTED, "a bad day", actor="anna", cancel_resting=False)
    worker.tick(bot)
    assert Order.objects.get().status == "canceled"


@pytest.mark.parametrize("scope", ["global", "venue:replay", "one bot"])
def test_reducing_lets_only_exits_pass(floor: Floor, worker: Worker, scope: str) -> None:
    floor.strategy("churn", churn)
    bots = [make_bot("long", strategy="churn"), make_bot("flat", strategy="churn")]
    trade(bots[0], Side.BUY, "0.5")
    for name in [f"bot:{bot.pk}" for bot in bots] if scope == "one bot" else [scope]:
        engage(Level.REDUCING, "calm down", actor="anna", scope=name)
    worker.tick(*bots)
    assert position_of(bots[0]).quantity == 0
    assert not Position.objects.filter(bot=bots[1]).exists()
    assert blocks_of(bots[1]) == ["KILL_SWITCH"]


def test_halt_of_one_bot_leaves_the_others_alone(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bots = [make_bot("a", strategy="churn"), make_bot("b", strategy="churn")]
    engage(Level.HALTED, "this one", actor="anna", scope=f"bot:{bots[0].pk}")
    worker.tick(*bots)
    assert Order.objects.get().bot_id == bots[1].pk


def test_halt_between_the_first_look_and_the_lock_holds(floor: Floor, worker: Worker) -> None:
    halt = by_second_look([buy("0.5")], lambda: set_level(Level.HALTED, "now"))
    floor.strategy("slow", halt)
    worker.tick(make_bot(strategy="slow"))
    assert not Order.objects.filter(status="filled").exists()
    check_everything()


def test_limits_tightened_between_the_first_look_and_the_lock_hold(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    # The first bot's turn under the lock comes after the first look at all.
    limits = {"notional_usd_max_paper": Decimal(10)}
    RiskLimits.objects.create(scope=f"bot:{bot.pk}", **limits)
    worker.tick(bot)
    assert blocks_of(bot) == ["NOTIONAL_ABOVE_MAX"]
    assert Order.objects.get().status == "denied"


# Bots that change between the look and the lock, and leases that are lost.


@pytest.mark.parametrize("action", [manager.stop, manager.archive])
def test_bot_that_is_stopped_meanwhile_is_skipped(floor: Floor, worker: Worker, action: Callable[..., Bot]) -> None:
    stopped: list[Bot] = []

    def script(view: StrategyView) -> Proposals:
        # The first look at a bot: a person stops it before it is locked.
        if not stopped:
            stopped.append(action(bot.pk, actor="anna"))
        return [buy("0.5")]

    floor.strategy("late", script)
    bot = make_bot(strategy="late")
    worker.tick(bot)
    assert not Order.objects.exists()
    bot.tick.refresh_from_db()
    assert bot.tick.note == "no longer running"
    assert Bot.objects.get().status == stopped[0].status


def test_stopped_and_archived_bots_do_not_tick(floor: Floor, worker: Worker) -> None:
    bots = [make_bot(name) for name in ("runs", "paused", "stopped", "archived")]
    manager.pause(bots[1].pk, actor="anna")
    manager.stop(bots[2].pk, actor="anna")
    manager.archive(bots[3].pk, actor="anna")
    listed = {bot.bot_id for bot in load_schedule(range(SHARD_COUNT), SHARD_COUNT)}
    assert listed == {bots[0].pk, bots[1].pk}
    assert load_schedule([bots[0].pk % SHARD_COUNT], SHARD_COUNT)[0].bot_id == bots[0].pk
    worker.tick(*bots)
    assert BotTick.objects.get(bot=bots[2]).note in ("", "no longer running")


def test_bot_that_is_gone_is_skipped(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    now = timezone.now()
    due = [DueTick(bot.pk, now), DueTick(bot.pk + 1, now)]
    tick_batch(due, worker.fence, now)
    assert Order.objects.get().bot_id == bot.pk


def test_tick_under_a_lease_that_was_lost_writes_nothing_at_all(floor: Floor) -> None:
    worker = Worker("frozen", ttl_s=30)

    def lose_the_lease() -> None:
        Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        names = [shard_lease(shard) for shard in range(SHARD_COUNT)]
        assert len(LeaseHolder("other").claim(names, SHARD_COUNT)) == SHARD_COUNT

    floor.strategy("slow", by_second_look([buy("0.5")], lose_the_lease))
    floor.strategy("broken", lambda view: [buy("0.5"), buy("-1", leg="bad")])
    bots = [make_bot("slow", strategy="slow"), make_bot("broken", strategy="broken")]
    before = (OrderEvent.objects.count(), OperatorEvent.objects.count(), list(BotTick.objects.order_by("pk").values()))
    with pytest.raises(LeaseLost):
        worker.tick(*bots)
    after = (OrderEvent.objects.count(), OperatorEvent.objects.count(), list(BotTick.objects.order_by("pk").values()))
    assert before == after
    assert not Order.objects.exists()
    assert not Position.objects.exists()
    assert set(Bot.objects.values_list("status", flat=True)) == {"running"}


def test_lease_that_ran_out_writes_nothing_even_when_nobody_took_it(floor: Floor) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    worker = Worker()
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LeaseLost):
        worker.tick(bot)
    assert not Order.objects.exists()


# What it costs.


def test_idle_bots_share_their_queries(floor: Floor) -> None:
    # Making fifty bots takes a busy machine longer than a lease lasts by default.
    worker = Worker(ttl_s=60)
    floor.strategy("idle")
    bots = [make_bot(f"bot {number}", strategy="idle", running=number < 50) for number in range(50)]
    counts = []
    # What is thought of a bot's market for the first time is kept; after that only what changes.
    worker.tick(*bots)
    for some in (bots[:5], bots):
        now = timezone.now()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            worker.tick(*some, now=now)
        counts.append(len([one for one in queries if not one["sql"].startswith(("SAVEPOINT", "RELEASE", "BEGIN"))]))
    assert counts[0] == counts[1]
    assert counts[1] <= 8, [one["sql"][:100] for one in queries]
    assert BotTick.objects.filter(note="watching").count() == 50


def test_feed_is_asked_once_for_many_bots(floor: Floor, worker: Worker) -> None:
    floor.strategy("idle")
    bots = [make_bot(f"bot {number}", strategy="idle") for number in range(10)]
    floor.feed.asked_since.clear()
    worker.tick(*bots)
    assert len(floor.feed.asked_since) == 1


# A market that is closed, or has no price.


def test_bot_waits_for_a_closed_market_and_says_until_when(floor: Floor, worker: Worker) -> None:
    strategy = floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    floor.feed.status = MarketStatus.CLOSED
    floor.feed.opens_at = datetime(2025, 11, 3, 14, 30, tzinfo=UTC)
    now = timezone.now()
    for tick in range(5):
        worker.tick(bot, now=now + timedelta(seconds=tick))
    bot.tick.refresh_from_db()
    assert bot.tick.note == "The market is closed until Mon 14:30 UTC."
    assert [one["code"] for one in bot.tick.blocked_by] == ["MARKET_CLOSED"]
    assert (strategy.views, Order.objects.count(), OrderEvent.objects.count()) == ([], 0, 0)
    floor.feed.status, floor.feed.opens_at = MarketStatus.OPEN, None
    worker.tick(bot, now=now + timedelta(seconds=9))
    assert Order.objects.get().status == "filled"


def test_what_else_holds_a_waiting_bot_back_is_told_too(floor: Floor, worker: Worker) -> None:
    floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    floor.feed.opens_at = datetime(2025, 11, 3, 14, 30, tzinfo=UTC)
    set_level(Level.HALTED, "a test")
    worker.tick(bot)
    bot.tick.refresh_from_db()
    assert [one["code"] for one in bot.tick.blocked_by] == ["MARKET_CLOSED", "KILL_SWITCH"]


@pytest.mark.parametrize(("bid", "ask"), [("0", "100"), ("100", "0"), ("NaN", "100"), ("100", "Infinity"), ("-1", "1")])
def test_strategy_is_not_asked_about_a_price_that_is_none(floor: Floor, worker: Worker, bid: str, ask: str) -> None:
    strategy = floor.strategy("churn", churn)
    bot = make_bot(strategy="churn")
    floor.feed.bid, floor.feed.ask = Decimal(bid), Decimal(ask)
    worker.tick(bot)
    bot.tick.refresh_from_db()
    assert bot.tick.note == f"Nobody quotes a price on both sides: bid {Decimal(bid)}, ask {Decimal(ask)}."
    assert [one["code"] for one in bot.tick.blocked_by] == ["INVALID_MARKET_DATA"]
    assert (strategy.views, Order.objects.count()) == ([], 0)


def test_order_of_a_person_waits_at_a_closed_market_until_it_trades(floor: Floor, worker: Worker) -> None:
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "0.5")
    floor.feed.status = MarketStatus.CLOSED
    floor.feed.opens_at = datetime(2025, 11, 3, 14, 30, tzinfo=UTC)
    order = trade(bot, Side.SELL, "0.5").order
    assert order.status == "accepted"
    now = timezone.now()
    worker.tick(bot, now=now + timedelta(seconds=1))
    assert Order.objects.get(pk=order.pk).status == "accepted"
    floor.feed.status, floor.feed.opens_at = MarketStatus.OPEN, None
    floor.feed.move_to("90", "90.02")
    worker.tick(bot, now=now + timedelta(seconds=2))
    order.refresh_from_db()
    assert (order.status, order.average_price) == ("filled", Decimal("89.98"))
    check_everything()
