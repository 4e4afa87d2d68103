"""Exact decimals: one text form for every figure, whatever database it went through."""

from decimal import Decimal

DIGITS_MAX = 38
EXPONENT_MIN = -28
ADJUSTED_MAX = 27


def decimal_text(value: Decimal) -> str:
    """Return the one plain text form of ``value``: no exponent, no trailing zeros, no minus zero.

    Two equal decimals give the same text, so that hashes and comparisons agree on every database.
    Raises ValueError for NaN and infinities.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def storable(value: Decimal) -> Decimal:
    """Return ``value`` in its canonical form, or raise ValueError when it cannot be kept exactly.

    Kept are finite numbers of at most 38 significant digits, below 10^28 and with at most 28 decimal places.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if value.is_zero():
        return Decimal(0)
    if value.adjusted() > ADJUSTED_MAX or int(value.as_tuple().exponent) < EXPONENT_MIN - DIGITS_MAX:
        raise ValueError(f"{value} is outside the range that is kept exactly")
    plain = Decimal(decimal_text(value))
    _, digits, exponent = plain.as_tuple()
    if len(digits) > DIGITS_MAX or int(exponent) < EXPONENT_MIN:
        raise ValueError(
            f"{value} has more digits than can be kept exactly ({DIGITS_MAX}, {-EXPONENT_MIN} after the point)"
        )
    return plain
