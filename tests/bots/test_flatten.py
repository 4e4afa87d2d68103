"""A flatten sells what is held, once, within its time, and ends halted; nothing but its own orders passes a halt."""

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import clean_up, flatten
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Bot, Order, Position
from bots.order_states import OrderStatus
from bots.safety_chores import go_on_with_kill_runs
from safety import kill_runs
from safety.intents import Level, LimitSet, Side
from safety.kill_switch import FlattenRefusedError, UnknownScopeError, engage, read_state, release
from safety.models import KillRun
from tests.bots.builders import Floor, Worker, make_bot, position_of, submit, trade
from tests.bots.builders import intent_for as paper_intent
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_everything
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback
from tests.safety.latches import engage_by_environment

BUY, SELL = Side.BUY, Side.SELL


def start(scope: str = "global") -> KillRun:
    return flatten.start(scope, actor="anna", reason="enough")


def work(run: KillRun) -> KillRun:
    """Do a round of everything that is left of a run, as a worker does."""
    until_s = time.monotonic() + 10
    flatten.work_on(run, until_s=until_s)
    return clean_up.work_on(run, until_s=until_s)


def holder(name: str = "bot", quantity: str = "1", **changes: Any) -> Bot:
    bot = make_bot(name, **changes)
    trade(bot, BUY, quantity)
    return bot


def shift(run: KillRun, seconds: float) -> None:
    """Let the flatten's time end so much from now."""
    KillRun.objects.filter(pk=run.pk).update(flatten_until=timezone.now() + timedelta(seconds=seconds))


@pytest.mark.django_db
@pytest.mark.parametrize("standing", [Level.ACTIVE, Level.REDUCING, Level.HALTED])
def test_flatten_sells_everything_and_ends_halted(floor: Floor, standing: Level) -> None:
    bots = [holder("one"), holder("stopped", "0.5", running=False)]
    rest = trade(bots[0], SELL, "0.4", limit="105").order
    if standing != Level.ACTIVE:
        engage(standing, "before", actor="ben", cancel_resting=False)
    run = start()
    assert all(position_of(bot).quantity == 0 for bot in bots)
    assert Order.objects.get(pk=rest.pk).status == "canceled"
    assert read_state().level == Level.HALTED
    assert work(run).ended_at is not None
    sales = Order.objects.filter(is_flatten=True)
    assert {(one.status, one.reduce_only, one.type) for one in sales} == {("filled", True, "limit")}
    assert [one.action for one in OperatorEvent.objects.filter(action__startswith="kill_switch_flatt").order_by("id")] == [
        "kill_switch_flatten", "kill_switch_flattened",
    ]  # fmt: skip
    check_everything()


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["venue:replay", "bot"])
def test_scope_says_who_is_sold_out(floor: Floor, scope: str) -> None:
    one, other = holder("one"), holder("other")
    start(f"bot:{one.pk}" if scope == "bot" else scope)
    assert position_of(one).quantity == 0
    assert (position_of(other).quantity == 0) is (scope != "bot")
    assert read_state("replay", other.pk).level == (Level.ACTIVE if scope == "bot" else Level.HALTED)


@pytest.mark.django_db
def test_dust_is_left_and_told_of(floor: Floor) -> None:
    bot = holder()
    floor.feed.lot = Decimal("0.3")
    run = start()
    assert position_of(bot).quantity == Decimal("0.1")
    assert work(run).ended_at is not None
    told = OperatorEvent.objects.get(action="kill_switch_flattened")
    assert "dust" in told.reason
    assert f"bot {bot.pk}" in told.reason


@pytest.mark.django_db
def test_nothing_to_sell_ends_halted_at_once(floor: Floor) -> None:
    run = work(start())
    assert run.ended_at is not None
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_what_is_not_sold_in_time_is_taken_back_and_told_of(floor: Floor) -> None:
    bot = holder()
    floor.feed.volume = Decimal(1)
    run = start()
    sale = Order.objects.get(is_flatten=True)
    assert sale.status == "partially_filled"
    assert read_state("replay", bot.pk).is_flattening
    shift(run, -1)
    assert not read_state("replay", bot.pk).is_flattening
    assert work(run).ended_at is not None
    sale.refresh_from_db()
    assert sale.status == "canceled"
    assert read_state().level == Level.HALTED
    assert "not sold in time" in OperatorEvent.objects.get(action="kill_switch_flattened").reason
    assert position_of(bot).quantity == Decimal("0.9")
    check_everything()


