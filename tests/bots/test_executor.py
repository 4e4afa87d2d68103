"""The executor: what becomes of an intent, what the audit says of it, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from django.conf import settings
from django.utils import timezone

from audit.log import unit
from audit.models import OrderEvent
from bots import executor
from bots.batch import locked_books
from bots.brokers.base import FeeSchedule, MarketView, PermitError
from bots.exposure import Market, gather
from bots.markets import market_for
from bots.models import Bot, Deal, Fill, Order, Position
from bots.order_states import IllegalTransitionError
from bots.workers.leases import Fence, LeaseLost
from safety.controls.base import StateReading
from safety.gate import evaluate
from safety.intents import InstrumentRules, Level, OrderIntent, Permit, Quote, Side
from safety.limits import LimitBook
from safety.models import RiskLimits
from tests.bots.builders import (
    Floor,
    Worker,
    events_of,
    intent_for,
    make_bot,
    match,
    position_of,
    submit,
    trade,
)
from tests.faults.oracle import check_everything
from tests.safety.latches import set_level

pytestmark = pytest.mark.django_db


class HookedQuote(Quote):
    """A quote that does something at the moment when the gate asks for its price: after the claim read the state."""

    hook: ClassVar[Callable[[], object]] = staticmethod(lambda: None)

    def far_side(self, side: Side) -> Decimal:
        type(self).hook()
        return Quote.far_side(self, side)


@pytest.fixture
def kill_file(settings: object, tmp_path: Path) -> Path:
    """Return this test's own latch file, not there yet."""
    path = tmp_path / "KILL"
    settings.KILL_FILE = path  # type: ignore[attr-defined]
    return path


def test_market_buy_fills_and_tells_the_audit_exactly_what_happened(floor: Floor) -> None:
    bot = make_bot()
    intent = intent_for(bot, Side.BUY, "0.5", reason="because", leg="base")
    submission = submit(intent)
    order = submission.order
    # The ask of 100.01 with 2 basis points of slippage, rounded up to the tick.
    price, fee = Decimal("100.04"), Decimal("0.20008")
    assert not submission.is_denied
    assert (order.status, order.filled_quantity, order.average_price, order.fees) == (
        "filled",
        Decimal("0.5"),
        price,
        fee,
    )
    rows = list(OrderEvent.objects.filter(client_order_id=order.client_order_id).order_by("id"))
    assert [(row.event, row.status, row.price, row.amount) for row in rows] == [
        ("intent", "pending", None, Decimal("0.5")),
        ("submitting", "submitting", None, Decimal("0.5")),
        ("filled", "filled", price, Decimal("0.5")),
    ]
    assert rows[0].reason == "because"
    assert rows[0].details == {"leg": "base", "bid": "99.99", "ask": "100.01", "quote_source": "replay"}
    assert rows[2].details == {"trade_id": f"{order.client_order_id}-1", "fee": "0.20008", "is_maker": False}
    for row in rows:
        assert (row.is_live, row.actor, row.bot_id) == (0, "test", bot.pk)
        assert (row.venue, row.symbol, row.side, row.ord_type) == ("replay", "BTC-PERP", "buy", "market")
    assert position_of(bot).cash_flow == -Decimal("50.02") - fee
    check_everything()


def test_order_says_whether_it_was_meant_to_enlarge_the_position(floor: Floor) -> None:
    bot = make_bot()
    orders = [trade(bot, Side.BUY, "0.5").order, trade(bot, Side.SELL, "0.2").order]
    assert [Order.objects.get(pk=order.pk).is_entry for order in orders] == [True, False]


def test_denied_intent_is_kept_with_every_reason_and_changes_no_book(floor: Floor) -> None:
    bot = make_bot(capital_usd=Decimal(100), paper_equity_usd=Decimal(120))
    floor.feed.quote_age_s = 60
    submission = trade(bot, Side.BUY, "60.0005")
    codes = {denial.code for denial in submission.denials}
    assert codes == {
        "NOTIONAL_ABOVE_MAX", "PRICE_COLLAR", "STALE_MARKET_DATA", "POSITION_MAX", "GROSS_EXPOSURE_MAX",
        "BOT_CAPITAL_EXCEEDED", "INSUFFICIENT_FUNDS", "INSTRUMENT_RULES",
    }  # fmt: skip
    assert Order.objects.get().status == "denied"
    assert events_of(submission.order) == ["intent", "denied"]
    row = OrderEvent.objects.get(event="denied")
    assert set(row.reason.split(", ")) == codes
    assert {one["code"] for one in row.details["reasons"]} == codes
    assert all(one["message"] and one["limit"] and one["actual"] for one in row.details["reasons"])
    assert not Position.objects.exists()
    assert not Fill.objects.exists()
    check_everything()


