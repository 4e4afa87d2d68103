"""The gate: every control for every order, and the only place where a permit is made."""

from datetime import datetime

from safety.controls import CONTROLS
from safety.controls.base import Control, Situation, StateReading
from safety.intents import Decision, Denial, Exposure, LimitSet, OrderIntent, Permit


def evaluate(
    intent: OrderIntent, exposure: Exposure, limits: LimitSet, state: StateReading, *, now: datetime
) -> Decision:
    """Return the permit for ``intent``, or every reason against it.

    All controls run, so that the whole truth is seen at once. A control that cannot be computed denies.
    """
    situation = Situation(intent, exposure, limits, state, now)
    denials = tuple(
        denial for code, control in CONTROLS.items() if (denial := _run(code, control, situation)) is not None
    )
    return Decision(denials=denials) if denials else Decision(permit=_permit(intent, now))


def _run(code: str, control: Control, situation: Situation) -> Denial | None:
    try:
        return control(situation)
    except (ArithmeticError, TypeError, ValueError) as error:
        # Fail closed: a figure that cannot be computed with is a figure that nobody may rely on.
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
    )
