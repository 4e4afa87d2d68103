"""The venue's own books: balances, orders and trades of one account. No HTTP, no clock of its own but the machine's."""

import secrets
import string
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from tests.loopback.kraken.market import Instrument, Market

MAKER = Decimal("0.0025")
TAKER = Decimal("0.0040")
_OPEN = frozenset({"open"})
_MEETS_THE_BOOK = frozenset({"market", "limit"})
_ZERO = Decimal(0)


class Refused(Exception):
    """The venue says no, in its own words."""


@dataclass
class Trade:
    """One execution."""

    id: str
    order_id: str
    pair: str
    side: str
    type: str
    price: Decimal
    volume: Decimal
    fee: Decimal
    at: float
    is_maker: bool
    number: int

    @property
    def cost(self) -> Decimal:
        return self.price * self.volume


@dataclass(frozen=True)
class Movement:
    """One row of the account's ledger: by how much a balance changed, the fee taken off beside it, and what it came to."""

    id: str
    refid: str
    kind: str
    subtype: str
    asset: str
    amount: Decimal
    fee: Decimal
    balance: Decimal
    at: float


@dataclass
class VenueOrder:
    """One order. ``visible_at`` is when questions begin to show it; unless ``is_listed`` only its id and its trades do."""

    id: str
    pair: str
    side: str
    type: str
    volume: Decimal
    price: Decimal | None
    opened_at: float
    visible_at: float
    cl_ord_id: str | None = None
    userref: int = 0
    oflags: str = "fciq"
    status: str = "open"
    reason: str | None = None
    closed_at: float | None = None
    is_listed: bool = True
    trigger: Decimal | None = None
    trades: list[Trade] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        return sum((trade.volume for trade in self.trades), Decimal(0))

    @property
    def cost(self) -> Decimal:
        return sum((trade.cost for trade in self.trades), Decimal(0))

    @property
    def fee(self) -> Decimal:
        return sum((trade.fee for trade in self.trades), Decimal(0))

    @property
    def remaining(self) -> Decimal:
        return self.volume - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN


@dataclass(frozen=True)
class NewOrder:
    """An order that is asked for, its figures read already."""

    pair: str
    side: str
    type: str
    volume: Decimal
    price: Decimal | None = None
    cl_ord_id: str | None = None
    userref: int = 0
    oflags: str = "fciq"
    invisible_s: float = 0.0
    #: Where an order of another type than market or limit would wake up; here it sleeps until a test fills or cancels it.
    trigger: Decimal | None = None


