"""The ledger: stored books against the oracle, trades that count once, deals, and paper apart from live."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots import ledger
from bots.batch import BotBooks, load_books
from bots.books import BookError
from bots.brokers.base import Execution
from bots.models import Bot, Deal, Fill, Order, Position
from bots.order_ids import random_order_id
from bots.order_states import OrderStatus
from safety.intents import InstrumentRules, OrderType, Side
from tests.faults.oracle import check_book

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = InstrumentRules("replay", "BTC-PERP", "USD", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(1))

quantities = st.decimals("0.001", "50", places=3)
prices = st.decimals("0.01", "90000", places=2)
fees = st.decimals("0", "3", places=8)


def a_bot(name: str = "books", **changes: object) -> Bot:
    fields = {"venue": "replay", "symbol": "BTC-PERP", "strategy": "smart_dca", "capital_usd": Decimal(1000)}
    return Bot.objects.create(name=name, **{**fields, **changes})


def an_order(bot: Bot, side: Side, quantity: Decimal, *, is_live: bool = False) -> Order:
    return Order(
        client_order_id=random_order_id("l"),
        bot=bot,
        venue=bot.venue,
        symbol=bot.symbol,
        side=side,
        type=OrderType.MARKET,
        status=OrderStatus.ACCEPTED,
        quantity=quantity,
        is_live=is_live,
        leg="leg",
        actor="test",
        created_at=NOON,
        updated_at=NOON,
    )


def execution(trade_id: str, quantity: str, price: str, fee: str = "0", minute: int = 0) -> Execution:
    at = NOON + timedelta(minutes=minute)
    return Execution(trade_id, Decimal(quantity), Decimal(price), Decimal(fee), is_maker=False, filled_at=at)


def books_of(bot: Bot, *, is_live: bool = False) -> BotBooks:
    books = load_books([bot.pk], NOON)[bot.pk]
    if books.bot.is_live == is_live:
        return books
    position = Position.objects.filter(bot=bot, is_live=is_live).first() or Position(bot=bot, is_live=is_live)
    return BotBooks(bot, position, Deal.objects.filter(bot=bot, is_live=is_live, closed_at__isnull=True).first())


def fill(bot: Bot, side: Side, *executions: Execution) -> Order:
    """Book one order that was filled by these executions."""
    order = an_order(bot, side, sum((one.quantity for one in executions), Decimal(0)))
    ledger.record_executions(order, executions, books_of(bot), RULES)
    return order


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_stored_books_follow_from_the_fills(data: st.DataObject) -> None:
    """Random orders with random fills, some reported again: position, deals and sums as the oracle computes them."""
    with transaction.atomic():
        bot = a_bot()
        closed = SlowStreak()
        for number in range(data.draw(st.integers(1, 8))):
            books = books_of(bot)
            side = Side.SELL if books.position.quantity and data.draw(st.booleans()) else Side.BUY
            total = data.draw(quantities)
            if side == Side.SELL:
                total = data.draw(st.sampled_from([books.position.quantity, min(total, books.position.quantity)]))
            fills = data.draw(executions_of(f"t{number}", total))
            order = an_order(bot, side, total)
            for report in data.draw(reports_of(fills)):
                ledger.record_executions(order, report, books, RULES)
                closed.look(bot)
            order.status = OrderStatus.FILLED
            order.save()
        check_book(bot, is_live=False)
        position = Position.objects.get(bot=bot)
        assert (position.losing_streak, position.last_loss_at) == (closed.lost_in_a_row, closed.last_loss_at)
        transaction.set_rollback(True)


class SlowStreak:
    """Deals that lost in a row, from looking at the stored deals again and again; nothing of the ledger's code."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.lost_in_a_row = 0
        self.last_loss_at: datetime | None = None

    def look(self, bot: Bot) -> None:
        """Take in what has closed since the last look."""
        for deal in Deal.objects.filter(bot=bot, closed_at__isnull=False).exclude(pk__in=self.seen).order_by("id"):
            self.seen.add(deal.pk)
            lost = deal.pnl < 0
            self.lost_in_a_row = self.lost_in_a_row + 1 if lost else 0
            self.last_loss_at = deal.closed_at if lost else self.last_loss_at


