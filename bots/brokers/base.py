"""What a broker is. Only bots/executor.py calls ``submit`` and ``cancel``; an architecture test holds that."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from bots.market_data.base import Traded
from bots.order_states import OrderStatus
from safety.intents import InstrumentRules, OrderIntent, Permit, Quote


class PermitError(Exception):
    """A broker was handed an order without a permit for exactly that order. Nothing was sent."""


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
    """What a broker says of an order after it was asked: its state, its id there and the executions that are new."""

    status: OrderStatus
    venue_order_id: str = ""
    executions: tuple[Execution, ...] = ()
    reason: str = ""


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
    """What the paper broker fills against: the quote, the rules, and what was traded since it last looked."""

    now: datetime
    quote: Quote
    rules: InstrumentRules
    traded: Traded | None = None


def require_permit(order: OrderIntent, permit: Permit) -> None:
    """Return quietly when ``permit`` was given for exactly ``order``. Raises PermitError otherwise."""
    if not isinstance(permit, Permit) or not permit.covers(order):
        raise PermitError(f"no permit for order {order.client_order_id}: nothing was sent")


class Broker(Protocol):
    """Sends orders to one venue, or fills them on paper."""

    def submit(self, order: OrderIntent, permit: Permit) -> OrderReport:
        """Send ``order`` once. Raises PermitError without a permit for exactly this order."""
        ...

    def cancel(self, order: OrderIntent, venue_order_id: str) -> OrderReport:
        """Ask for the cancel of ``order``; the report says where it stands then."""
        ...
