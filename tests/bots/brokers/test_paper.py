"""The paper broker: what fills, at what price, how much of it, and what it costs."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.brokers.base import FeeSchedule, MarketView, OrderReport, PermitError, RestingOrder
from bots.brokers.paper import PaperBroker, fee
from bots.market_data.base import Traded
from bots.order_states import OrderStatus
from safety.intents import OrderIntent, OrderType, Quote, Side
from tests.bots.brokers.builders import FEES, NOW, RULES, order_of, permit_of, traded_of, view_of

BROKER = PaperBroker(FEES)


def submit(order: OrderIntent, view: MarketView, broker: PaperBroker = BROKER) -> OrderReport:
    """Submit with the order's own permit."""
    return broker.submit(order, permit_of(order), view)


def resting_of(order: OrderIntent, filled: str = "0", fills: int = 0) -> RestingOrder:
    """Return the order as it rests after some fills."""
    return RestingOrder(order, order.quantity - Decimal(filled), fills)


class TestTaking:
    """Market orders, and limit orders that the market already meets."""

    @pytest.mark.parametrize(
        ("side", "price"),
        # 100.01 and two basis points are 100.030002: the next tick up. 99.99 less two are 99.970002: the tick below.
        [(Side.BUY, "100.04"), (Side.SELL, "99.97")],
    )
    def test_market_order_fills_at_the_far_side_with_slippage_rounded_against_it(self, side: Side, price: str) -> None:
        report = submit(order_of(side), view_of())
        (execution,) = report.executions
        assert report.status == OrderStatus.FILLED
        assert (execution.price, execution.quantity, execution.is_maker) == (Decimal(price), Decimal(1), False)
        assert execution.filled_at == NOW

    def test_slippage_that_ends_on_a_tick_is_not_rounded_further(self) -> None:
        broker = PaperBroker(FEES, slippage_bps=Decimal(100))
        assert submit(order_of(Side.BUY), view_of("99", "100"), broker).executions[0].price == 101
        assert submit(order_of(Side.SELL), view_of("100", "101"), broker).executions[0].price == 99

    def test_without_slippage_a_taker_gets_the_far_side_itself(self) -> None:
        broker = PaperBroker(FEES, slippage_bps=Decimal(0))
        assert submit(order_of(Side.BUY), view_of(), broker).executions[0].price == Decimal("100.01")
        assert submit(order_of(Side.SELL), view_of(), broker).executions[0].price == Decimal("99.99")

    def test_sale_in_a_market_of_one_tick_gets_that_tick(self) -> None:
        assert submit(order_of(Side.SELL), view_of("0.01", "0.02")).executions[0].price == Decimal("0.01")

    @pytest.mark.parametrize(
        ("side", "limit", "price"),
        [
            (Side.BUY, "100.01", "100.01"),
            (Side.BUY, "100.02", "100.02"),
            (Side.BUY, "105", "100.04"),
            (Side.SELL, "99.99", "99.99"),
            (Side.SELL, "99.98", "99.98"),
            (Side.SELL, "95", "99.97"),
        ],
    )
    def test_limit_order_that_the_market_meets_takes_and_never_pays_worse_than_its_limit(
        self, side: Side, limit: str, price: str
    ) -> None:
        report = submit(order_of(side, limit=limit), view_of())
        assert report.status == OrderStatus.FILLED
        assert report.executions[0].price == Decimal(price)
        assert not report.executions[0].is_maker

    @pytest.mark.parametrize(("side", "limit"), [(Side.BUY, "100"), (Side.SELL, "100")])
    def test_limit_order_inside_the_spread_rests(self, side: Side, limit: str) -> None:
        report = submit(order_of(side, limit=limit), view_of(traded=traded_of("90", "110", "1000")))
        assert report == OrderReport(OrderStatus.ACCEPTED, "paper-abc-1")