@st.composite
def executions_of(draw: st.DrawFn, name: str, total: Decimal) -> list[Execution]:
    """One to three executions that make up ``total``."""
    first = min(draw(quantities), total)
    pieces = [first] + ([total - first] if total > first else [])
    return [
        Execution(f"{name}-{index}", piece, draw(prices), draw(fees), is_maker=draw(st.booleans()), filled_at=NOON)
        for index, piece in enumerate(pieces)
    ]


@st.composite
def reports_of(draw: st.DrawFn, fills: list[Execution]) -> list[list[Execution]]:
    """Reports that tell of every execution at least once, in any order, some of them again and again."""
    told = fills + draw(st.lists(st.sampled_from(fills), max_size=3))
    shuffled = draw(st.permutations(told))
    cut = draw(st.integers(0, len(shuffled)))
    return [list(shuffled[:cut]), list(shuffled[cut:])]


@pytest.mark.django_db
def test_trade_reported_twice_in_one_report_counts_once() -> None:
    bot = a_bot()
    trade = execution("t-1", "0.5", "100", "0.2")
    order = an_order(bot, Side.BUY, Decimal("0.5"))
    fresh = ledger.record_executions(order, [trade, trade], books_of(bot), RULES)
    assert fresh == [trade]
    assert order.filled_quantity == Decimal("0.5")
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_trade_reported_again_after_a_restart_counts_once() -> None:
    bot = a_bot()
    trades = [execution("t-1", "0.2", "100", "0.1"), execution("t-2", "0.3", "101", "0.1", minute=1)]
    order = an_order(bot, Side.BUY, Decimal("0.5"))
    ledger.record_executions(order, trades[:1], books_of(bot), RULES)
    again = Order.objects.get(pk=order.pk)
    assert ledger.record_executions(again, trades, books_of(bot), RULES) == trades[1:]
    assert ledger.record_executions(again, trades, books_of(bot), RULES) == []
    assert Fill.objects.filter(order=order).count() == 2
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_order_of_reports_does_not_change_the_books() -> None:
    figures = []
    trades = [execution(f"t-{n}", f"0.{n}", str(100 + n), "0.01", minute=n) for n in (1, 2, 3)]
    for name, order_of_report in (("straight", trades), ("reversed", trades[::-1])):
        bot = a_bot(name)
        order = an_order(bot, Side.BUY, Decimal("0.6"))
        named = [replace(trade, trade_id=f"{name}-{trade.trade_id}") for trade in order_of_report]
        for trade in named:
            ledger.record_executions(order, [trade], books_of(bot), RULES)
        position = Position.objects.get(bot=bot)
        figures.append((position.quantity, position.cost, position.fees, position.cash_flow, position.last_entry_at))
    assert figures[0] == figures[1]


@pytest.mark.django_db
def test_same_trade_id_on_two_orders_is_refused_by_the_database() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("t-1", "0.5", "100"))
    with pytest.raises(IntegrityError), transaction.atomic():
        fill(bot, Side.BUY, execution("t-1", "0.5", "100"))
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_deal_lasts_from_the_first_entry_until_flat() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("b-1", "0.5", "100", "0.2"))
    fill(bot, Side.BUY, execution("b-2", "0.5", "90", "0.2", minute=1))
    fill(bot, Side.SELL, execution("s-1", "0.4", "110", "0.1", minute=2))
    deal = Deal.objects.get(bot=bot)
    assert (deal.legs, deal.closed_at) == (2, None)
    fill(bot, Side.SELL, execution("s-2", "0.6", "120", "0.1", minute=3))
    deal.refresh_from_db()
    assert (deal.opened_at, deal.closed_at) == (NOON, NOON + timedelta(minutes=3))
    # Sold for 44 + 72, bought for 50 + 45, fees 0.6.
    assert deal.pnl == Decimal("20.4")
    fill(bot, Side.BUY, execution("b-3", "0.1", "100", minute=4))
    assert Deal.objects.filter(bot=bot, closed_at__isnull=True).count() == 1
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_best_price_that_a_tick_notes_meanwhile_outlives_a_fill() -> None:
    """Ticks that do nothing else write it without the bot's lock: a trailing stop must not forget it."""
    bot = a_bot()
    fill(bot, Side.BUY, execution("1", "2", "100"))
    books = books_of(bot)
    Deal.objects.update(peak_price=Decimal(120))
    ledger.record_executions(an_order(bot, Side.SELL, Decimal(1)), [execution("2", "1", "118")], books, RULES)
    deal = Deal.objects.get()
    assert (deal.peak_price, deal.sold_quantity) == (120, 1)