def test_client_order_id_that_is_used_again_makes_no_second_order_and_is_audited(floor: Floor) -> None:
    bot = make_bot()
    intent = intent_for(bot, Side.BUY, "0.5")
    first = submit(intent)
    again = submit(replace(intent, quantity=Decimal("0.7")))
    assert again.order == first.order
    assert [denial.code for denial in again.denials] == ["DUPLICATE_ORDER"]
    assert Order.objects.get().status == "filled"
    assert position_of(bot).quantity == Decimal("0.5")
    assert events_of(first.order) == ["intent", "submitting", "filled", "denied"]
    check_everything()


def test_same_order_within_ten_seconds_is_denied_and_later_is_not(floor: Floor) -> None:
    bot = make_bot()
    now = timezone.now()
    trade(bot, Side.BUY, "0.5")
    assert [one.code for one in trade(bot, Side.BUY, "0.5").denials] == ["DUPLICATE_ORDER"]
    later = now + timedelta(seconds=11)
    assert not submit(intent_for(bot, Side.BUY, "0.5", created_at=later), now=later).is_denied


@pytest.mark.parametrize(
    ("bid", "ask"),
    [("NaN", "100"), ("99", "NaN"), ("0", "100"), ("-5", "100"), ("101", "100"), ("Infinity", "Infinity")],
)
def test_unsound_quote_is_denied_and_audited(floor: Floor, bid: str, ask: str) -> None:
    floor.feed.bid, floor.feed.ask = Decimal(bid), Decimal(ask)
    submission = trade(make_bot(), Side.BUY, "0.5")
    assert "INVALID_MARKET_DATA" in [denial.code for denial in submission.denials]
    assert events_of(submission.order) == ["intent", "denied"]
    check_everything()