class TestVolume:
    """No look at the market fills more than its share of what was traded."""

    @pytest.mark.parametrize(
        ("volume", "filled", "status"),
        [
            ("10", "1", OrderStatus.FILLED),
            ("9.999", "0.999", OrderStatus.PARTIALLY_FILLED),
            ("5.0199", "0.501", OrderStatus.PARTIALLY_FILLED),
            ("0.01", "0.001", OrderStatus.PARTIALLY_FILLED),
        ],
    )
    def test_market_order_gets_a_tenth_of_the_volume_in_whole_lots(
        self, volume: str, filled: str, status: OrderStatus
    ) -> None:
        report = submit(order_of(), view_of(traded=traded_of("99", "101", volume)))
        assert report.status == status
        assert report.executions[0].quantity == Decimal(filled)

    @pytest.mark.parametrize("volume", ["0", "0.0099"])
    def test_order_waits_when_its_share_is_less_than_a_lot(self, volume: str) -> None:
        view = view_of(traded=traded_of("99", "101", volume))
        assert submit(order_of(), view) == OrderReport(OrderStatus.ACCEPTED, "paper-abc-1")
        again = BROKER.match(resting_of(order_of(), "0.5", 1), view)
        assert again == OrderReport(OrderStatus.PARTIALLY_FILLED, "paper-abc-1")

    @pytest.mark.parametrize("traded", [None, traded_of("99", "101")])
    def test_without_a_known_volume_there_is_no_limit(self, traded: Traded | None) -> None:
        report = submit(order_of(quantity="1000000"), view_of(traded=traded))
        assert report.status == OrderStatus.FILLED

    def test_rest_of_a_market_order_goes_on_as_a_taker_at_the_next_look(self) -> None:
        order = order_of(quantity="2")
        report = BROKER.match(resting_of(order, "1.5", 1), view_of("109.99", "110", traded_of("100", "110", "50")))
        (execution,) = report.executions
        assert report.status == OrderStatus.FILLED
        assert (execution.quantity, execution.price, execution.is_maker) == (Decimal("0.5"), Decimal("110.03"), False)
        assert execution.trade_id == "abc-1-2"

    def test_rest_below_a_lot_fills_whole(self) -> None:
        order = order_of(quantity="0.0004")
        assert submit(order, view_of(traded=traded_of("99", "101", "1"))).status == OrderStatus.FILLED

    def test_participation_can_be_set(self) -> None:
        broker = PaperBroker(FEES, participation=Decimal(1))
        report = submit(order_of(), view_of(traded=traded_of("99", "101", "0.75")), broker)
        assert report.executions[0].quantity == Decimal("0.75")


class TestResting:
    """Limit orders that wait fill when the market trades through them."""

    @pytest.mark.parametrize(
        ("side", "traded", "fills"),
        [
            (Side.BUY, traded_of("94.99", "100"), True),
            (Side.BUY, traded_of("95", "100"), False),
            (Side.BUY, traded_of("95.01", "100"), False),
            (Side.SELL, traded_of("90", "95.01"), True),
            (Side.SELL, traded_of("90", "95"), False),
            (Side.SELL, traded_of("90", "94.99"), False),
        ],
    )
    def test_fill_needs_a_trade_through_the_limit_not_a_touch(self, side: Side, traded: Traded, fills: bool) -> None:
        report = BROKER.match(resting_of(order_of(side, limit="95")), view_of(traded=traded))
        assert bool(report.executions) is fills
        if fills:
            assert report.status == OrderStatus.FILLED
            assert (report.executions[0].price, report.executions[0].is_maker) == (Decimal(95), True)
        else:
            assert report == OrderReport(OrderStatus.ACCEPTED, "paper-abc-1")

    def test_nothing_traded_fills_nothing(self) -> None:
        assert not BROKER.match(resting_of(order_of(limit="95")), view_of("90", "91")).executions
        assert not BROKER.match(resting_of(order_of()), view_of("90", "91")).executions

    def test_fill_is_partial_by_volume_and_the_rest_keeps_resting(self) -> None:
        report = BROKER.match(resting_of(order_of(limit="95")), view_of(traded=traded_of("90", "96", "3")))
        assert report.status == OrderStatus.PARTIALLY_FILLED
        assert report.executions[0].quantity == Decimal("0.3")

    def test_order_without_a_rest_fills_no_more(self) -> None:
        order = order_of(limit="95")
        assert not BROKER.match(resting_of(order, "1", 3), view_of(traded=traded_of("90", "96"))).executions

    def test_matching_again_gives_the_same_trade_id_and_the_next_fill_another(self) -> None:
        order, view = order_of(limit="95"), view_of(traded=traded_of("90", "96", "3"))
        first, repeat = (BROKER.match(resting_of(order), view) for _ in range(2))
        assert first == repeat
        second = BROKER.match(resting_of(order, "0.3", 1), view)
        assert [first.executions[0].trade_id, second.executions[0].trade_id] == ["abc-1-1", "abc-1-2"]


