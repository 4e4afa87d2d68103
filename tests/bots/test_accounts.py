"""What the gate is told of an account: a paper bot's own, and one at a venue that many bots share."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from bots.accounts import (
    FRESH_FOR,
    AccountBooks,
    account_name,
    is_fresh,
    load_account_books,
    reserved_on_account_usd,
)
from bots.batch import RECENT, RecentOrder, load_books, load_orders
from bots.brokers.base import FeeSchedule, MarketView
from bots.exposure import NO_CANDLES, Market, gather, gather_live
from bots.instruments import is_major
from bots.ledger import record_executions
from bots.markets import Moment, market_for
from bots.models import Account, Bot, Order, Position
from bots.order_ids import random_order_id
from bots.order_states import OrderStatus
from bots.proposals import order_market
from safety.intents import Exposure, InstrumentRules, OrderIntent, OrderType, Quote, Side
from tests.bots.builders import Floor, intent_for, make_bot, trade
from tests.bots.test_ledger import execution

pytestmark = pytest.mark.django_db
BTC, ETH = "BTC/USD", "ETH/USD"
FEES = FeeSchedule(Decimal("0.0025"), Decimal("0.004"))


# A paper bot's own.


def paper_exposure(bot: Bot, **changes: Any) -> Exposure:
    now = timezone.now()
    books = load_books([bot.pk], now - RECENT)[bot.pk]
    intent = intent_for(bot, changes.pop("side", Side.BUY), "0.1", **changes)
    return gather(books, intent, market_for(bot.venue, bot.symbol, now), now=now)


def test_paper_bot_is_an_account_of_its_own(floor: Floor) -> None:
    bot = make_bot(params={"base_order_pct": "8"})
    trade(bot, Side.BUY, "1")
    trade(bot, Side.BUY, "0.5", limit="99")
    trade(make_bot("other"), Side.BUY, "2")
    floor.feed.move_to("110", "111")
    seen = paper_exposure(bot)
    cash = 10_000 - Decimal("100.04") * Decimal("1.004")
    assert seen.equity_usd == cash + 110
    assert seen.symbol_exposure_usd == seen.gross_exposure_usd == 110 + Decimal("49.5")
    assert (seen.day_start_equity_usd, seen.peak_equity_usd) == (10_000, 10_000)
    assert (seen.account_flags, seen.reconciliation_open, seen.market_status) == ((), (), "open")
    assert (seen.locks, seen.readiness, seen.live_fills, seen.executions_today) == (None, None, None, None)


def test_what_a_paper_bot_did_is_told(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    Position.objects.update(losing_streak=3, last_loss_at=datetime(2026, 1, 1, tzinfo=UTC), reject_streak=2)
    seen = paper_exposure(bot)
    assert seen.recent_notionals_usd == (Decimal("100.04"),)
    # Safety order 5 is the largest: 8 % × 1.2^4 of 1000 USD.
    assert seen.planned_leg_usd == Decimal("165.888")
    assert (seen.losing_streak, seen.last_loss_at, seen.reject_streak) == (3, datetime(2026, 1, 1, tzinfo=UTC), 2)


def test_opposite_orders_are_those_of_the_other_side(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    trade(bot, Side.BUY, "0.5", limit="99")
    trade(bot, Side.SELL, "0.5", limit="101")
    assert paper_exposure(bot, side=Side.BUY).opposite_prices == (101,)
    assert paper_exposure(bot, side=Side.SELL).opposite_prices == (99,)


def test_account_that_was_never_measured_has_no_baselines(floor: Floor) -> None:
    bot = make_bot()
    Account.objects.all().delete()
    seen = paper_exposure(bot)
    assert (seen.day_start_equity_usd, seen.peak_equity_usd, seen.equity_usd) == (None, None, 10_000)


def test_params_and_notionals_that_cannot_be_read_are_not_known(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    Bot.objects.update(params={"base_order_pct": "no figure"}, revision=99)
    Position.objects.update(recent_notionals=["no figure"])
    seen = paper_exposure(bot)
    assert (seen.planned_leg_usd, seen.recent_notionals_usd) == (None, None)


@pytest.mark.parametrize("bid", ["NaN", "sNaN", "0", "-1", "Infinity"])
def test_unsound_quote_makes_what_needs_it_unknown(floor: Floor, bid: str) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    floor.feed.bid = Decimal(bid)
    seen = paper_exposure(bot)
    assert (seen.equity_usd, seen.symbol_exposure_usd, seen.gross_exposure_usd) == (None, None, None)
    assert seen.bot_committed_usd == Decimal("100.04")


# What an order rests on.


def test_order_of_a_tick_rests_on_candles_and_a_persons_on_none(floor: Floor) -> None:
    bot = make_bot()
    now = timezone.now()
    moment = Moment(now)
    on_candles = order_market(load_books([bot.pk], now)[bot.pk], moment).candles
    assert on_candles is not None
    # The last one of a minute opened two minutes ago, as the scripted feed has it; a replay rounds by a second.
    assert on_candles.bar_s == 60
    assert 59 <= on_candles.age_s <= 61
    assert moment.market(bot.venue, bot.symbol).candles is None
    assert market_for(bot.venue, bot.symbol, now).candles == NO_CANDLES


@pytest.mark.parametrize(
    ("venue", "symbol", "major"),
    [
        ("kraken", "BTC/USD", True),
        ("kraken", "XBT/USDT", True),
        ("kraken", "PEPE/USD", False),
        ("kraken", "SPY", False),
        ("alpaca", "SPY", True),
        ("alpaca", "SHIB/USD", False),
        ("replay", "BTC-PERP", True),
        ("replay", "SPX", True),
    ],
)
def test_majors(venue: str, symbol: str, major: bool) -> None:
    assert is_major(venue, symbol) is major


# A venue's.


def live_bot(name: str, symbol: str = BTC, **changes: Any) -> Bot:
    fields: dict[str, Any] = {
        "venue": "kraken", "symbol": symbol, "strategy": "smart_dca", "capital_usd": Decimal(1000), "dry_run": False,
    }  # fmt: skip
    return Bot.objects.create(name=name, **{**fields, **changes})


def holds(bot: Bot, quantity: str, mark: str, marked_at: datetime | None = None) -> Position:
    return Position.objects.create(
        bot=bot, is_live=True, quantity=Decimal(quantity), cost=Decimal(1), mark_price=Decimal(mark),
        marked_at=marked_at or timezone.now(),
    )  # fmt: skip


def has_open(bot: Bot, side: Side, quantity: str, limit: str | None, status: OrderStatus, **changes: Any) -> Order:
    now = timezone.now()
    fields: dict[str, Any] = {
        "client_order_id": random_order_id("t"), "venue": bot.venue, "symbol": bot.symbol, "side": side,
        "type": OrderType.MARKET if limit is None else OrderType.LIMIT, "status": status, "quantity": Decimal(quantity),
        "limit_price": None if limit is None else Decimal(limit), "is_live": True, "leg": "t", "actor": "test",
        "submitting_at": now, "created_at": now, "updated_at": now,
    }  # fmt: skip
    return Order.objects.create(bot=bot, **{**fields, **changes})


def account(**changes: Any) -> Account:
    fields: dict[str, Any] = {
        "venue": "kraken", "is_live": True, "cash_usd": Decimal(500), "equity_usd": Decimal(800),
        "measured_at": timezone.now(), "flags": [], "day": timezone.now().astimezone(UTC).date(),
        "day_start_equity_usd": Decimal(810), "peak_equity_usd": Decimal(900),
    }  # fmt: skip
    return Account.objects.update_or_create(name="kraken", defaults={**fields, **changes})[0]


def quote_at(bid: str = "110", ask: str = "111") -> Quote:
    return Quote("kraken", BTC, Decimal(bid), Decimal(ask), timezone.now(), "kraken")


def live_exposure(bot: Bot, side: Side = Side.BUY, quote: Quote | None = None) -> Exposure:
    now = timezone.now()
    rules = InstrumentRules("kraken", BTC, "USD", Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(1))
    market = Market(MarketView(now, quote or quote_at(), rules), FEES, Decimal(10), "open", NO_CANDLES)
    shared = load_account_books("kraken", now - RECENT, lock=True)
    books = load_books([bot.pk], now - RECENT, lock=True)[bot.pk]
    intent: OrderIntent = intent_for(bot, side, "0.1")
    return gather_live(books, shared, intent, market, now=now)


def test_names() -> None:
    assert (account_name("kraken", is_live=True), account_name("alpaca", is_live=False)) == ("kraken", "alpaca-paper")


def test_account_is_made_when_it_is_first_claimed_on() -> None:
    with pytest.raises(Account.DoesNotExist):
        load_account_books("kraken", timezone.now())
    live = load_account_books("kraken", timezone.now(), lock=True).account
    assert (live.venue, live.is_live) == ("kraken", True)
    paper = load_account_books("alpaca-paper", timezone.now(), lock=True).account
    assert (paper.venue, paper.is_live) == ("alpaca", False)


def test_all_bots_of_the_account_are_counted_together() -> None:
    account()
    mine, twin, other, paper = live_bot("mine"), live_bot("twin"), live_bot("other", ETH), live_bot("paper")
    Bot.objects.filter(pk=paper.pk).update(dry_run=True)
    holds(mine, "1", "100")
    holds(twin, "2", "100")
    holds(other, "10", "20")
    has_open(twin, Side.BUY, "1", "90", OrderStatus.SUBMITTING)
    has_open(twin, Side.SELL, "0.5", "120", OrderStatus.ACCEPTED)
    has_open(mine, Side.BUY, "0.1", None, OrderStatus.ACCEPTED)
    has_open(other, Side.BUY, "2", "15", OrderStatus.UNKNOWN)
    has_open(paper, Side.BUY, "9", "99", OrderStatus.ACCEPTED, is_live=False)
    seen = live_exposure(mine)
    reserved_here = 90 + Decimal("0.1") * 111
    assert (seen.open_orders_bot, seen.open_orders_account) == (1, 4)
    assert (seen.sent_last_minute_bot, seen.sent_last_minute_account) == (1, 4)
    assert seen.opposite_prices == (Decimal(120),)
    assert seen.symbol_exposure_usd == 3 * 110 + reserved_here
    assert seen.gross_exposure_usd == 3 * 110 + reserved_here + 10 * 20 + 2 * 15
    assert seen.cash_free_usd == 500 - (reserved_here + 30) * Decimal("1.004")
    # Measured at a mark of 100, now 110: for 3 of them.
    assert seen.equity_usd == 800 + 30
    assert (seen.day_start_equity_usd, seen.peak_equity_usd, seen.account_flags) == (810, 900, ())
    assert (seen.unknown_on_symbol, seen.reconciliation_open) == (0, ())


def test_order_of_unknown_outcome_is_told_on_its_own_symbol_only() -> None:
    account()
    mine, twin, other = live_bot("mine"), live_bot("twin"), live_bot("other", ETH)
    has_open(other, Side.BUY, "1", "10", OrderStatus.UNKNOWN)
    assert live_exposure(mine).unknown_on_symbol == 0
    lost = has_open(twin, Side.BUY, "1", "90", OrderStatus.UNKNOWN)
    seen = live_exposure(mine)
    assert seen.unknown_on_symbol == 1
    assert seen.reconciliation_open == (f"the outcome of order {lost.client_order_id} is not known",)


@pytest.mark.parametrize("name", ["cash_usd", "equity_usd", "measured_at"])
def test_figure_of_the_account_that_is_missing_is_not_known(name: str) -> None:
    account(**{name: None})
    seen = live_exposure(live_bot("mine"))
    of = {"cash_usd": seen.cash_free_usd, "equity_usd": seen.equity_usd}
    missing = of if name == "measured_at" else {name: of[name]}
    assert set(missing.values()) == {None}
    assert all(value is not None for key, value in of.items() if key not in missing)


@pytest.mark.parametrize(
    ("venue", "flags", "is_measured", "known"),
    [
        ("alpaca", [], True, ()),
        ("alpaca", ["frozen"], True, ("frozen",)),
        ("alpaca", None, True, None),
        ("alpaca", [], False, None),
        # Kraken sets none: an exit must not wait for an account that can't be measured just now.
        ("kraken", None, False, ()),
    ],
)
def test_flags_are_unknown_only_where_there_are_any(
    venue: str, flags: list[str] | None, is_measured: bool, known: tuple[str, ...] | None
) -> None:
    now = timezone.now()
    found = Account(name=venue, venue=venue, is_live=True, flags=flags, measured_at=now if is_measured else None)
    assert AccountBooks(found).flags(now) == known


@pytest.mark.parametrize("late", [False, True])
def test_fill_that_is_booked_while_the_account_is_read_counts(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    account()
    mine, twin = live_bot("mine"), live_bot("twin")
    order = has_open(twin, Side.BUY, "1", "110", OrderStatus.ACCEPTED)

    def fill() -> None:
        Order.objects.filter(pk=order.pk).update(status=OrderStatus.FILLED, filled_quantity=order.quantity)
        holds(twin, "1", "110")

    def read(*args: Any) -> list[Order | RecentOrder]:
        if not late:
            fill()
        found = list(load_orders(*args))
        if late:
            fill()
        return found

    monkeypatch.setattr("bots.accounts.load_orders", read)
    gross = live_exposure(mine).gross_exposure_usd
    assert gross is not None
    assert gross >= 110


@pytest.mark.parametrize(
    ("age", "fresh"),
    [
        (FRESH_FOR, True),
        (FRESH_FOR + timedelta(milliseconds=1), False),
        (timedelta(seconds=-1), True),
        (timedelta(seconds=-2), False),
    ],
)
def test_figures_are_relied_on_for_a_minute(age: timedelta, fresh: bool) -> None:
    now = timezone.now()
    assert is_fresh(now - age, now) is fresh
    assert is_fresh(None, now) is False


def test_other_symbol_without_a_fresh_mark_makes_the_exposure_unknown() -> None:
    account()
    mine, other = live_bot("mine"), live_bot("other", ETH)
    holds(other, "1", "20", timezone.now() - FRESH_FOR - timedelta(seconds=1))
    assert live_exposure(mine).gross_exposure_usd is None


def test_market_order_in_an_unpriced_symbol_reserves_its_bots_capital() -> None:
    account(cash_usd=Decimal(2000))
    has_open(live_bot("other", ETH, capital_usd=Decimal(250)), Side.BUY, "1", None, OrderStatus.SUBMITTING)
    seen = live_exposure(live_bot("mine"))
    assert (seen.gross_exposure_usd, seen.cash_free_usd) == (250, 2000 - 250 * Decimal("1.004"))


def test_what_was_bought_since_the_measurement_is_no_longer_free() -> None:
    measured_at = timezone.now() - timedelta(seconds=20)
    account(measured_at=measured_at)
    bot = live_bot("mine")
    for number, seconds in ((1, 60), (2, 10)):
        books = load_books([bot.pk], measured_at)[bot.pk]
        order = has_open(bot, Side.BUY, "1", None, OrderStatus.FILLED)
        at = timezone.now() - timedelta(seconds=seconds)
        one = execution(f"t-{number}", "1", "100", "0.4")
        rules = InstrumentRules("kraken", BTC, "USD", Decimal(1), Decimal("0.001"), Decimal("0.001"), Decimal(1))
        record_executions(
            order, [type(one)("t" + str(number), one.quantity, one.price, one.fee, False, at)], books, rules
        )
    # The first was bought before: its cash is gone from the measurement already.
    assert live_exposure(bot).cash_free_usd == 500 - Decimal("100.4")


def test_executions_of_the_day_count_from_midnight_or_from_when_a_person_looked() -> None:
    account()
    bot, twin = live_bot("mine"), live_bot("twin")
    now = timezone.now()
    has_open(twin, Side.BUY, "1", "90", OrderStatus.FILLED, filled_quantity=Decimal(1))
    has_open(twin, Side.BUY, "1", "90", OrderStatus.CANCELED, filled_quantity=Decimal("0.1"))
    has_open(bot, Side.BUY, "1", "90", OrderStatus.SUBMITTING)
    has_open(bot, Side.BUY, "1", "90", OrderStatus.CANCELED)
    has_open(bot, Side.BUY, "1", "90", OrderStatus.REJECTED)
    two_days_ago = now - timedelta(days=2)
    has_open(bot, Side.BUY, "1", "90", OrderStatus.FILLED, filled_quantity=Decimal(1), submitting_at=two_days_ago)
    assert live_exposure(bot).executions_today == 3
    Bot.objects.filter(pk=bot.pk).update(attended_at=timezone.now())
    assert live_exposure(bot).executions_today == 0


def test_live_locks_and_readiness_are_asked_for_live_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    account()
    bot = live_bot("mine")
    Position.objects.create(bot=bot, is_live=True, filled_orders=7)
    seen = live_exposure(bot)
    assert seen.locks is not None
    assert {"ALLOW_LIVE_TRADING", "DRY_RUN"} <= {lock.id for lock in seen.locks}
    assert seen.readiness is not None
    assert seen.live_fills == 7


def test_resting_purchases_hold_cash_back_at_the_venue() -> None:
    bot = live_bot("mine")
    books = AccountBooks(
        account(),
        {bot.pk: bot},
        orders=[
            has_open(bot, Side.BUY, "2", "90", OrderStatus.ACCEPTED),
            has_open(bot, Side.BUY, "2", None, OrderStatus.ACCEPTED),
            has_open(bot, Side.SELL, "2", "90", OrderStatus.ACCEPTED),
            has_open(bot, Side.BUY, "2", "90", OrderStatus.CANCELED),
        ],
    )
    assert reserved_on_account_usd(books) == 180