@pytest.mark.django_db
def test_rounds_go_on_until_all_is_sold_and_never_sell_more(floor: Floor) -> None:
    bot = holder()
    floor.feed.volume = Decimal(3)
    run = start()
    assert 0 < position_of(bot).quantity < 1
    for _ in range(20):
        Order.objects.filter(is_flatten=True).update(created_at=timezone.now() - timedelta(seconds=12))
        run = work(run)
        if run.ended_at is not None:
            break
    assert position_of(bot).quantity == 0
    assert sum(one.filled_quantity for one in Order.objects.filter(is_flatten=True)) == 1
    check_everything()


@pytest.mark.django_db
def test_bot_whose_sale_fails_keeps_no_other_from_being_sold_out(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = holder("broken"), holder("sound")
    real = flatten.capped_price
    calls: list[int] = []

    def capped_price(*args: Any) -> Decimal:
        calls.append(1)
        if len(calls) % 2:
            raise ZeroDivisionError("a tick of nothing")
        return real(*args)

    monkeypatch.setattr(flatten, "capped_price", capped_price)
    run = start()
    assert (position_of(broken).quantity, position_of(sound).quantity) == (1, 0)
    assert "a tick of nothing" in caplog.text
    assert KillRun.objects.get(pk=run.pk).ended_at is None
    monkeypatch.undo()
    go_on_with_kill_runs(timezone.now())
    go_on_with_kill_runs(timezone.now())
    assert KillRun.objects.get(pk=run.pk).ended_at is not None


@pytest.mark.django_db
def test_while_halted_only_the_flatten_s_own_orders_pass(floor: Floor) -> None:
    bot = holder()
    engage(Level.HALTED, "before", actor="ben")
    floor.feed.volume = Decimal(1)
    start()
    own = paper_intent(bot, SELL, "0.1")
    assert "KILL_SWITCH" in [one.code for one in submit(own).denials]
    assert "KILL_SWITCH" in [one.code for one in submit(replace(own, client_order_id="x-buy", side=BUY)).denials]


@pytest.mark.django_db
def test_while_halted_without_a_flatten_its_orders_do_not_pass(floor: Floor) -> None:
    bot = holder()
    engage(Level.HALTED, "before", actor="ben")
    intent = paper_intent(bot, SELL, "0.1", is_flatten=True)
    assert "KILL_SWITCH" in [one.code for one in submit(intent).denials]


@pytest.mark.django_db
def test_tick_fills_a_flatten_s_order_while_halted(floor: Floor) -> None:
    floor.strategy("idle")
    bot = holder(strategy="idle")
    engage(Level.HALTED, "before", actor="ben")
    floor.feed.volume = Decimal(1)
    start()
    floor.feed.volume = None
    Worker().tick(bot, now=timezone.now() + timedelta(seconds=1))
    assert position_of(bot).quantity == 0


# What ends it, and what refuses it.


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["release", "halt"])
def test_release_and_halt_end_it(floor: Floor, by: str) -> None:
    bot = holder()
    floor.feed.volume = Decimal(1)
    run = start()
    if by == "release":
        release("never mind", actor="ben")
    else:
        engage(Level.HALTED, "stop everything", actor="ben")
    assert not read_state("replay", bot.pk).is_flattening
    assert work(run).ended_at is not None
    assert Order.objects.get(is_flatten=True).status == "canceled"
    assert position_of(bot).quantity == Decimal("0.9")
    assert read_state().level == (Level.ACTIVE if by == "release" else Level.HALTED)


@pytest.mark.django_db
def test_halt_of_one_bot_does_not_end_the_flatten_of_everything(floor: Floor) -> None:
    bot = holder()
    floor.feed.volume = Decimal(1)
    start()
    engage(Level.HALTED, "this one", actor="ben", scope="bot:999")
    assert read_state("replay", bot.pk).is_flattening


@pytest.mark.django_db
def test_one_at_a_time_in_a_scope(floor: Floor) -> None:
    bot = holder()
    floor.feed.volume = Decimal(1)
    run = start()
    with pytest.raises(FlattenRefusedError, match="under way"):
        start()
    start(f"bot:{bot.pk}")
    shift(run, -1)
    floor.feed.volume = None
    start()
    go_on_with_kill_runs(timezone.now())
    go_on_with_kill_runs(timezone.now())
    assert kill_runs.unfinished() == []
    assert position_of(bot).quantity == 0
    check_everything()