class TestRefusals:
    """What the broker does not take."""

    @pytest.mark.parametrize(
        "change",
        [
            {"client_order_id": "abc-2"},
            {"bot_id": 2},
            {"venue": "kraken"},
            {"symbol": "SPY"},
            {"side": Side.SELL},
            {"type": OrderType.LIMIT},
            {"quantity": Decimal(2)},
            {"limit_price": Decimal(100)},
            {"is_live": True},
        ],
    )
    def test_submit_with_another_orders_permit_raises(self, change: dict[str, Any]) -> None:
        order = order_of()
        with pytest.raises(PermitError, match="nothing was sent"):
            BROKER.submit(order, permit_of(order, **change), view_of())

    @pytest.mark.parametrize("permit", [None, True, "permit"])
    def test_submit_without_a_permit_raises(self, permit: Any) -> None:
        with pytest.raises(PermitError):
            BROKER.submit(order_of(), permit, view_of())

    def test_live_order_raises_even_with_a_permit(self) -> None:
        order = order_of(is_live=True)
        with pytest.raises(PermitError, match="live"):
            submit(order, view_of())
        with pytest.raises(PermitError, match="live"):
            BROKER.match(resting_of(order), view_of(traded=traded_of("1", "200")))

    @pytest.mark.parametrize(
        ("bid", "ask"), [("0", "100"), ("-1", "100"), ("101", "100"), ("NaN", "100"), ("100", "NaN"), ("1", "Infinity")]
    )
    def test_invalid_quote_fills_nothing(self, bid: str, ask: str) -> None:
        view = view_of(bid, ask, traded_of("1", "200"))
        report = submit(order_of(), view)
        assert (report.status, report.executions, report.reason) == (OrderStatus.REJECTED, (), "the quote is not valid")
        waiting = BROKER.match(resting_of(order_of(limit="95")), view)
        assert (waiting.status, waiting.executions) == (OrderStatus.ACCEPTED, ())

    @pytest.mark.parametrize(
        "order",
        [
            order_of(quantity="0"),
            order_of(quantity="-1"),
            order_of(quantity="NaN"),
            order_of(limit="0"),
            order_of(limit="NaN"),
            order_of(type=OrderType.LIMIT),
            order_of(limit="100", type=OrderType.MARKET),
            order_of(symbol="SPY"),
            order_of(venue="kraken"),
        ],
    )
    def test_impossible_order_is_rejected_with_a_reason(self, order: OrderIntent) -> None:
        # A permit for a NaN covers nothing, since NaN equals nothing: the broker is then not even asked.
        try:
            report = submit(order, view_of())
        except PermitError:
            assert not order.quantity.is_finite() or (order.limit_price is not None and order.limit_price.is_nan())
            return
        assert (report.status, report.executions) == (OrderStatus.REJECTED, ())
        assert report.reason

    def test_rules_of_another_symbol_are_rejected(self) -> None:
        view = replace(view_of(), rules=replace(RULES, symbol="SPY"))
        assert submit(order_of(), view).status == OrderStatus.REJECTED

    @pytest.mark.parametrize("slippage", ["-0.01", "10000", "NaN"])
    def test_slippage_out_of_bounds_is_refused(self, slippage: str) -> None:
        with pytest.raises((ValueError, ArithmeticError)):
            PaperBroker(FEES, slippage_bps=Decimal(slippage))

    @pytest.mark.parametrize("participation", ["0", "-0.1", "1.01"])
    def test_participation_out_of_bounds_is_refused(self, participation: str) -> None:
        with pytest.raises(ValueError, match="participation"):
            PaperBroker(FEES, participation=Decimal(participation))


@pytest.mark.parametrize("limit", [None, "100.50"])
def test_order_waits_while_the_market_is_closed(limit: str | None) -> None:
    order = order_of(limit=limit)
    closed, moved = replace(view_of(), is_open=False), view_of(traded=traded_of("99.99", "100.60"))
    report = submit(order, closed)
    assert (report.status, report.executions) == (OrderStatus.ACCEPTED, ())
    resting = RestingOrder(order, order.quantity, 0)
    assert BROKER.match(resting, replace(moved, is_open=False)).executions == ()
    assert len(BROKER.match(resting, moved).executions) == 1


def test_price_below_one_slips_by_the_finer_tick() -> None:
    rules = replace(RULES, fine_tick_size=Decimal("0.0001"))
    for bid, ask, paid in (("0.5", "0.5001", "0.5003"), ("0.9998", "0.9999", "1.01"), ("1", "1.01", "1.02")):
        order = order_of()
        report = submit(order, replace(view_of(bid, ask), rules=rules))
        assert [one.price for one in report.executions] == [Decimal(paid)]


def test_cancel_ends_the_order_under_its_id() -> None:
    assert BROKER.cancel(order_of()) == OrderReport(OrderStatus.CANCELED, "paper-abc-1")
    assert BROKER.cancel(order_of(), "paper-other").venue_order_id == "paper-other"


