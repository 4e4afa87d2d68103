"""What a person must be told at once. Each alarm is an operator event, in the transaction of the change that it tells of.

It is also a message of the outbox, written in the same transaction; the events are those of the notification preferences
(CONTROLS, section 5). Nothing depends on anybody reading it.
"""

import logging

from audit.log import OperatorEventRecord, joined_unit, record
from audit.models import OperatorEvent
from safety.notifications.beside import tell_beside

log = logging.getLogger(__name__)

#: How the automatic part names itself in the audit.
ACTOR = "automatic"
MISMATCH, UNKNOWN, RISK = "reconciliation_mismatch", "order_unknown", "risk_alert"
#: What a message is called whose alarm says no more than its event does.
TITLES = {
    MISMATCH: "Our books and the venue's differ",
    UNKNOWN: "Nobody knows what became of an order",
    RISK: "Something that nobody here asked for",
}


def alarm(event: str, subject: str, text: str, *, title: str = "", facts: tuple[tuple[str, str], ...] = ()) -> None:
    """Raise one alarm: audited and told with the transaction that is open, or in one of its own."""
    log.error("%s: %s", subject, text)
    with joined_unit():
        record(OperatorEventRecord(actor=ACTOR, action=event, object=subject, old="", new=text[:1000]))
        tell_beside(event, subject, title or TITLES.get(event, subject), text, facts=facts)


def was_raised(event: str, subject: str) -> bool:
    """Return whether this alarm was raised before."""
    return OperatorEvent.objects.filter(action=event, object=subject).exists()