@pytest.mark.django_db
def test_one_entry_in_three_fills_is_one_leg() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, *(execution(f"b-{n}", "0.1", "100") for n in range(3)))
    assert Deal.objects.get(bot=bot).legs == 1


@pytest.mark.django_db
def test_rest_of_an_entry_that_fills_in_the_next_deal_is_a_leg_of_it() -> None:
    bot = a_bot()
    entry = an_order(bot, Side.BUY, Decimal("0.5"))
    ledger.record_executions(entry, [execution("b-1", "0.2", "100")], books_of(bot), RULES)
    fill(bot, Side.SELL, execution("s-1", "0.2", "101", minute=1))
    ledger.record_executions(entry, [execution("b-2", "0.3", "100", minute=2)], books_of(bot), RULES)
    assert Deal.objects.get(bot=bot, closed_at__isnull=True).legs == 1


@pytest.mark.django_db
def test_dust_holds_no_deal_open_and_its_cost_moves_to_the_deal_that_sells_it() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("b-1", "1.0005", "100"))
    fill(bot, Side.SELL, execution("s-1", "1", "100", "0.1", minute=1))
    first = Deal.objects.get(bot=bot)
    assert first.closed_at is not None
    assert first.pnl == Decimal("-0.1")
    assert Position.objects.get(bot=bot).cost == Decimal("0.05")
    fill(bot, Side.BUY, execution("b-2", "1", "100", minute=2))
    fill(bot, Side.SELL, execution("s-2", "1.0005", "100", minute=3))
    second = Deal.objects.get(bot=bot, opened_at=NOON + timedelta(minutes=2))
    # Bought at 100 and sold at 100: neither deal may show the dust's 5 cents as a gain.
    assert second.pnl == 0
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_rest_of_an_exit_whose_first_fill_left_dust_belongs_to_its_deal() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("b-1", "1", "100"))
    leave = an_order(bot, Side.SELL, Decimal(1))
    ledger.record_executions(leave, [execution("s-1", "0.995", "100", minute=1)], books_of(bot), RULES)
    assert Deal.objects.get(bot=bot).closed_at is not None
    ledger.record_executions(leave, [execution("s-2", "0.005", "120", minute=2)], books_of(bot), RULES)
    deal = Deal.objects.get(bot=bot)
    assert (deal.sold_quantity, deal.pnl) == (1, Decimal("0.1"))
    check_book(bot, is_live=False)


@pytest.mark.parametrize(
    ("quantity", "price", "dust"),
    [
        ("0.0009", "90000", True),  # below the smallest quantity, whatever it is worth
        ("0.001", "1000", False),  # worth exactly the minimum of 1 USD
        ("0.001", "999.99", True),
        ("0", "100", True),
    ],
)
def test_dust_is_what_the_venue_would_not_buy(quantity: str, price: str, dust: bool) -> None:
    assert ledger.is_dust(Decimal(quantity), Decimal(price), RULES) is dust


@pytest.mark.django_db
def test_paper_and_live_books_of_one_bot_never_mix() -> None:
    bot = a_bot(venue="kraken", symbol="BTC/USD")
    paper = an_order(bot, Side.BUY, Decimal("0.5"))
    live = an_order(bot, Side.BUY, Decimal("0.2"), is_live=True)
    ledger.record_executions(paper, [execution("t-1", "0.5", "100", "0.2")], books_of(bot), RULES)
    # The same trade id: the venue's paper and live accounts count apart.
    ledger.record_executions(live, [execution("t-1", "0.2", "300", "0.1")], books_of(bot, is_live=True), RULES)
    quantities_held = {one.is_live: one.quantity for one in Position.objects.filter(bot=bot)}
    assert quantities_held == {False: Decimal("0.5"), True: Decimal("0.2")}
    assert {one.is_live: one.bought_notional for one in Deal.objects.filter(bot=bot)} == {False: 50, True: 60}
    bot.dry_run = False
    bot.save()
    assert load_books([bot.pk], NOON)[bot.pk].position.quantity == Decimal("0.2")
    for is_live in (False, True):
        check_book(bot, is_live=is_live)


