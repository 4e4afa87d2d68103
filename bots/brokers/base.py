"""What a broker is. Only bots/executor/ calls ``submit`` and ``cancel``; an architecture test holds that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from bots.brokers.parts import Part, Stretch
from bots.market_data.base import Traded
from bots.order_states import OrderStatus
from safety.intents import Denial, InstrumentRules, MarketStatus, OrderIntent, Permit, Quote, Side


class PermitError(Exception):
    """A broker was handed an order without a permit for exactly that order. Nothing was sent."""


class VenueError(Exception):
    """A venue could not be asked, or gave no sound answer. The message is for people and holds no secret."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution that a broker reports; ``fee`` in the quote currency."""

    trade_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    is_maker: bool
    filled_at: datetime


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What a broker says of an order after it was asked: its state, its id there and the executions that are new.

    Unless ``was_sent`` the order is REJECTED, and surely nothing left this host: the venue has refused nothing. ``denial`` is
    then our own reason, if it was held back here; without one the venue could not be reached. ``cancel_taken``, of a cancel: the
    venue took it, or knows no such open order any more, though where the order stands may not be known yet.
    """

    status: OrderStatus
    venue_order_id: str = ""
    executions: tuple[Execution, ...] = ()
    reason: str = ""
    was_sent: bool = True
    denial: Denial | None = None
    cancel_taken: bool = False


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """A venue's fees as fractions of the notional: 0.004 is 40 basis points."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """A paper order that waits in the market, as the broker needs to see it."""

    intent: OrderIntent
    remaining_quantity: Decimal
    fills_so_far: int


@dataclass(frozen=True, slots=True)
class MarketView:
    """What the paper broker fills against: the quote, the rules, and what was traded since it last looked.

    Not ``is_open``: outside the market's hours, when an order waits at its venue until they begin.
    """

    now: datetime
    quote: Quote
    rules: InstrumentRules
    traded: Traded | None = None
    is_open: bool = True


def require_permit(order: OrderIntent, permit: Permit) -> None:
    """Return quietly when ``permit`` was given for exactly ``order``. Raises PermitError otherwise."""
    if not isinstance(permit, Permit) or not permit.covers(order):
        raise PermitError(f"no permit for order {order.client_order_id}: nothing was sent")


@dataclass(frozen=True, slots=True)
class LookUp:
    """What a search for one order at its venue came to.

    ``found`` is the order, which agreed in symbol, side, quantity and time, with every execution that is known of it.
    ``is_complete``: everything that could hold it was asked and answered soundly, so that None in ``found`` means that the
    order was not there at that moment. ``reason`` says, for people, why a search was not complete. ``is_gone``: the venue does
    not know its own id of the order any more; nothing else was searched.
    """

    found: OrderReport | None = None
    is_complete: bool = False
    reason: str = ""
    is_gone: bool = False

    def unless_other(self, gone_id: str) -> "LookUp":
        """Return this search, made since the venue does not know ``gone_id`` any more. Another order with our id is not ours."""
        other = "" if self.found is None else self.found.venue_order_id
        if not gone_id or other in ("", gone_id):
            return self
        return LookUp(reason=f"the venue has no order {gone_id} any more, and has {other} under our id: is that ours?")


