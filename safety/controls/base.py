"""What every control shares: its signature, what counts as an exit, and how an order's value is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from audit.decimals import decimal_text
from safety.intents import (
    Denial,
    Exposure,
    Level,
    LimitSet,
    OrderIntent,
    OrderType,
    Quote,
    Side,
)

# What comes from further in the future than this was stamped by a wrong clock, and then its age says nothing.
CLOCK_SKEW_S_MAX = Decimal(2)
SECONDS_AN_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class StateReading:
    """The trading state that holds for an order, and why: the strictest of every latch and scope.

    ``is_flattening``: a flatten that a person confirmed is under way for this bot, so that its own exits pass a halt.
    """

    level: Level
    reasons: tuple[str, ...] = ()
    is_flattening: bool = False


@dataclass(frozen=True)
class Situation:
    """Everything that a control may look at. What several of them ask for is computed once; what raises, raises for each."""

    intent: OrderIntent
    exposure: Exposure
    limits: LimitSet
    state: StateReading
    now: datetime

    @cached_property
    def is_exit(self) -> bool:
        """Return whether the order can only shrink the position: a sale of no more than is held and not yet on offer.

        What is not known makes it an entry, which is the stricter reading.
        """
        held, on_offer = self.exposure.position_quantity, self.exposure.pending_exit_quantity
        if self.intent.side != Side.SELL or held is None or on_offer is None:
            return False
        return 0 < self.intent.quantity <= held - on_offer

    @cached_property
    def price(self) -> Decimal | None:
        """Return the price at which the order is judged: its limit, or the quote's far side for a market order.

        None where there is none, or what stands there is no number.
        """
        price, quote = self.intent.limit_price, self.exposure.quote
        if self.intent.type != OrderType.LIMIT:
            price = None if quote is None else quote.far_side(self.intent.side)
        return price if price is not None and price.is_finite() else None

    @cached_property
    def notional_usd(self) -> Decimal | None:
        """Return the order's value in USD (USDT and USDC count as USD), or None when there is no price to judge by."""
        return None if self.price is None else self.price * self.intent.quantity

    @cached_property
    def sound_quote(self) -> Quote | None:
        """Return the quote if it is of the order's symbol, finite, above zero and not crossed, however old; else None."""
        quote = self.exposure.quote
        if quote is None or (quote.venue, quote.symbol) != (self.intent.venue, self.intent.symbol):
            return None
        is_sound = quote.bid.is_finite() and quote.ask.is_finite() and 0 < quote.bid <= quote.ask
        return quote if is_sound else None

    @cached_property
    def quote_age_s(self) -> Decimal | None:
        """Return how old the quote is; one from the future has an age below zero. None: there is no quote."""
        return None if self.exposure.quote is None else seconds_since(self.exposure.quote.seen_at, self.now)


Control = Callable[[Situation], Denial | None]


def seconds_since(moment: datetime, now: datetime) -> Decimal:
    """Return the exact seconds from ``moment`` until now. Raises TypeError for a time without a zone."""
    gap = now - moment
    return Decimal(gap.days * 86_400 + gap.seconds) + Decimal(gap.microseconds).scaleb(-6)


def share_of(whole: Decimal, percent: Decimal) -> Decimal:
    """Return so many per cent of an amount, exactly. Raises for what is not a number."""
    return (whole * percent).scaleb(-2)


def text(value: Decimal | int | None) -> str:
    """Return a figure for people: plain decimal text, or ``not known``."""
    if value is None:
        return "not known"
    return decimal_text(Decimal(value))


def percent_of(part: Decimal, whole: Decimal) -> str:
    """Return for people how many per cent one amount is of another, to the hundredth."""
    return "not known" if whole <= 0 else f"{(part * 100 / whole).quantize(Decimal('0.01'))} %"


def usd(value: Decimal | None) -> str:
    """Return an amount of USD for people, to the cent."""
    return "not known" if value is None else f"{value.quantize(Decimal('0.01'))} USD"