class Ledger:
    """One account at the venue. Every public method takes the lock; each change is whole or not at all."""

    def __init__(self, market: Market, balances: dict[str, Decimal]) -> None:
        self.market = market
        self.lock = threading.RLock()
        self.balances = dict(balances)
        self.orders: dict[str, VenueOrder] = {}
        self.trades: list[Trade] = []
        self.movements: list[Movement] = []

    def move(self, asset: str, amount: Decimal, kind: str, subtype: str = "", fee: Decimal = _ZERO) -> Movement:
        """Change a balance without a trade: a deposit, a reward. ``fee`` is taken off as well. Raises Refused below zero."""
        with self.lock:
            if self.balances.get(asset, _ZERO) + amount - fee < 0:
                raise Refused("EFunding:Insufficient funds")
            return self._add(asset, amount, kind, subtype, fee)

    def check(self, new: NewOrder) -> None:
        """Raise Refused when the venue would not take this order."""
        with self.lock:
            instrument = self.market.instrument(new.pair)
            if new.cl_ord_id and any(one.is_open and one.cl_ord_id == new.cl_ord_id for one in self.orders.values()):
                raise Refused("EGeneral:Invalid arguments:cl_ord_id not unique")
            price = new.price if new.price is not None else self._far_side(new)
            _check_figures(new, instrument, price)
            asset, needed = self._needs(instrument, new.side, new.volume, price)
            if self.balances.get(asset, Decimal(0)) - self.on_hold().get(asset, Decimal(0)) < needed:
                raise Refused("EOrder:Insufficient funds")

    def place(self, new: NewOrder) -> VenueOrder:
        """Take an order and let it meet the book. Raises Refused."""
        with self.lock:
            self.check(new)
            now = time.time()
            order = VenueOrder(
                id=_id("O"),
                pair=new.pair,
                side=new.side,
                type=new.type,
                volume=new.volume,
                price=new.price,
                opened_at=now,
                visible_at=now + new.invisible_s,
                cl_ord_id=new.cl_ord_id,
                userref=new.userref,
                oflags=new.oflags,
                trigger=new.trigger,
            )
            crosses = self._crosses(order)
            if crosses and "post" in new.oflags.split(","):
                raise Refused("EOrder:Post only order")
            self.orders[order.id] = order
            if crosses:
                self._take(order)
            return order

    def cancel(self, order: VenueOrder, reason: str = "User requested") -> None:
        """Cancel an open order. Raises Refused when it is over."""
        with self.lock:
            if not order.is_open:
                raise Refused("EOrder:Unknown order")
            order.status, order.reason, order.closed_at = "canceled", reason, time.time()

    def fill(self, order: VenueOrder, volume: Decimal, price: Decimal | None = None) -> Trade:
        """Let a resting order trade, in part or whole, at its limit unless told otherwise. Raises Refused."""
        with self.lock:
            if volume > order.remaining or volume <= 0:
                raise Refused("EGeneral:Invalid arguments:volume")
            return self._trade(order, volume, price or order.price or self._far_side(order), is_maker=True)

    def set_price(self, pair: str, bid: Decimal, ask: Decimal, volume: Decimal) -> None:
        """Move the market; resting orders that it now meets are filled at their limits."""
        with self.lock:
            self.market.move(pair, bid, ask, volume)
            for order in list(self.orders.values()):
                if order.pair == pair and order.is_open and self._crosses(order):
                    self._trade(order, order.remaining, order.price or self._far_side(order), is_maker=True)

    def reveal(self) -> None:
        """Let every order show up from now on that was invisible."""
        with self.lock:
            for order in self.orders.values():
                order.visible_at = min(order.visible_at, time.time())

    def on_hold(self) -> dict[str, Decimal]:
        """Return what open orders hold back, by asset."""
        held: dict[str, Decimal] = {}
        for order in self.open_orders():
            instrument = self.market.instrument(order.pair)
            price = order.price or self._far_side(order)
            asset, needed = self._needs(instrument, order.side, order.remaining, price)
            held[asset] = held.get(asset, Decimal(0)) + needed
        return held

    def open_orders(self) -> Iterator[VenueOrder]:
        return (order for order in self.orders.values() if order.is_open)

    def by_client_id(self, cl_ord_id: str) -> list[VenueOrder]:
        with self.lock:
            return [order for order in self.orders.values() if order.cl_ord_id == cl_ord_id]

    def _needs(self, instrument: Instrument, side: str, volume: Decimal, price: Decimal) -> tuple[str, Decimal]:
        if side == "sell":
            return instrument.base, volume
        return instrument.quote, volume * price * (1 + TAKER)

    def _far_side(self, order: NewOrder | VenueOrder) -> Decimal:
        book = self.market.book(order.pair)
        return book.ask if order.side == "buy" else book.bid

    def _crosses(self, order: VenueOrder) -> bool:
        if order.type not in _MEETS_THE_BOOK:
            return False
        if order.price is None:
            return True
        far = self._far_side(order)
        return far <= order.price if order.side == "buy" else far >= order.price

    def _take(self, order: VenueOrder) -> None:
        """Trade at the book at once, as far as its depth goes. What is left of a market order is cancelled."""
        depth = self.market.book(order.pair).depth
        volume = order.remaining if depth is None else min(depth, order.remaining)
        if volume:
            self._trade(order, volume, self._far_side(order), is_maker=False)
        if order.is_open and order.price is None:
            order.status, order.reason, order.closed_at = "canceled", "Out of liquidity", time.time()

    def _trade(self, order: VenueOrder, volume: Decimal, price: Decimal, *, is_maker: bool) -> Trade:
        instrument = self.market.instrument(order.pair)
        now = time.time()
        fee = (volume * price * (MAKER if is_maker else TAKER)).quantize(Decimal(1).scaleb(-instrument.cost_decimals))
        trade = Trade(
            id=_id("T"),
            order_id=order.id,
            pair=order.pair,
            side=order.side,
            type=order.type,
            price=price,
            volume=volume,
            fee=fee,
            at=now,
            is_maker=is_maker,
            number=len(self.trades) + 1,
        )
        sign = 1 if order.side == "buy" else -1
        self._add(instrument.base, sign * volume, "trade", "tradespot", refid=trade.id)
        self._add(instrument.quote, -sign * volume * price, "trade", "tradespot", fee, refid=trade.id)
        order.trades.append(trade)
        self.trades.append(trade)
        self.market.printed(order.pair, price, volume)
        if not order.remaining:
            order.status, order.closed_at = "closed", now
        return trade

    def _add(
        self, asset: str, amount: Decimal, kind: str, subtype: str = "", fee: Decimal = _ZERO, refid: str = ""
    ) -> Movement:
        balance = self.balances[asset] = self.balances.get(asset, _ZERO) + amount - fee
        row = Movement(_id("L"), refid or _id("F"), kind, subtype, asset, amount, fee, balance, time.time())
        self.movements.append(row)
        return row


def _check_figures(new: NewOrder, instrument: Instrument, price: Decimal) -> None:
    if new.volume <= 0 or new.volume % Decimal(1).scaleb(-instrument.lot_decimals):
        raise Refused("EGeneral:Invalid arguments:volume")
    if price <= 0:
        raise Refused("EOrder:Invalid price")
    if price % instrument.tick_size:
        raise Refused("EOrder:Tick size check failed")
    if new.volume < instrument.ordermin:
        raise Refused("EOrder:Order minimum not met")
    if new.volume * price < instrument.costmin:
        raise Refused("EOrder:Cost minimum not met")


def _id(first: str) -> str:
    letters = [secrets.choice(string.ascii_uppercase + string.digits) for _ in range(16)]
    text = "".join(letters)
    return f"{first}{text[:5]}-{text[5:10]}-{text[10:]}"
