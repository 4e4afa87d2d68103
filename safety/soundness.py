"""Which figures may be relied on. What is not sound becomes unknown, and what is not known denies."""

from dataclasses import fields, replace
from decimal import Decimal
from typing import get_args

from safety.intents import Exposure, LimitSet

FIGURES = tuple(one.name for one in fields(Exposure) if {Decimal, int} & set(get_args(one.type)))
_ROW_TYPES = {tuple[Decimal, ...], tuple[Decimal | None, ...]}
#: Figures that come in a row: one that is not sound spoils them all.
ROWS = tuple(one.name for one in fields(Exposure) if _ROW_TYPES & set(get_args(one.type)))
MAY_BE_NEGATIVE = frozenset({"cash_free_usd"})
MAY_HOLD_NONE = frozenset({"opposite_prices"})
LIMITS = tuple(one.name for one in fields(LimitSet))


def known(exposure: Exposure) -> Exposure:
    """Return the exposure with None for every figure that nobody may rely on, so that what needs it denies."""
    unsound = [name for name in FIGURES if not _is_sound(getattr(exposure, name), name in MAY_BE_NEGATIVE)]
    unsound += [name for name in ROWS if not _is_sound_row(getattr(exposure, name), name in MAY_HOLD_NONE)]
    return replace(exposure, **dict.fromkeys(unsound)) if unsound else exposure


def computable(limits: LimitSet) -> LimitSet:
    """Return the limits with NaN for one that bounds nothing or cannot be meant: comparing with it raises, and so denies."""
    senseless = [
        name
        for name in LIMITS
        if isinstance(value := getattr(limits, name), Decimal) and not (value.is_finite() and value >= 0)
    ]
    return replace(limits, **dict.fromkeys(senseless, Decimal("NaN"))) if senseless else limits  # type: ignore[arg-type]


def _is_sound(value: object, may_be_negative: bool) -> bool:
    """Return whether a figure is an exact and finite number, not below zero where nothing can be; or is not known."""
    if isinstance(value, Decimal):
        return value.is_finite() and (may_be_negative or value >= 0)
    return value is None or (type(value) is int and (may_be_negative or value >= 0))


def _is_sound_row(values: object, may_hold_none: bool) -> bool:
    """Return whether every figure of a row is an exact and finite number of 0 or more; or the row is not known."""
    if values is None:
        return True
    return type(values) is tuple and all(
        may_hold_none if one is None else isinstance(one, Decimal) and one.is_finite() and one >= 0 for one in values
    )
