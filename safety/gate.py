"""The gate: every control for every order, and the only place where a permit is made."""

import logging
from datetime import datetime
from decimal import Context, localcontext

from safety.controls import CONTROLS
from safety.controls.base import Control, Situation, StateReading
from safety.intents import Decision, Denial, Exposure, LimitSet, OrderIntent, Permit, Verdict
from safety.soundness import computable, known

__all__ = ["Verdict", "evaluate", "verdicts"]
log = logging.getLogger(__name__)
# Products of stored figures (38 digits each) stay exact, so that no rounding lets pass what is just over a limit.
EXACT = Context(prec=120)


def evaluate(
    intent: OrderIntent, exposure: Exposure, limits: LimitSet, state: StateReading, *, now: datetime
) -> Decision:
    """Return the permit for ``intent``, or every reason against it.

    All controls run, so that the whole truth is seen at once. A control that cannot be computed denies.
    """
    found = _judge(intent, exposure, limits, state, now)
    denials = tuple(denial for _, denial in found if denial is not None)
    return Decision(denials=denials) if denials else Decision(permit=_permit(intent, now))


def verdicts(
    intent: OrderIntent, exposure: Exposure, limits: LimitSet, state: StateReading, *, now: datetime
) -> tuple[Verdict, ...]:
    """Return what each control says of ``intent``, in their order. It gives no permit: it is for asking "what if"."""
    return tuple(Verdict(code, denial) for code, denial in _judge(intent, exposure, limits, state, now))


def _judge(
    intent: OrderIntent, exposure: Exposure, limits: LimitSet, state: StateReading, now: datetime
) -> list[tuple[str, Denial | None]]:
    with localcontext(EXACT):
        situation = Situation(intent, known(exposure), computable(limits), state, now)
        return [(code, _run(code, control, situation)) for code, control in CONTROLS.items()]


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
        is_flatten=intent.is_flatten,
    )
