"""The one table of order states: which may follow which. Anything else raises."""

from django.db.models import TextChoices


class OrderStatus(TextChoices):
    """Where an order stands. DENIED is our own "no", REJECTED the venue's; UNKNOWN is never called failed."""

    PENDING = "pending"
    DENIED = "denied"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    EXTERNAL = "external"


class IllegalTransitionError(Exception):
    """An order was asked to move to a state that cannot follow its own."""


_S = OrderStatus
VENUE_STATES = frozenset({_S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED})
#: The states that an execution leads to.
LATE_FILLS = frozenset({_S.FILLED, _S.PARTIALLY_FILLED})
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.PENDING: frozenset({_S.DENIED, _S.SUBMITTING, _S.EXPIRED}),
    _S.SUBMITTING: VENUE_STATES | {_S.UNKNOWN, _S.DENIED},
    _S.ACCEPTED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED, _S.UNKNOWN}),
    _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.UNKNOWN}),
    _S.UNKNOWN: VENUE_STATES | {_S.NOT_SENT},
    # A fill may reach us after the venue told of the cancel; real venues do this.
    _S.CANCELED: LATE_FILLS,
    _S.EXPIRED: LATE_FILLS,
    _S.NOT_SENT: VENUE_STATES,
    _S.DENIED: frozenset(),
    _S.FILLED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.EXTERNAL: frozenset(),
}
OPEN_STATES = frozenset({_S.PENDING, _S.SUBMITTING, _S.ACCEPTED, _S.PARTIALLY_FILLED, _S.UNKNOWN})
RESTING_STATES = frozenset({_S.ACCEPTED, _S.PARTIALLY_FILLED})


def may_follow(current: str, target: OrderStatus) -> bool:
    """Return whether an order that is ``current`` can become ``target``."""
    return target in TRANSITIONS[OrderStatus(current)]


def move(current: str, target: OrderStatus) -> OrderStatus:
    """Return ``target`` when it may follow ``current``. Raises IllegalTransitionError otherwise."""
    if not may_follow(current, target):
        raise IllegalTransitionError(f"an order that is {current} cannot become {target.value}")
    return target
