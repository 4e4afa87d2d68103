"""The built-in paper broker: fills orders against what the market did. Values in, values out; no clock, no database.

- A market order, and a limit order that the market already meets, takes the far side of the spread, worsened by the
  slippage and rounded to the tick away from the taker; a limit order never pays worse than its limit. Taker fee.
- Any other limit order rests, and fills at its limit when the market trades *through* it: beyond, not merely at it,
  since nobody knows how long the queue at that price was. Maker fee.
- While the market is closed every order waits, as it would at the exchange.
- Each look at the market fills at most a share (the participation) of the volume that was traded meanwhile, rounded
  down to the lot. What is left waits for the next look: of a market order too. Without a known volume there is no such
  limit. Each order is held against the whole volume by itself; two bots in one market do not compete.
- Fees are rounded up to 1e-8 of the quote currency, and are never negative.

Same order and same market, same executions with the same trade ids: a repeat can be told from a second fill.
"""

from decimal import ROUND_UP, Context, Decimal, localcontext

from bots.brokers.base import (
    Execution,
    FeeSchedule,
    MarketView,
    OrderReport,
    PermitError,
    RestingOrder,
    require_permit,
)
from bots.market_data.base import Traded
from bots.order_states import OrderStatus
from safety.intents import OrderIntent, OrderType, Permit, Quote, Side

#: How much worse than the quote a taker fares, in basis points of the price.
SLIPPAGE_BPS = Decimal(2)
#: The share of the traded volume that one order can get: 0.1 is 10 %.
PARTICIPATION = Decimal("0.1")
FEE_STEP = Decimal("1e-8")
_BASIS_POINTS = Decimal(10_000)
_EXACT = Context(prec=80)


class PaperBroker:
    """Fills paper orders under one fee schedule. ``slippage_bps`` and ``participation`` are as in the module's text."""

    def __init__(
        self, fees: FeeSchedule, slippage_bps: Decimal = SLIPPAGE_BPS, participation: Decimal = PARTICIPATION
    ) -> None:
        if not 0 <= slippage_bps < _BASIS_POINTS:
            raise ValueError(f"the slippage has to be from 0 to below 10000 basis points, not {slippage_bps}")
        if not 0 < participation <= 1:
            raise ValueError(f"the participation has to be above 0 and at most 1, not {participation}")
        self.fees = fees
        self.slippage_bps = slippage_bps
        self.participation = participation

    def submit(self, order: OrderIntent, permit: Permit, view: MarketView) -> OrderReport:
        """Take a new order: it fills, in part or whole, or rests, or is REJECTED with a reason.

        Raises PermitError without a permit for exactly this order, and for a live order whatever its permit.
        """
        require_permit(order, permit)
        return self.would_do(order, view)

    def would_do(self, order: OrderIntent, view: MarketView) -> OrderReport:
        """Return what a new order comes to on this view; nothing is sent and nothing kept, and so no permit is asked for.

        It serves the paper twin of an order that a venue has (bots/executor/shadow.py). Raises PermitError for a live order.
        """
        _refuse_live(order)
        problem = _problem(order, view)
        if problem:
            return OrderReport(OrderStatus.REJECTED, reason=problem)
        price = self._taking_price(order, view) if view.is_open else None
        if price is None:
            return OrderReport(OrderStatus.ACCEPTED, _venue_order_id(order))
        resting = RestingOrder(order, order.quantity, 0)
        return self._fill(resting, view, price, is_maker=False)

    def match(self, resting: RestingOrder, view: MarketView) -> OrderReport:
        """Try a resting order against ``view.traded``; None there means that nothing was traded, so nothing fills.

        The report's executions are the new ones only. Raises PermitError for a live order.
        """
        order = resting.intent
        _refuse_live(order)
        problem = _problem(order, view)
        if problem or not view.is_open or view.traded is None or resting.remaining_quantity <= 0:
            return OrderReport(_open_status(resting.fills_so_far), _venue_order_id(order), reason=problem)
        if order.limit_price is None:
            price = self._slipped(view, order.side)
            return self._fill(resting, view, price, is_maker=False)
        if not _traded_through(order.side, order.limit_price, view.traded):
            return OrderReport(_open_status(resting.fills_so_far), _venue_order_id(order))
        return self._fill(resting, view, order.limit_price, is_maker=True)

    @staticmethod
    def cancel(order: OrderIntent, venue_order_id: str = "") -> OrderReport:
        """Cancel a resting order; on paper this always succeeds at once."""
        return OrderReport(OrderStatus.CANCELED, venue_order_id or _venue_order_id(order))

    def _fill(self, resting: RestingOrder, view: MarketView, price: Decimal, *, is_maker: bool) -> OrderReport:
        order = resting.intent
        quantity = self._available(resting.remaining_quantity, view)
        if quantity <= 0:
            return OrderReport(_open_status(resting.fills_so_far), _venue_order_id(order))
        execution = Execution(
            trade_id=f"{order.client_order_id}-{resting.fills_so_far + 1}",
            quantity=quantity,
            price=price,
            fee=fee(quantity, price, self.fees.maker if is_maker else self.fees.taker),
            is_maker=is_maker,
            filled_at=view.now,
        )
        is_done = quantity == resting.remaining_quantity
        status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
        return OrderReport(status, _venue_order_id(order), (execution,))

    def _available(self, wanted: Decimal, view: MarketView) -> Decimal:
        """Return how much of ``wanted`` the traded volume lets through, in whole lots unless it is all."""
        if view.traded is None or view.traded.volume is None:
            return wanted
        with localcontext(_EXACT):
            share = view.traded.volume * self.participation
            return wanted if share >= wanted else share - share % view.rules.lot_size

    def _taking_price(self, order: OrderIntent, view: MarketView) -> Decimal | None:
        """Return what a taker pays or gets, or None when the order's limit does not reach the far side."""
        price, limit = self._slipped(view, order.side), order.limit_price
        if limit is None:
            return price
        far = view.quote.far_side(order.side)
        if order.side == Side.BUY:
            return min(price, limit) if far <= limit else None
        return max(price, limit) if far >= limit else None

    def _slipped(self, view: MarketView, side: Side) -> Decimal:
        """Return the far side with slippage, rounded to the tick against the taker; a sale gets a tick at least."""
        with localcontext(_EXACT):
            slip = self.slippage_bps / _BASIS_POINTS
            raw = view.quote.far_side(side) * (1 + slip if side == Side.BUY else 1 - slip)
            tick = view.rules.tick_at(raw)
            below = raw - raw % tick
            if side == Side.BUY:
                return below if below == raw else below + tick
            return max(below, tick)