class TestFees:
    """A fee is quantity x price x rate, rounded up."""

    def test_taker_and_maker_pay_their_own_rates(self) -> None:
        taken = submit(order_of(limit="100.01"), view_of()).executions[0]
        made = BROKER.match(resting_of(order_of(limit="95")), view_of(traded=traded_of("90", "96"))).executions[0]
        assert (taken.fee, made.fee) == (Decimal("0.40004"), Decimal("0.2375"))

    @pytest.mark.parametrize(
        ("quantity", "price", "rate", "expected"),
        [
            ("1", "100", "0.004", "0.4"),
            ("0.00000001", "0.01", "0.0025", "0.00000001"),
            ("0.333", "0.1", "0.0000001", "0.00000001"),
            ("5", "100", "0", "0"),
            ("5", "100", "-0.001", "0"),
            ("123456789.12345678", "98765.4321", "0.0025", "30483157808.64197281"),
        ],
    )
    def test_fee_is_rounded_up_to_a_hundred_millionth(
        self, quantity: str, price: str, rate: str, expected: str
    ) -> None:
        assert fee(Decimal(quantity), Decimal(price), Decimal(rate)) == Decimal(expected)

    @given(
        st.decimals("0.00000001", "1e9", places=8),
        st.decimals("0.01", "1e6", places=2),
        st.decimals("0", "0.05", places=6),
    )
    def test_fee_is_never_less_than_the_exact_one_and_never_a_step_more(
        self, quantity: Decimal, price: Decimal, rate: Decimal
    ) -> None:
        charged, exact = Fraction(fee(quantity, price, rate)), Fraction(quantity) * Fraction(price) * Fraction(rate)
        assert 0 <= charged - exact < Fraction(1, 10**8)


ticks = st.integers(1, 20_000).map(lambda n: Decimal(n).scaleb(-2))
lots = st.integers(1, 5_000).map(lambda n: Decimal(n).scaleb(-3))


@st.composite
def views(draw: st.DrawFn) -> MarketView:
    """Draw a valid market at some moment."""
    bid = draw(ticks)
    quote = Quote("replay", "TOY", bid, bid + draw(ticks), NOW, "replay")
    low = draw(ticks)
    volume = draw(st.none() | st.decimals("0", "100", places=8))
    traded = draw(st.none() | st.just(Traded(low, low + draw(ticks), volume)))
    return MarketView(NOW + timedelta(seconds=draw(st.integers(0, 99))), quote, RULES, traded)


@st.composite
def orders(draw: st.DrawFn) -> OrderIntent:
    """Draw an order that obeys the rules."""
    limit = draw(st.none() | ticks)
    side = draw(st.sampled_from(Side))
    return order_of(side, str(draw(lots)), None if limit is None else str(limit))


@given(
    orders(),
    st.lists(views(), min_size=1, max_size=12),
    st.decimals("0", "50", places=1),
    st.decimals("0.01", "1", places=2),
)
def test_life_of_an_order_keeps_every_promise(
    order: OrderIntent, market: list[MarketView], slippage: Decimal, participation: Decimal
) -> None:
    """From submit over many looks: never overfilled, never worse than the limit, never off the tick, lot or volume."""
    broker = PaperBroker(FeeSchedule(Decimal("0.0025"), Decimal("0.004")), slippage, participation)
    left = order.quantity
    ids: set[str] = set()
    for look, view in enumerate(market):
        is_first = look == 0
        resting = RestingOrder(order, left, len(ids))
        report = submit(order, view, broker) if is_first else broker.match(resting, view)
        assert report == (submit(order, view, broker) if is_first else broker.match(resting, view))
        for execution in report.executions:
            check_execution(order, view, execution.price, execution.quantity, participation, execution.is_maker)
            assert execution.trade_id not in ids
            ids.add(execution.trade_id)
            left -= execution.quantity
        assert left >= 0
        assert (report.status == OrderStatus.FILLED) is (left == 0)
        if left:
            assert report.status == (OrderStatus.PARTIALLY_FILLED if ids else OrderStatus.ACCEPTED)
        else:
            break


def check_execution(
    order: OrderIntent, view: MarketView, price: Decimal, quantity: Decimal, participation: Decimal, is_maker: bool
) -> None:
    """Assert what has to hold of every single execution."""
    sign = 1 if order.side == Side.BUY else -1
    assert price > 0
    assert quantity > 0
    assert price % RULES.tick_size == 0 == quantity % RULES.lot_size
    if order.limit_price is not None:
        assert price * sign <= order.limit_price * sign
    if is_maker:
        assert price == order.limit_price
    elif price > RULES.tick_size:
        assert price * sign >= view.quote.far_side(order.side) * sign
    if view.traded is not None and view.traded.volume is not None:
        assert quantity <= view.traded.volume * participation
