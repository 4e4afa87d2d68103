"""Orders and fills: what the venue lists against what we know, in plain values. Nothing is read or written here.

The same lists again lead to the same findings, whatever their order; what is carried out already is found no more.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from bots.brokers.base import ListedFill, ListedOrder
from bots.order_states import OPEN_STATES, RESTING_STATES, OrderStatus

#: The venue's clock and ours may differ by so much.
CLOCK_SKEW = timedelta(seconds=5)
#: A list may lag behind an order's own record; what ended for us so long ago has to have left the list of open orders.
LAG_MAX = timedelta(seconds=60)
#: How long a fill whose order is in no list waits for its order to appear.
UNIDENTIFIED_MAX = timedelta(seconds=60)
#: States in which an order never reached the venue, as far as we know.
NEVER_THERE = frozenset({OrderStatus.DENIED, OrderStatus.REJECTED, OrderStatus.PENDING})
_LIKE_OURS = re.compile(r"[a-z][a-z2-7]{17}")


@dataclass(frozen=True, slots=True)
class OwnOrder:
    """One order of ours, as our books have it."""

    id: int
    client_order_id: str
    venue_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    filled_quantity: Decimal
    status: OrderStatus
    created_at: datetime
    updated_at: datetime
    looked_up_at: datetime | None = None
    missed_at: datetime | None = None

    @property
    def is_in_flight(self) -> bool:
        """Return whether nobody knows yet what became of it."""
        return self.status in OPEN_STATES and self.status not in RESTING_STATES


@dataclass(frozen=True, slots=True)
class Conflict:
    """An order at the venue that has our id, and cannot be ours as it stands. It is never adopted.

    ``is_extra``: no book of ours can have it, so that what it does counts as somebody else's.
    """

    own: OwnOrder
    listed: ListedOrder
    text: str
    is_extra: bool = False


@dataclass(frozen=True, slots=True)
class OrderFindings:
    """What lists of orders came to: ``look_up`` are ours with the venue's id, ``strangers`` those that nobody here knows."""

    look_up: tuple[tuple[OwnOrder, str], ...] = ()
    strangers: tuple[ListedOrder, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def looks_like_ours(client_order_id: str) -> bool:
    """Return whether a client order id has the form that this program gives; it may be another installation's."""
    return _LIKE_OURS.fullmatch(client_order_id) is not None


def assets_of(symbol: str) -> tuple[str, str]:
    """Return what a symbol is bought in and paid with: BTC/USD is BTC and USD, a stock is itself and USD."""
    base, _, quote = symbol.partition("/")
    return base, quote or "USD"


class Unsettled(Protocol):
    """What is not settled about an account: ``asset`` closes every symbol that it is part of, ``symbol`` that one alone."""

    asset: str
    symbol: str
    text: str


def about(symbol: str, open_points: Iterable[Unsettled]) -> tuple[str, ...]:
    """Return what these say about a symbol, for people."""
    assets = assets_of(symbol)
    return tuple(one.text for one in open_points if one.symbol == symbol or (one.asset and one.asset in assets))


def judge_orders(
    listed: Iterable[ListedOrder], own: Collection[OwnOrder], *, strangers_known: Collection[str], now: datetime
) -> OrderFindings:
    """Match listed orders with ours, by the venue's id or by our own. Open and ended ones may be mixed.

    ``strangers_known`` are the venue's ids of orders that were found to be somebody else's: those are strangers whatever id
    they bear.
    """
    by_venue = {one.venue_order_id: one for one in own if one.venue_order_id}
    by_client = {one.client_order_id: one for one in own}
    latest: dict[str, ListedOrder] = {}
    for order in listed:
        latest[order.venue_order_id] = _later(latest.get(order.venue_order_id), order)
    bearing = Counter(one.client_order_id for one in latest.values())
    look_up: dict[int, tuple[OwnOrder, str]] = {}
    strangers: dict[str, ListedOrder] = {}
    conflicts: dict[str, Conflict] = {}
    for order in latest.values():
        ours = by_venue.get(order.venue_order_id) or by_client.get(order.client_order_id or "-")
        if ours is None or order.venue_order_id in strangers_known:
            strangers[order.venue_order_id] = order
            continue
        is_second = bool(ours.venue_order_id) and ours.venue_order_id != order.venue_order_id
        if is_second or (not ours.venue_order_id and bearing[order.client_order_id] > 1):
            # A venue may take an id again once the first order has ended. Which of several is ours nobody can tell.
            text = "more than one order there has this id"
        else:
            text = _conflict(ours, order, now)
        if text:
            is_extra = is_second or ours.status in NEVER_THERE
            conflicts[order.venue_order_id] = Conflict(ours, order, text, is_extra)
        elif _tells_news(ours, order):
            look_up[ours.id] = (ours, order.venue_order_id)
    return OrderFindings(
        tuple(look_up[one] for one in sorted(look_up)),
        tuple(strangers[one] for one in sorted(strangers)),
        tuple(conflicts[one] for one in sorted(conflicts)),
    )


def missing_from(
    listed_open: Iterable[ListedOrder], own: Iterable[OwnOrder], asked_at: datetime
) -> tuple[OwnOrder, ...]:
    """Return our resting orders that a whole list of open orders does not have: they ended, or are not shown yet.

    What changed in our books after the list was asked for may not be in it.
    """
    there = {id_ for one in listed_open for id_ in (one.venue_order_id, one.client_order_id)}
    return tuple(
        one
        for one in own
        if one.status in RESTING_STATES
        and one.venue_order_id not in there
        and one.client_order_id not in there
        and one.updated_at < asked_at
    )


def _later(known: ListedOrder | None, order: ListedOrder) -> ListedOrder:
    """Return which of two entries of one order tells more: an order that ended does not open again, and fills only grow."""
    if known is None:
        return order
    return max(known, order, key=lambda one: (one.ended_at is not None, one.filled_quantity))


def _conflict(ours: OwnOrder, order: ListedOrder, now: datetime) -> str:
    """Return why an order with our id cannot be the one in our books, or an empty text."""
    if order.symbol != ours.symbol:
        return f"its symbol there is {order.symbol}, ours is {ours.symbol}"
    if order.side != ours.side:
        return f"there it is a {order.side}, ours is a {ours.side}"
    if order.quantity != ours.quantity:
        return f"its quantity there is {order.quantity:f}, ours is {ours.quantity:f}"
    # The venue gave our order this very id: however far the clocks are apart, it is that order.
    is_known = bool(ours.venue_order_id) and ours.venue_order_id == order.venue_order_id
    if order.opened_at < ours.created_at - CLOCK_SKEW and not is_known:
        return "it is older there than our order"
    if ours.status in NEVER_THERE:
        refused = order.status in (OrderStatus.REJECTED, OrderStatus.EXPIRED) and not order.filled_quantity
        return "" if refused else f"in our books it is {ours.status}: it must not be there"
    ended_long_ago = ours.status not in OPEN_STATES and ours.updated_at < now - LAG_MAX
    if ended_long_ago and order.ended_at is None and ours.status != OrderStatus.NOT_SENT:
        return f"in our books it is {ours.status}, and there it is still open"
    return ""


def _tells_news(ours: OwnOrder, order: ListedOrder) -> bool:
    """Return whether our order has to be asked for by itself, with its executions."""
    if ours.status == OrderStatus.SUBMITTING or ours.status in NEVER_THERE:
        # Its sender is about to say what became of it; what never was there is a conflict or nothing.
        return False
    if ours.status in (OrderStatus.UNKNOWN, OrderStatus.NOT_SENT):
        return True
    if order.filled_quantity > ours.filled_quantity:
        return True
    return ours.status in RESTING_STATES and order.ended_at is not None


@dataclass(frozen=True, slots=True)
class FillFacts:
    """What we know when fills are sorted.

    ``booked`` are the trade ids in our books; ``own`` our orders by the venue's id; ``strangers`` the venue's ids of orders that
    are somebody else's; ``counted`` the trade ids that moved a baseline, or were in it from the start; ``undecided`` the
    symbols of which an order of ours may be at the venue without our knowing its id.
    """

    booked: Collection[str]
    own: Mapping[str, OwnOrder]
    strangers: Collection[str]
    counted: Collection[str]
    undecided: Collection[str]
    now: datetime


@dataclass(frozen=True, slots=True)
class FillFindings:
    """``look_up``: our orders with executions that our books lack. ``external``: fills of others, not counted yet.

    ``unidentified``: fills whose order is in no list so far; they count neither way, and the history is read again.
    """

    look_up: tuple[OwnOrder, ...] = ()
    external: tuple[ListedFill, ...] = ()
    unidentified: tuple[ListedFill, ...] = ()


def sort_fills(fills: Iterable[ListedFill], facts: FillFacts) -> FillFindings:
    """Say whose each fill is. A fill of an order that no list shows is somebody else's only when it surely is not ours."""
    look_up: dict[int, OwnOrder] = {}
    external: dict[str, ListedFill] = {}
    unidentified: dict[str, ListedFill] = {}
    for fill in fills:
        trade_id = fill.execution.trade_id
        if trade_id in facts.booked or trade_id in facts.counted:
            continue
        ours = facts.own.get(fill.venue_order_id)
        if fill.venue_order_id in facts.strangers:
            external[trade_id] = fill
        elif ours is not None:
            look_up[ours.id] = ours
        elif _may_be_ours(fill, facts):
            unidentified[trade_id] = fill
        else:
            external[trade_id] = fill
    return FillFindings(
        tuple(look_up[one] for one in sorted(look_up)), tuple(external.values()), tuple(unidentified.values())
    )


def _may_be_ours(fill: ListedFill, facts: FillFacts) -> bool:
    return fill.symbol in facts.undecided or fill.execution.filled_at > facts.now - UNIDENTIFIED_MAX