def fee(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """Return quantity × price × rate, rounded up to 1e-8 of the quote currency; a negative rate costs nothing."""
    with localcontext(_EXACT):
        return (quantity * price * max(rate, Decimal(0))).quantize(FEE_STEP, rounding=ROUND_UP)


def _traded_through(side: Side, limit: Decimal, traded: Traded) -> bool:
    return traded.low < limit if side == Side.BUY else traded.high > limit


def _open_status(fills_so_far: int) -> OrderStatus:
    return OrderStatus.PARTIALLY_FILLED if fills_so_far else OrderStatus.ACCEPTED


def _venue_order_id(order: OrderIntent) -> str:
    return f"paper-{order.client_order_id}"


def _refuse_live(order: OrderIntent) -> None:
    # The gate would never permit it for this broker; a wrong factory one day must not book invented fills as real ones.
    if order.is_live:
        raise PermitError(f"order {order.client_order_id} is live: the paper broker does not take it")


def _problem(order: OrderIntent, view: MarketView) -> str:
    """Return why this order cannot be filled on this view at all, or an empty text."""
    where = (order.venue, order.symbol)
    if where != (view.quote.venue, view.quote.symbol) or where != (view.rules.venue, view.rules.symbol):
        return "the market data are not those of the order's symbol"
    if not _is_valid(view.quote):
        return "the quote is not valid"
    if not order.quantity.is_finite() or order.quantity <= 0:
        return "the quantity is not above zero"
    if (order.type == OrderType.LIMIT) != (order.limit_price is not None):
        return "a limit order needs a limit price, and a market order has none"
    if order.limit_price is not None and (not order.limit_price.is_finite() or order.limit_price <= 0):
        return "the limit price is not above zero"
    return ""


def _is_valid(quote: Quote) -> bool:
    return quote.bid.is_finite() and quote.ask.is_finite() and 0 < quote.bid <= quote.ask