def test_frozen_quote_denies_entries_and_lets_exits_pass(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    floor.feed.quote_age_s = 13
    assert [one.code for one in trade(bot, Side.BUY, "0.4").denials] == ["PRICE_COLLAR", "STALE_MARKET_DATA"]
    assert trade(bot, Side.SELL, "0.5").order.status == "filled"


# Halted in between.


def test_kill_file_that_appears_between_claim_and_send_denies(floor: Floor, kill_file: Path) -> None:
    bot = make_bot()
    floor.feed.quote_type = _hooked(kill_file.touch)
    submission = trade(bot, Side.BUY, "0.5")
    assert [denial.code for denial in submission.denials] == ["KILL_SWITCH"]
    assert "KILL" in submission.denials[0].message
    assert events_of(submission.order) == ["intent", "submitting", "denied"]
    assert not Fill.objects.exists()
    check_everything()


def test_kill_file_that_is_there_before_the_claim_denies_at_the_gate(floor: Floor, kill_file: Path) -> None:
    kill_file.touch()
    submission = trade(make_bot(), Side.BUY, "0.5")
    assert events_of(submission.order) == ["intent", "denied"]


@pytest.mark.parametrize("scope", ["global", "venue:replay", "bot"])
@pytest.mark.parametrize(
    ("level", "side", "passes"), [("halted", "sell", False), ("reducing", "sell", True), ("reducing", "buy", False)]
)
def test_state_raised_between_claim_and_send_holds(
    floor: Floor, scope: str, level: str, side: str, passes: bool
) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    scope = f"bot:{bot.pk}" if scope == "bot" else scope
    floor.feed.quote_type = _hooked(lambda: set_level(Level(level), "test", scope=scope))
    submission = trade(bot, Side(side), "0.3")
    assert (not submission.is_denied) is passes
    if not passes:
        assert [denial.code for denial in submission.denials] == ["KILL_SWITCH"]
        assert events_of(submission.order) == ["intent", "submitting", "denied"]


def test_claim_that_is_too_old_to_send_is_denied(floor: Floor) -> None:
    bot = make_bot()
    now = timezone.now() - timedelta(seconds=6)
    submission = submit(intent_for(bot, Side.BUY, "0.5", created_at=now), now=now)
    assert [denial.code for denial in submission.denials] == ["INTENT_EXPIRED"]
    assert events_of(submission.order) == ["intent", "submitting", "denied"]


def test_limits_that_were_tightened_before_the_claim_hold(floor: Floor) -> None:
    bot = make_bot()
    RiskLimits.objects.update_or_create(scope="global", defaults={"notional_usd_max_paper": Decimal(50)})
    RiskLimits.objects.create(scope=f"bot:{bot.pk}", notional_usd_max_paper=Decimal(500))
    assert [one.code for one in trade(bot, Side.BUY, "0.5").denials] == ["NOTIONAL_ABOVE_MAX"]
    assert not trade(bot, Side.BUY, "0.4").is_denied


# Orders that rest.


def test_limit_order_rests_until_the_market_trades_through_it(floor: Floor) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    assert (order.status, order.filled_quantity) == ("accepted", Decimal(0))
    now = timezone.now() + timedelta(seconds=1)
    floor.feed.low = Decimal(99)
    assert match(order, now).status == "accepted"
    floor.feed.low = Decimal("98.99")
    filled = match(order, now + timedelta(seconds=1))
    assert (filled.status, filled.average_price) == ("filled", Decimal(99))
    # 49.5 USD at the maker's 0.25 %.
    assert filled.fees == Decimal("0.12375")
    assert events_of(order) == ["intent", "submitting", "accepted", "filled"]
    assert Fill.objects.get().is_maker
    check_everything()


def test_order_is_matched_against_what_was_traded_since_its_last_look_and_no_more(floor: Floor) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    placed = Order.objects.get().matched_until
    assert placed is not None
    match(order, placed + timedelta(seconds=3))
    match(order, placed + timedelta(seconds=5))
    assert floor.feed.asked_since[-2:] == [placed, placed + timedelta(seconds=3)]


def test_look_from_before_an_orders_last_look_does_not_set_it_back(floor: Floor) -> None:
    """A batch that waited for the lock has an older moment than the order that a person placed meanwhile."""
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    placed = Order.objects.get().matched_until
    assert placed is not None
    match(order, placed - timedelta(seconds=2))
    assert Order.objects.get().matched_until == placed


def test_volume_lets_an_order_through_in_parts(floor: Floor) -> None:
    bot = make_bot()
    floor.feed.volume = Decimal(2)
    order = trade(bot, Side.BUY, "0.5").order
    assert (order.status, order.filled_quantity) == ("partially_filled", Decimal("0.2"))
    now = timezone.now()
    for seconds, status, filled in ((1, "partially_filled", "0.4"), (2, "filled", "0.5")):
        order = match(order, now + timedelta(seconds=seconds))
        assert (order.status, order.filled_quantity) == (status, Decimal(filled))
    assert events_of(order) == ["intent", "submitting", "partially_filled", "partially_filled", "filled"]
    trade_ids = set(Fill.objects.values_list("trade_id", flat=True))
    assert trade_ids == {f"{order.client_order_id}-{number}" for number in (1, 2, 3)}
    assert Deal.objects.get().legs == 1
    check_everything()


def test_look_without_a_fill_is_no_audit_row(floor: Floor) -> None:
    bot = make_bot()
    floor.feed.volume = Decimal("0.001")
    order = trade(bot, Side.BUY, "0.5").order
    match(order, timezone.now() + timedelta(seconds=1))
    assert events_of(order) == ["intent", "submitting", "accepted"]
    check_everything()


@pytest.mark.parametrize("halted", [False, True])
def test_resting_order_can_be_cancelled_even_while_halted(floor: Floor, halted: bool, kill_file: Path) -> None:
    bot = make_bot()
    floor.feed.volume = Decimal(2)
    order = trade(bot, Side.BUY, "0.5").order
    if halted:
        kill_file.touch()
    cancelled = _cancel(order)
    assert (cancelled.status, cancelled.filled_quantity) == ("canceled", Decimal("0.2"))
    assert events_of(order) == ["intent", "submitting", "partially_filled", "cancel_requested", "canceled"]
    assert OrderEvent.objects.get(event="cancel_requested").actor == "a person"
    check_everything()


@pytest.mark.parametrize("end", ["filled", "denied", "canceled"])
def test_order_that_has_ended_is_neither_cancelled_nor_matched(floor: Floor, end: str) -> None:
    bot = make_bot()
    if end == "filled":
        order = trade(bot, Side.BUY, "0.5").order
    elif end == "denied":
        order = trade(bot, Side.BUY, "500").order
    else:
        order = _cancel(trade(bot, Side.BUY, "0.5", limit="99").order)
    assert order.status == end
    rows = OrderEvent.objects.count()
    with pytest.raises(executor.ExecutorError, match="nothing to cancel"):
        _cancel(order)
    with pytest.raises(executor.ExecutorError, match="only a resting order"), unit():
        executor.match(order, locked_books(bot, timezone.now()), _market(bot))
    assert OrderEvent.objects.count() == rows


# What is refused.


def test_permit_for_another_order_is_refused(floor: Floor) -> None:
    bot = make_bot()
    intent = intent_for(bot, Side.BUY, "0.5")
    permit = _permit(bot, intent)
    assert permit is not None
    broker = executor.paper_broker(_market(bot))
    view = _market(bot).view
    assert broker.submit(intent, permit, view).status == "filled"
    others = [
        replace(intent, quantity=Decimal("0.501")),
        replace(intent, client_order_id="another"),
        replace(intent, side=Side.SELL),
        replace(intent, limit_price=Decimal(100)),
        replace(intent, symbol="SPY"),
        replace(intent, bot_id=bot.pk + 1),
        replace(intent, is_live=True),
        replace(intent, reduce_only=True),
    ]
    for other in others:
        with pytest.raises(PermitError):
            broker.submit(other, permit, view)
    with pytest.raises(PermitError):
        broker.submit(intent, None, view)  # type: ignore[arg-type]


def test_live_order_is_denied_and_nothing_reaches_a_book(floor: Floor) -> None:
    bot = make_bot(venue="kraken", symbol="BTC/USD")
    Bot.objects.filter(pk=bot.pk).update(dry_run=False)
    bot.refresh_from_db()
    intent = intent_for(bot, Side.BUY, "0.5")
    assert intent.is_live
    with unit():
        books = locked_books(bot, timezone.now())
        submission = executor.submit(intent, books, _kraken_market(), executor.Desk.read([bot.pk]))
    assert submission.denials[0].code == "LIVE_GATE_CLOSED"
    assert events_of(submission.order) == ["intent", "denied"]
    assert set(OrderEvent.objects.values_list("is_live", flat=True)) == {1}
    assert not Fill.objects.exists()
    assert not Position.objects.exists()
    check_everything()


def test_order_of_a_shard_that_is_not_held_is_refused(floor: Floor) -> None:
    bot = make_bot()
    with pytest.raises(LeaseLost):
        _submit_fenced(bot, Worker().fence.for_bot(bot.pk + 1))
    assert not Order.objects.exists()
    assert not OrderEvent.objects.exists()


def test_order_carries_the_fencing_token_of_its_shard(floor: Floor) -> None:
    bot = make_bot()
    assert _submit_fenced(bot, Worker().fence).fence_token == f"shard:{bot.pk % 16}#1"


def test_status_that_cannot_follow_raises(floor: Floor) -> None:
    order = trade(make_bot(), Side.BUY, "0.5").order
    order.status = "accepted"
    order.save()
    order.status = "denied"
    with pytest.raises(executor.ExecutorError):
        _cancel(order)
    order.status = "external"
    with pytest.raises((executor.ExecutorError, IllegalTransitionError)):
        _cancel(order)


@pytest.mark.parametrize(
    ("quantity", "codes"),
    [("0.5", []), ("0.501", ["INSUFFICIENT_FUNDS"])],
)
def test_sale_of_more_than_is_held_and_free_is_denied(floor: Floor, quantity: str, codes: list[str]) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.8")
    trade(bot, Side.SELL, "0.3", limit="110")
    assert [denial.code for denial in trade(bot, Side.SELL, quantity).denials] == codes
    assert settings.KILL_FILE.exists() is False


def _hooked(hook: Callable[[], object]) -> type[Quote]:
    return type("HookedOnce", (HookedQuote,), {"hook": staticmethod(hook)})


def _cancel(order: Order) -> Order:
    with unit():
        Bot.objects.select_for_update().get(pk=order.bot_id or 0)
        return executor.cancel(order, timezone.now(), actor="a person", reason="the test wants it")


def _submit_fenced(bot: Bot, fence: Fence) -> Order:
    with unit():
        books = locked_books(bot, timezone.now())
        desk = executor.Desk.read([bot.pk])
        return executor.submit(intent_for(bot, Side.BUY, "0.5"), books, _market(bot), desk, fence=fence).order


def _market(bot: Bot) -> Market:
    return market_for(bot.venue, bot.symbol, timezone.now())


def _permit(bot: Bot, intent: OrderIntent) -> Permit | None:
    books = locked_books(bot, timezone.now())
    exposure = gather(books, intent, _market(bot), now=timezone.now())
    limits = LimitBook.read([bot.pk]).for_bot(bot.pk, is_live=False)
    return evaluate(intent, exposure, limits, StateReading(Level.ACTIVE), now=timezone.now()).permit


def _kraken_market() -> Market:
    """Return a market as the real venue's feed will give it."""
    now = timezone.now()
    quote = Quote("kraken", "BTC/USD", Decimal(100), Decimal(101), now, "kraken")
    rules = InstrumentRules("kraken", "BTC/USD", "USD", Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(1))
    return Market(MarketView(now, quote, rules), FeeSchedule(Decimal("0.0025"), Decimal("0.004")), Decimal(10))
