"""Figures as people read them: money, quantities, prices, ages. For pages and messages only; the audit and the API stay exact.

Money is rounded half to even to the cent, prices to what matters at their size; quantities are never rounded.
"""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from audit.decimals import decimal_text

NOT_KNOWN = "not known"
CENT = Decimal("0.01")
_PRICE_STEPS = ((Decimal(1000), Decimal("0.01")), (Decimal(1), Decimal("0.0001")), (Decimal(0), Decimal("0.00000001")))
_AGE_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_NEW_UNIT_AT = 2


def money(value: Decimal | None, *, signed: bool = False) -> str:
    """Return ``value`` in US dollars: ``$1,234.50``, with ``signed`` ``+$1.20`` or ``-$1.20``; None is "not known"."""
    if value is None:
        return NOT_KNOWN
    cents = value.quantize(CENT, rounding=ROUND_HALF_EVEN)
    return f"{_sign(cents, signed)}${abs(cents):,.2f}"


def fee(value: Decimal | None) -> str:
    """Return a fee in US dollars with four decimals, since most are cents: ``$0.3184``; None is "not known"."""
    if value is None:
        return NOT_KNOWN
    rounded = value.quantize(Decimal("0.0001"), rounding=ROUND_HALF_EVEN)
    return f"{_sign(rounded, False)}${abs(rounded):,.4f}"


def percent(value: Decimal | None) -> str:
    """Return a ratio as a signed percentage with two decimals: ``+1.25 %``; None is "not known"."""
    if value is None:
        return NOT_KNOWN
    rounded = (value * 100).quantize(CENT, rounding=ROUND_HALF_EVEN)
    return f"{_sign(rounded, True)}{abs(rounded):,.2f} %"


def quantity(value: Decimal | None) -> str:
    """Return ``value`` in full, without an exponent or trailing zeros; None is "not known"."""
    return NOT_KNOWN if value is None else decimal_text(value)


def price(value: Decimal | None) -> str:
    """Return a price with 2 decimals from 1,000 on, up to 4 from 1 on and up to 8 below; None is "not known"."""
    if value is None:
        return NOT_KNOWN
    step = next(step for floor, step in _PRICE_STEPS if abs(value) >= floor)
    whole, _, places = f"{value.quantize(step, rounding=ROUND_HALF_EVEN):,f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"


def worse(bps: Decimal | None) -> str:
    """Return what slippage in basis points means for us: ``3.21 bps worse``, ``0.40 bps better``; None is "not known"."""
    if bps is None:
        return NOT_KNOWN
    rounded = bps.quantize(CENT, rounding=ROUND_HALF_EVEN)
    if not rounded:
        return "0 bps"
    return f"{abs(rounded):,.2f} bps {'worse' if rounded > 0 else 'better'}"


def later(seconds: Decimal | None) -> str:
    """Return a delay: ``2.50 s later``, ``0.30 s sooner``; None is "not known"."""
    if seconds is None:
        return NOT_KNOWN
    rounded = seconds.quantize(CENT, rounding=ROUND_HALF_EVEN)
    if not rounded:
        return "at the same time"
    return f"{abs(rounded):,.2f} s {'later' if rounded > 0 else 'sooner'}"


def cost(value: Decimal | None) -> str:
    """Return what something cost or saved in US dollars, with four decimals: ``$0.0312 lost``; None is "not known"."""
    if value is None or not value:
        return NOT_KNOWN if value is None else "nothing lost"
    return f"{fee(abs(value))} {'lost' if value > 0 else 'gained'}"


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago ``then`` was: ``3 s ago``, ``5 min ago``, ``2 h ago``, ``4 d ago``; None is "never"."""
    if then is None:
        return "never"
    return f"{duration(int((now - then).total_seconds()))} ago"


def duration(seconds: int) -> str:
    """Return a length of time in its largest fitting unit; what is below zero counts as zero."""
    seconds = max(0, seconds)
    for unit_s, name in _AGE_UNITS:
        if seconds >= _NEW_UNIT_AT * unit_s:
            return f"{seconds // unit_s} {name}"
    return f"{seconds} s"


def direction(value: Decimal | None) -> str:
    """Return ``gain``, ``loss``, ``even`` or ``unknown``: what a figure's colour and arrow follow, as shown to the cent."""
    if value is None:
        return "unknown"
    cents = value.quantize(CENT, rounding=ROUND_HALF_EVEN)
    if not cents:
        return "even"
    return "gain" if cents > 0 else "loss"


def _sign(value: Decimal, signed: bool) -> str:
    if value < 0:
        return "-"
    return "+" if signed and value > 0 else ""
