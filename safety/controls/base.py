"""What every control shares: its signature, what counts as an exit, and how an order's value is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from audit.decimals import decimal_text
from safety.intents import (
    Denial,
    Exposure,
    Level,
    LimitSet,
    OrderIntent,
    OrderType,
    Side,
)

# What comes from further in the future than this was stamped by a wrong clock, and then its age says nothing.
CLOCK_SKEW_S_MAX = Decimal(2)


@dataclass(frozen=True, slots=True)
class StateReading:
    """The trading state that holds for an order, and why: the strictest of every latch and scope."""

    level: Level
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a control may look at."""

    intent: OrderIntent
    exposure: Exposure
    limits: LimitSet
    state: StateReading
    now: datetime

    @property
    def is_exit(self) -> bool:
        """Return whether the order can only shrink the position: a sale of no more than is held and not yet on offer.

        What is not known makes it an entry, which is the stricter reading.
        """
        held, on_offer = self.exposure.position_quantity, self.exposure.pending_exit_quantity
        if self.intent.side != Side.SELL or held is None or on_offer is None:
            return False
        return 0 < self.intent.quantity <= held - on_offer

    @property
    def price(self) -> Decimal | None:
        """Return the price at which the order is judged: its limit, or the quote's far side for a market order."""
        if self.intent.type == OrderType.LIMIT:
            return self.intent.limit_price
        return None if self.exposure.quote is None else self.exposure.quote.far_side(self.intent.side)

    @property
    def notional_usd(self) -> Decimal | None:
        """Return the order's value in USD (USDT and USDC count as USD), or None when there is no price to judge by."""
        return None if self.price is None else self.price * self.intent.quantity


Control = Callable[[Situation], Denial | None]


def text(value: Decimal | int | None) -> str:
    """Return a figure for people: plain decimal text, or ``not known``."""
    if value is None:
        return "not known"
    return decimal_text(Decimal(value))


def usd(value: Decimal | None) -> str:
    """Return an amount of USD for people, to the cent."""
    return "not known" if value is None else f"{value.quantize(Decimal('0.01'))} USD"