@dataclass(frozen=True, slots=True)
class AccountReport:
    """What an account holds at its venue. Figures are totals; what open orders hold back is in ``on_hold``, of both kinds.

    ``cash_usd`` is by currency (USD, USDT, USDC count as dollars); ``holdings`` are in base units by asset, only what can be
    traded. ``flags`` are those that the venue set against the account.
    """

    cash_usd: Mapping[str, Decimal]
    holdings: Mapping[str, Decimal]
    on_hold: Mapping[str, Decimal] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What the venue lets its key do. Unless ``is_known`` the answer could not be had, for ``reason``.

    ``is_refused``: the venue does not take the key at all. ``ip_allowlist`` is None where the venue does not say.
    """

    names: frozenset[str] = frozenset()
    can_trade: bool = False
    can_withdraw: bool = False
    is_known: bool = False
    is_refused: bool = False
    created_at: datetime | None = None
    ip_allowlist: tuple[str, ...] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VenueStatus:
    """How the venue works now: ``name`` as it calls that itself, and what it does with orders.

    ``clock_skew_s`` is how far its clock is ahead of ours, taken at the middle of the request; it is uncertain by
    ``uncertain_s``, half of the time that the request took and the clock's own grain.
    """

    name: str
    market: MarketStatus
    server_time: datetime
    clock_skew_s: Decimal
    uncertain_s: Decimal


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """One order as its venue lists it, ours or anybody's. ``symbol`` is in our spelling where we know it, else in the venue's.

    ``client_order_id`` is empty where the order has none. ``type`` is the venue's own word (``market``, ``stop-loss``…), since
    others may order what we never do. ``ended_at`` is None while it is open.
    """

    venue_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    type: str
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None
    status: OrderStatus
    opened_at: datetime
    ended_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ListedFill:
    """One execution as its venue lists it, ours or anybody's; ``base`` and ``quote`` are assets as in AccountReport."""

    venue_order_id: str
    symbol: str
    base: str
    quote: str
    side: Side
    execution: Execution


class TransferKind(StrEnum):
    """What moved an asset without a trade."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    REWARD = "reward"
    FEE = "fee"
    SHARE_CHANGE = "share_change"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of an asset that is no trade: ``quantity`` is what the tradeable balance rose (or, below zero, fell) by.

    ``reference`` is the venue's own id of it and counts once. Fees of the transfer are in ``quantity`` already. ``what`` is the
    venue's name of a change of shares.
    """

    reference: str
    kind: TransferKind
    asset: str
    quantity: Decimal
    happened_at: datetime
    what: str = ""


class VenueBroker(Protocol):
    """One account at a real venue. Nothing is opened before the first question, and nothing is ever sent twice."""

    def submit(self, order: OrderIntent, permit: Permit, deadline: datetime) -> OrderReport:
        """Send ``order`` once, to be taken by the venue before ``deadline``; never retries.

        REJECTED means that the venue surely did not take it, UNKNOWN that nobody knows; both give a reason. Whatever the venue
        or the network does, this does not raise. Raises PermitError without a permit for exactly this order.
        """
        ...

    def cancel(self, order: OrderIntent, venue_order_id: str, *, urgent: bool = False) -> OrderReport:
        """Ask for the cancel of ``order`` and report where it stands then: CANCELED only when the venue says so.

        A state that is still open has a reason; UNKNOWN when nothing could be learned. ``urgent`` goes before all that waits.
        Whatever the venue or the network does, this does not raise.
        """
        ...

    def look_up(self, order: OrderIntent, venue_order_id: str = "") -> LookUp:
        """Search for ``order`` at the venue. A failed or empty answer is never taken for absence; this does not raise."""
        ...

    def account(self) -> AccountReport:
        """Return what the account holds. Raises VenueError; an empty answer is not taken for an empty account."""
        ...

    def key_rights(self) -> KeyRights:
        """Return what the key may do; does not raise."""
        ...

    def status(self) -> VenueStatus:
        """Return how the venue works now. Raises VenueError."""
        ...

    def open_orders(self) -> tuple[ListedOrder, ...]:
        """Return every open order of the account. Raises VenueError unless the list is surely whole."""
        ...

    def ended_orders(self, stretch: Stretch) -> Part[ListedOrder]:
        """Return orders of the account that ended in this stretch. Raises VenueError unless surely all up to the part's end."""
        ...

    def fills(self, stretch: Stretch) -> Part[ListedFill]:
        """Return executions of this stretch, oldest first. Raises VenueError unless surely all up to the part's end."""
        ...

    def transfers(self, stretch: Stretch) -> Part[Transfer]:
        """Return movements that are no trade, oldest first. Raises VenueError unless surely all up to the part's end."""
        ...

    def validate(self, order: OrderIntent) -> str | None:
        """Have the venue check ``order`` without placing it: an empty text when it would take it, else why not.

        None where the venue offers no such check. Raises VenueError when it gave no sound answer.
        """
        ...
