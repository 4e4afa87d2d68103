"""The gate: every control for every order, and the only place where a permit is made."""

import logging
from dataclasses import fields, replace
from datetime import datetime
from decimal import Context, Decimal, localcontext
from typing import get_args

from safety.controls import CONTROLS
from safety.controls.base import Control, Situation, StateReading
from safety.intents import Decision, Denial, Exposure, LimitSet, OrderIntent, Permit

log = logging.getLogger(__name__)
# Products of stored figures (38 digits each) stay exact, so that no rounding lets pass what is just over a limit.
EXACT = Context(prec=120)
FIGURES = frozenset(one.name for one in fields(Exposure) if {Decimal, int} & set(get_args(one.type)))
MAY_BE_NEGATIVE = frozenset({"cash_free_usd"})


def evaluate(
    intent: OrderIntent, exposure: Exposure, limits: LimitSet, state: StateReading, *, now: datetime
) -> Decision:
    """Return the permit for ``intent``, or every reason against it.

    All controls run, so that the whole truth is seen at once. A control that cannot be computed denies.
    """
    with localcontext(EXACT):
        situation = Situation(intent, _known(exposure), _computable(limits), state, now)
        denials = tuple(
            denial for code, control in CONTROLS.items() if (denial := _run(code, control, situation)) is not None
        )
    return Decision(denials=denials) if denials else Decision(permit=_permit(intent, now))


def _known(exposure: Exposure) -> Exposure:
    """Return the exposure with None for every figure that nobody may rely on, so that what needs it denies."""
    unsound = {name: None for name in FIGURES if not _is_sound(getattr(exposure, name), name in MAY_BE_NEGATIVE)}
    return replace(exposure, **unsound) if unsound else exposure


def _is_sound(value: object, may_be_negative: bool) -> bool:
    """Return whether a figure is an exact and finite number, and not below zero where nothing can be."""
    if isinstance(value, Decimal):
        return value.is_finite() and (may_be_negative or value >= 0)
    return type(value) is int and (may_be_negative or value >= 0)


def _computable(limits: LimitSet) -> LimitSet:
    """Return the limits with NaN for a limit that bounds nothing: comparing with it raises, and so denies."""
    endless = {
        one.name: Decimal("NaN")
        for one in fields(limits)
        if isinstance(value := getattr(limits, one.name), Decimal) and not value.is_finite()
    }
    return replace(limits, **endless) if endless else limits  # type: ignore[arg-type]


def _run(code: str, control: Control, situation: Situation) -> Denial | None:
    try:
        return control(situation)
    except Exception as error:
        # Fail closed, whatever went wrong: a figure that cannot be computed with is a figure that nobody may rely on, and
        # the order's other reasons still have to reach the audit.
        log.warning("control %s could not be computed for %s", code, situation.intent.client_order_id, exc_info=True)
        return Denial(code, f"This control could not be computed: {type(error).__name__}.", "computable", "not known")


def _permit(intent: OrderIntent, now: datetime) -> Permit:
    return Permit(
        client_order_id=intent.client_order_id,
        bot_id=intent.bot_id,
        venue=intent.venue,
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type,
        quantity=intent.quantity,
        limit_price=intent.limit_price,
        is_live=intent.is_live,
        issued_at=now,
        reduce_only=intent.reduce_only,
    )