@pytest.mark.django_db
def test_it_needs_a_reason_and_a_scope_that_exists(floor: Floor) -> None:
    with pytest.raises(FlattenRefusedError, match="reason"):
        flatten.start("global", actor="anna", reason=" ")
    for scope in ("venue:nowhere", "bot:999", "everything"):
        with pytest.raises(UnknownScopeError):
            start(scope)
    assert not KillRun.objects.exists()


@pytest.mark.django_db
def test_latch_of_this_host_refuses_it_and_stops_one_under_way(floor: Floor, settings: Settings) -> None:
    bot = holder()
    floor.feed.volume = Decimal(1)
    run = start()
    engage_by_environment(settings)
    assert not read_state("replay", bot.pk).is_flattening
    held = position_of(bot).quantity
    work(run)
    assert position_of(bot).quantity == held
    with pytest.raises(FlattenRefusedError, match="KILL_SWITCH"):
        start(f"bot:{bot.pk}")


# The cap.


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("bid", "ask", "major", "other", "expected"),
    [
        ("100", "100.02", Decimal(2), Decimal(5), "99"),
        ("100", "100.02", Decimal(1), Decimal(5), "99.5"),
        ("100", "100.02", Decimal(4), Decimal("0.5"), "99.75"),
        ("100", "100.02", None, None, "99"),
        ("100", "100.02", Decimal(50), None, "99"),
        ("99.99", "100.01", Decimal(2), Decimal(5), "99"),
        ("100", "110", Decimal(2), Decimal(5), "102.9"),
    ],
)
def test_cap_is_half_the_narrower_collar_and_never_beyond_it(
    floor: Floor, bid: str, ask: str, major: Decimal | None, other: Decimal | None, expected: str
) -> None:
    floor.feed.move_to(bid, ask)
    market = market_for("replay", "BTC-PERP", timezone.now())
    limits = LimitSet(Decimal(250), collar_pct_major=major, collar_pct_other=other)
    assert flatten.capped_price(market, limits) == Decimal(expected)


# At a venue.


@pytest.fixture
def live(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot that holds 0.3 BTC."""
    bot = live_desk(kraken, settings)
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    return bot


def held(bot: Bot) -> Decimal:
    return Position.objects.get(bot=bot, is_live=True).quantity


def test_live_bot_is_sold_out_at_its_venue(live: Bot, kraken: KrakenLoopback) -> None:
    offered = send(live_intent(live, SELL, "0.2", "105")).order
    run = start()
    assert held(live) == Decimal("0.3"), "whoever starts it does not wait for a venue"
    for _ in range(4):
        run = work(run)
    assert (held(live), run.ended_at is not None) == (Decimal(0), True)
    offered.refresh_from_db()
    assert offered.status == OrderStatus.CANCELED
    assert read_state("kraken", live.pk).level == Level.HALTED
    sold = [one for one in kraken.orders().values() if one["descr"]["type"] == "sell" and Decimal(one["vol_exec"])]
    assert sum(Decimal(one["vol_exec"]) for one in sold) == Decimal("0.3")


def test_live_sale_of_unknown_outcome_is_not_offered_again(live: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.answer_lost("AddOrder", hang_s=6))
    run = start()
    run = work(run)
    assert Order.objects.get(is_flatten=True).status == OrderStatus.UNKNOWN
    for _ in range(3):
        run = work(run)
    sells = [one for one in kraken.orders().values() if one["descr"]["type"] == "sell"]
    assert len(sells) == 1
    assert run.ended_at is None


def test_live_sale_that_nobody_takes_is_offered_anew_below(live: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_depth("0")
    run = start()
    work(run)
    first = Order.objects.get(is_flatten=True)
    assert first.status == OrderStatus.ACCEPTED
    Order.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(seconds=12))
    kraken.set_price("98", "98.2")
    kraken.set_depth(None)
    kraken.wait_until(lambda: feed_for("kraken").quote(BTC, timezone.now()).bid, lambda bid: bid == 98)
    for _ in range(4):
        run = work(run)
    assert held(live) == 0
    total = sum(one.filled_quantity for one in Order.objects.filter(is_flatten=True))
    assert total == Decimal("0.3")
