"""Orders that did not leave: what the executor is told when nothing was sent, so that no venue is blamed for it."""

from bots.brokers.base import OrderReport
from bots.brokers.outcomes import Failure, Kind
from bots.order_states import OrderStatus
from safety.intents import Denial

#: What to do about an account that holds less than the order needs.
SEE_WHAT_IS_THERE = "see on Reconciliation what is there; once a shortage is named there, exits sell what there is"


def refused_here(failure: Failure) -> OrderReport:
    """Return the report of an order that was not sent because of ``failure``, with the reason under the control it belongs to."""
    return OrderReport(
        OrderStatus.REJECTED,
        reason=f"{failure.reason}; nothing was sent",
        was_sent=False,
        denial=_denial(failure),
    )


def not_acknowledged(failure: Failure) -> OrderReport:
    """Return the report of an order whose send ended in ``failure``. Unless the venue surely did not take it: UNKNOWN."""
    if failure.is_local:
        return refused_here(failure)
    status = OrderStatus.REJECTED if failure.is_definite else OrderStatus.UNKNOWN
    reason = f"{failure.reason}; {SEE_WHAT_IS_THERE}" if failure.kind == Kind.FUNDS else failure.reason
    # A connection that was never made carried nothing.
    return OrderReport(status, reason=reason, was_sent=failure.kind != Kind.NOT_REACHED)


def no_rules(failure: Failure) -> OrderReport:
    """Return the report of an order that was not sent because it does not fit its symbol's rules, or they are not known."""
    report = refused_here(failure)
    # A venue that does not answer has said nothing about the order.
    actual = "does not fit" if failure.kind is Kind.ORDER else "not known"
    denial = Denial("INSTRUMENT_RULES", f"{_sentence(failure)} Nothing was sent.", "the venue's rules", actual)
    return OrderReport(report.status, reason=report.reason, was_sent=False, denial=denial)


def _denial(failure: Failure) -> Denial:
    said = f"{_sentence(failure)} Nothing was sent."
    if failure.kind == Kind.RATE:
        return Denial("RATE_LIMIT", said, "the venue's limit", "used up")
    if failure.kind == Kind.LOCKOUT:
        return Denial("RATE_LIMIT", said, "the venue's limit", "locked out")
    if failure.kind == Kind.KEY:
        return Denial("LIVE_GATE_CLOSED", said, "a key that the venue takes", "refused")
    return Denial("INTENT_EXPIRED", said, "its turn in time", "none")


def _sentence(failure: Failure) -> str:
    return f"{failure.reason[:1].upper()}{failure.reason[1:].rstrip('.')}."