@pytest.mark.django_db
def test_oversold_report_leaves_no_trace_once_rolled_back() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("b-1", "0.5", "100"))
    with pytest.raises(BookError), transaction.atomic():
        fill(bot, Side.SELL, execution("s-1", "0.3", "100"), execution("s-2", "0.3", "100"))
    assert Position.objects.get(bot=bot).quantity == Decimal("0.5")
    check_book(bot, is_live=False)


@pytest.mark.django_db
def test_28_digits_come_back_from_the_database_as_they_went_in() -> None:
    bot = a_bot()
    quantity, price = "12345678.12345678", "98765432.123456789012"
    fill(bot, Side.BUY, execution("b-1", quantity, price, "0.12345678"))
    position = Position.objects.get(bot=bot)
    assert Fraction(position.cost) == Fraction(quantity) * Fraction(price)
    check_book(bot, is_live=False)


# What the controls count.


def round_trip(bot: Bot, name: str, pnl: str, minute: int = 0) -> None:
    """Book a deal that gains ``pnl``."""
    fill(bot, Side.BUY, execution(f"{name}-b", "1", "100", minute=minute))
    fill(bot, Side.SELL, execution(f"{name}-s", "1", str(100 + Decimal(pnl)), minute=minute + 1))


@pytest.mark.django_db
def test_values_of_the_last_30_filled_orders_are_kept_oldest_first() -> None:
    bot = a_bot()
    for number in range(32):
        fill(bot, Side.BUY, execution(f"t-{number}", "1", str(100 + number)))
    position = Position.objects.get(bot=bot)
    assert position.filled_orders == 32
    assert position.recent_notionals == [str(102 + number) for number in range(30)]


@pytest.mark.django_db
def test_order_counts_once_its_whole_quantity_filled() -> None:
    bot = a_bot()
    order = an_order(bot, Side.BUY, Decimal("0.5"))
    trades = [execution("t-1", "0.2", "100"), execution("t-2", "0.3", "101", minute=1)]
    ledger.record_executions(order, trades[:1], books_of(bot), RULES)
    assert Position.objects.get(bot=bot).filled_orders == 0
    ledger.record_executions(order, trades, books_of(bot), RULES)
    ledger.record_executions(order, trades, books_of(bot), RULES)
    position = Position.objects.get(bot=bot)
    assert (position.filled_orders, position.recent_notionals) == (1, ["50.3"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("gains", "streak", "lost_at_minute"),
    [(["-1"], 1, 1), (["-1", "-2"], 2, 11), (["-1", "0"], 0, 1), (["-1", "-1", "3", "-1"], 1, 31), (["0.01"], 0, None)],
)
def test_deals_that_lost_in_a_row_are_counted(gains: list[str], streak: int, lost_at_minute: int | None) -> None:
    bot = a_bot()
    for number, gain in enumerate(gains):
        round_trip(bot, f"d{number}", gain, minute=10 * number)
    position = Position.objects.get(bot=bot)
    lost_at = None if lost_at_minute is None else NOON + timedelta(minutes=lost_at_minute)
    assert (position.losing_streak, position.last_loss_at) == (streak, lost_at)


@pytest.mark.django_db
def test_dust_that_is_sold_later_counts_no_second_loss() -> None:
    bot = a_bot()
    fill(bot, Side.BUY, execution("b-1", "1", "100"))
    leave = an_order(bot, Side.SELL, Decimal(1))
    for trade in (execution("s-1", "0.995", "90", minute=1), execution("s-2", "0.005", "90", minute=2)):
        ledger.record_executions(leave, [trade], books_of(bot), RULES)
    assert Position.objects.get(bot=bot).losing_streak == 1


@pytest.mark.django_db
def test_rejections_in_a_row_are_counted_until_one_is_accepted() -> None:
    bot = a_bot()
    position = books_of(bot).position
    ledger.note_acceptance(position)
    assert not Position.objects.exists()
    for _ in range(2):
        ledger.note_rejection(position)
    assert Position.objects.get(bot=bot).reject_streak == 2
    # A mark that came meanwhile stays.
    Position.objects.update(mark_price=Decimal(7))
    ledger.note_acceptance(position)
    stored = Position.objects.get(bot=bot)
    assert (stored.reject_streak, stored.mark_price) == (0, 7)
