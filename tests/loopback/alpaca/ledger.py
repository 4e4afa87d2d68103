"""The venue's own books: cash, positions, orders, trades and activities of one account. No HTTP."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from uuid import uuid4

from tests.loopback.alpaca.hours import NEW_YORK
from tests.loopback.alpaca.market import Market

#: What may still trade. A closed market leaves an order at accepted.
OPEN = frozenset({"pending_new", "accepted", "new", "partially_filled", "pending_cancel", "done_for_day", "held"})
NANO = 1_000_000_000


class Refused(Exception):
    """The venue says no: an HTTP status, its code (None: none) and its own words."""

    def __init__(self, status: int, code: int | None, message: str, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {**more, **({} if code is None else {"code": code}), "message": message}


@dataclass
class Trade:
    """One execution."""

    id: str
    order_id: str
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    order_status: str
    at_ns: int
    visible_at: float


@dataclass
class Activity:
    """What moved the account's cash or shares without a trade: a deposit, a dividend, a fee."""

    id: str
    type: str
    net_amount: Decimal
    at_ns: int
    symbol: str | None = None
    qty: Decimal | None = None
    per_share_amount: Decimal | None = None
    description: str = ""


@dataclass
class VenueOrder:
    """One order. ``visible_at`` is when questions begin to show it; unless ``is_listed`` only its id does."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    created_ns: int
    updated_ns: int
    expires_at: float
    visible_at: float
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    extended_hours: bool = False
    status: str = "pending_new"
    is_listed: bool = True
    ended_ns: dict[str, int] = field(default_factory=dict)
    cancel_at: float | None = None
    trades: list[Trade] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        return sum((trade.qty for trade in self.trades), Decimal(0))

    @property
    def cost(self) -> Decimal:
        return sum((trade.qty * trade.price for trade in self.trades), Decimal(0))

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    def remaining(self, price: Decimal) -> Decimal:
        """Return how many shares are left; those of an order by value depend on the price."""
        if self.qty is not None:
            return self.qty - self.filled
        return ((self.notional or Decimal(0)) / price).quantize(Decimal("1e-9")) - self.filled


@dataclass(frozen=True)
class NewOrder:
    """An order that is asked for, its figures read already."""

    symbol: str
    side: str
    type: str = "market"
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    time_in_force: str = "day"
    client_order_id: str = ""
    extended_hours: bool = False
    invisible_s: float = 0.0


@dataclass
class Position:
    """What is held of a share; below zero it was sold short. ``cost`` has the same sign."""

    qty: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)


class Ledger:
    """One account. Every public method takes the lock; each change is whole or not at all."""

    def __init__(self, market: Market, cash: Decimal) -> None:
        self.market = market
        self.lock = threading.RLock()
        self.cash = cash
        self.positions: dict[str, Position] = {}
        self.orders: dict[str, VenueOrder] = {}
        self.trades: list[Trade] = []
        self.activities: list[Activity] = []
        self.cancel_s = 0.0
        self.activity_lag_s = 0.0
        #: What the money of each trade is rounded to, as the real venue does; None: it is exact.
        self.cash_step: Decimal | None = None
        market.on_move.append(self.meet)
        market.on_hours.append(self.bell)

    # What the venue does.

    def place(self, new: NewOrder) -> VenueOrder:
        """Take an order that the rules allow, and let it meet the book if the market is open."""
        with self.lock:
            now_ns, at = time.time_ns(), self.market.hours.now()
            order = VenueOrder(
                id=str(uuid4()),
                client_order_id=new.client_order_id or str(uuid4()),
                symbol=new.symbol,
                side=new.side,
                type=new.type,
                time_in_force=new.time_in_force,
                created_ns=now_ns,
                updated_ns=now_ns,
                expires_at=self.market.hours.next_close(at).timestamp(),
                visible_at=time.time() + new.invisible_s,
                qty=new.qty,
                notional=new.notional,
                limit_price=new.limit_price,
                extended_hours=new.extended_hours,
                status="accepted",
            )
            self.orders[order.id] = order
            if self.market.hours.is_open(at):
                self._open(order)
            return order

    def cancel(self, order: VenueOrder) -> None:
        """Ask for the end of an order: at once, or ``cancel_s`` later. Raises Refused when it is over."""
        with self.lock:
            if not order.is_open:
                raise Refused(422, 42210000, f'order is already in "{order.status}" state')
            if self.cancel_s:
                self._now(order, "pending_cancel")
                order.cancel_at = time.time() + self.cancel_s
            else:
                self.end(order, "canceled")

    def end(self, order: VenueOrder, status: str) -> None:
        """Let an order end, or stand, in any status: canceled, expired, rejected, suspended, or one nobody knows."""
        with self.lock:
            self._now(order, status)
            order.ended_ns[status] = order.updated_ns

    def fill(self, order: VenueOrder, qty: Decimal, price: Decimal | None = None) -> Trade:
        """Let an order trade, also one that is cancelled already. Raises Refused for more than is left of it."""
        with self.lock:
            price = price or order.limit_price or self._far_side(order.side, order.symbol)
            if not 0 < qty <= order.remaining(price):
                raise Refused(422, 42210000, "qty is more than what is left")
            return self._trade(order, qty, price)

    def meet(self, symbol: str) -> None:
        """Fill what rests and is met by the market as it now is."""
        with self.lock:
            if not self.market.hours.is_open(self.market.hours.now()):
                return
            for order in self._open_orders():
                if order.symbol == symbol and self._crosses(order):
                    self._take(order, at_its_limit=True)

    def bell(self, is_open: bool) -> None:
        """The market opens: what waited goes to the book. Or it closes: what was there for the day expires."""
        with self.lock:
            for order in list(self._open_orders()):
                if is_open and order.status == "accepted":
                    self._open(order)
                elif not is_open and order.status != "accepted" and order.time_in_force == "day":
                    self.end(order, "expired")

    def settle(self) -> None:
        """Do what time alone brings: the end of a day's orders, a cancel that takes a while."""
        with self.lock:
            at = self.market.hours.now()
            is_open = self.market.hours.is_open(at)
            for order in list(self._open_orders()):
                if order.cancel_at is not None and time.time() >= order.cancel_at:
                    self.end(order, "canceled")
                elif order.time_in_force == "day" and at.timestamp() >= order.expires_at:
                    self.end(order, "expired")
                elif is_open and order.status == "accepted":
                    self._open(order)

    def book_activity(self, activity: Activity) -> str:
        """Note what moved the account without a trade; its amount goes to the cash. Return its id."""
        with self.lock:
            self.activities.append(activity)
            self.cash += activity.net_amount
            return activity.id

    # What can be asked.

    def held(self, symbol: str) -> Decimal:
        with self.lock:
            return self.positions.get(symbol, Position()).qty

    def on_hold(self, symbol: str) -> Decimal:
        """Return how many shares open sell orders hold back."""
        with self.lock:
            price = self._far_side("sell", symbol)
            mine = [one for one in self._open_orders() if one.symbol == symbol and one.side == "sell"]
            return sum((one.remaining(one.limit_price or price) for one in mine), Decimal(0))

    def reserved(self) -> Decimal:
        """Return the cash that open buy orders hold back."""
        with self.lock:
            buys = [one for one in self._open_orders() if one.side == "buy"]
            return sum((one.remaining(price) * price for one in buys if (price := self._price(one))), Decimal(0))

    def by_client_id(self, client_order_id: str) -> VenueOrder | None:
        with self.lock:
            return next((one for one in self.orders.values() if one.client_order_id == client_order_id), None)

    def opposite(self, new: NewOrder) -> VenueOrder | None:
        """Return an open order on the other side that the new one could trade with: a wash trade."""
        with self.lock:
            for one in self._open_orders():
                if one.symbol == new.symbol and one.side != new.side and _would_meet(new, one):
                    return one
        return None

    # Inside.

    def _open_orders(self) -> Iterator[VenueOrder]:
        return (one for one in list(self.orders.values()) if one.is_open)

    def _now(self, order: VenueOrder, status: str) -> None:
        order.status, order.updated_ns = status, time.time_ns()

    def _open(self, order: VenueOrder) -> None:
        self._now(order, "new")
        order.expires_at = self.market.hours.next_close(self.market.hours.now()).timestamp()
        if self._crosses(order):
            self._take(order)
        if order.is_open and order.time_in_force in {"ioc", "fok"}:
            self.end(order, "canceled")

    def _price(self, order: VenueOrder) -> Decimal:
        return order.limit_price or self._far_side(order.side, order.symbol)

    def _far_side(self, side: str, symbol: str) -> Decimal:
        book = self.market.books[symbol]
        return (book.ask if side == "buy" else book.bid) or book.last

    def _crosses(self, order: VenueOrder) -> bool:
        if order.limit_price is None:
            return True
        far = self._far_side(order.side, order.symbol)
        return far <= order.limit_price if order.side == "buy" else far >= order.limit_price

    def _take(self, order: VenueOrder, *, at_its_limit: bool = False) -> None:
        """Trade at the book as far as its depth goes; what is left waits for the next move."""
        price = self._far_side(order.side, order.symbol)
        if at_its_limit and order.limit_price is not None:
            price = order.limit_price
        depth = self.market.books[order.symbol].depth
        left = order.remaining(price)
        qty = left if depth is None else min(depth, left)
        if qty > 0:
            self._trade(order, qty, price)

    def _trade(self, order: VenueOrder, qty: Decimal, price: Decimal) -> Trade:
        now_ns = time.time_ns()
        left = order.remaining(price) - qty
        status = "partially_filled" if left > 0 else "filled"
        if order.is_open or status == "filled":
            self._now(order, status)
        trade = Trade(
            id=activity_id(now_ns),
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            qty=qty,
            cum_qty=order.filled + qty,
            leaves_qty=left,
            order_status=status,
            at_ns=now_ns,
            visible_at=max(order.visible_at, time.time() + self.activity_lag_s),
        )
        order.trades.append(trade)
        self.trades.append(trade)
        if status == "filled":
            order.ended_ns["filled"] = now_ns
        self._move(order.symbol, qty if order.side == "buy" else -qty, price)
        self.market.printed(order.symbol, price, qty)
        return trade

    def _move(self, symbol: str, change: Decimal, price: Decimal) -> None:
        money = change * price
        self.cash -= money if self.cash_step is None else money.quantize(self.cash_step, ROUND_CEILING)
        held = self.positions.setdefault(symbol, Position())
        if held.qty * change >= 0:
            held.cost += change * price
        elif abs(change) <= abs(held.qty):
            held.cost += held.cost / held.qty * change
        else:
            held.cost = (held.qty + change) * price
        held.qty += change
        if not held.qty:
            del self.positions[symbol]


def _would_meet(new: NewOrder, standing: VenueOrder) -> bool:
    if new.limit_price is None or standing.limit_price is None:
        return True
    if new.side == "buy":
        return new.limit_price >= standing.limit_price
    return new.limit_price <= standing.limit_price


def activity_id(at_ns: int) -> str:
    """Return an id that begins with the time in New York, to the millisecond, as the venue's do."""
    at = datetime.fromtimestamp(at_ns // NANO, UTC).astimezone(NEW_YORK)
    return f"{at:%Y%m%d%H%M%S}{at_ns % NANO // 1_000_000:03d}::{uuid4()}"
