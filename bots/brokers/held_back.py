"""Orders that did not leave: what the executor is told when nothing was sent, so that no venue is blamed for it."""

from bots.brokers.base import OrderReport
from bots.brokers.outcomes import Failure, Kind
from bots.order_states import OrderStatus
from safety.intents import Denial


def refused_here(failure: Failure) -> OrderReport:
    """Return the report of an order that was not sent because of ``failure``, with the reason under the control it belongs to."""
    return OrderReport(
        OrderStatus.REJECTED,
        reason=f"{failure.reason}; nothing was sent",
        was_sent=False,
        denial=_denial(failure),
    )


def not_reached(failure: Failure) -> OrderReport:
    """Return the report of an order whose connection was never made."""
    return OrderReport(OrderStatus.REJECTED, reason=failure.reason, was_sent=False)


def no_rules(failure: Failure) -> OrderReport:
    """Return the report of an order that was not sent because it does not fit its symbol's rules, or they are not known."""
    report = refused_here(failure)
    denial = Denial("INSTRUMENT_RULES", f"{_sentence(failure)} Nothing was sent.", "the venue's rules", "does not fit")
    return OrderReport(report.status, reason=report.reason, was_sent=False, denial=denial)


def _denial(failure: Failure) -> Denial:
    said = f"{_sentence(failure)} Nothing was sent."
    if failure.kind == Kind.RATE:
        return Denial("RATE_LIMIT", said, "the venue's limit", "used up")
    if failure.kind == Kind.KEY:
        return Denial("LIVE_GATE_CLOSED", said, "a key that the venue takes", "refused")
    return Denial("INTENT_EXPIRED", said, "its turn in time", "none")


def _sentence(failure: Failure) -> str:
    return f"{failure.reason[:1].upper()}{failure.reason[1:].rstrip('.')}."
