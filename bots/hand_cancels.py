"""Cancels by hand: one order that rests is asked back, by a person or a script. Whatever is answered is in the audit."""

from dataclasses import dataclass

from audit.log import unit
from audit.models import EventKind
from bots import executor, manager
from bots.brokers.factory import BrokerUnavailable
from bots.executor import ExecutorError
from bots.executor.steps import event
from bots.manager import BotActionError
from bots.models import Order
from bots.order_states import RESTING_STATES, OrderStatus
from safety import live_gate
from safety.intents import Denial, Lock

#: What a live cancel takes. Neither the trading state nor readiness: a stop must never keep an order at its venue.
LOCKS = frozenset({"ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "KEYS"})
#: Why an order can't be cancelled now that has not ended yet either.
UNDER_WAY = {
    OrderStatus.PENDING: "It was not sent yet",
    OrderStatus.SUBMITTING: "It is on its way to its venue",
    OrderStatus.UNKNOWN: "It was sent, and nobody knows yet what its venue did",
}


@dataclass(frozen=True, slots=True)
class Cancel:
    """What a cancel came to: the order as it then stands, and every lock that is shut when nothing was asked of the venue."""

    order: Order
    denials: tuple[Denial, ...] = ()


def cancel_by_hand(order: Order, *, actor: str, reason: str) -> Cancel:
    """Cancel an order that rests, and return it as it then stands.

    A built-in paper order is cancelled at once. One at a venue is asked back now: while it still rests afterwards, with
    ``cancel_requested_at`` set, the venue has not confirmed it, the order may fill, and the sweep asks again. A live one takes
    the gates of the environment and the keys; where one is shut, that is denied and audited, and nothing is asked. Must not be
    called inside a transaction. Raises BotActionError for an order that has ended, is under way, or is somebody else's.
    """
    _refuse_unless_resting(order)
    denials = _shut(order)
    if denials:
        with unit():
            codes = ", ".join(denial.code for denial in denials)
            details: dict[str, object] = {"what": "cancel", "reasons": [denial.as_dict() for denial in denials]}
            event(order, EventKind.DENIED, reason=f"cancel: {codes}", actor=actor, details=details)
        return Cancel(order, denials)
    if order.deadline_at is None:
        return Cancel(manager.cancel_order(order.pk, actor=actor, reason=reason))
    return Cancel(_at_venue(order, actor, reason))


def _at_venue(order: Order, actor: str, reason: str) -> Order:
    try:
        return executor.cancel_at_venue(order.pk, actor=actor, reason=reason)
    except ExecutorError:
        # It ended a moment ago; say as what.
        stored = Order.objects.get(pk=order.pk)
        _refuse_unless_resting(stored)
        return stored
    except BrokerUnavailable:
        # That it is wanted is kept, and the sweep asks the venue when it can be asked again.
        return Order.objects.get(pk=order.pk)


def _shut(order: Order) -> tuple[Denial, ...]:
    """Return a denial for each lock that a cancel of this order takes and that is shut; none for paper."""
    if not order.is_live:
        return ()
    locks = live_gate.read_locks(order.venue, dry_run=False)
    return tuple(_denial(lock) for lock in locks if lock.id in LOCKS and not lock.is_open)


def _denial(lock: Lock) -> Denial:
    return Denial("LIVE_GATE_CLOSED", lock.reason, "open", f"{lock.id} shut")


def _refuse_unless_resting(order: Order) -> None:
    """Return quietly for an order that rests. Raises BotActionError with what to do about any other."""
    if order.bot_id is None:
        raise BotActionError("Somebody else placed this order at the venue: cancel it there.")
    if order.status in RESTING_STATES:
        return
    under_way = UNDER_WAY.get(OrderStatus(order.status))
    if under_way is not None:
        raise BotActionError(
            f"{under_way}, so it can't be cancelled yet. Ask again in a few seconds; to stop everything, halt."
        )
    words = order.status.replace("_", " ")
    raise BotActionError(f"The order has ended already: it is {words}. There is nothing left to cancel.")
