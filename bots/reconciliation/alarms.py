"""What a person must be told at once. Each alarm is an operator event, in the transaction of the change that it tells of.

Whoever delivers messages receives ``alarm_raised`` (``event``, ``subject``, ``text``), sent after the commit; the events are
those of the notification preferences (CONTROLS, section 5). Nothing depends on anybody listening.
"""

import logging

from django.db import transaction
from django.dispatch import Signal

from audit.log import OperatorEventRecord, joined_unit, record
from audit.models import OperatorEvent

log = logging.getLogger(__name__)

alarm_raised = Signal()

#: How the automatic part names itself in the audit.
ACTOR = "automatic"
MISMATCH, UNKNOWN, RISK = "reconciliation_mismatch", "order_unknown", "risk_alert"


def alarm(event: str, subject: str, text: str) -> None:
    """Raise one alarm: audited with the transaction that is open, or in one of its own, and told of after its commit."""
    log.error("%s: %s", subject, text)
    with joined_unit():
        record(OperatorEventRecord(actor=ACTOR, action=event, object=subject, old="", new=text[:1000]))
        transaction.on_commit(lambda: _tell(event, subject, text))


def was_raised(event: str, subject: str) -> bool:
    """Return whether this alarm was raised before."""
    return OperatorEvent.objects.filter(action=event, object=subject).exists()


def _tell(event: str, subject: str, text: str) -> None:
    for receiver, answer in alarm_raised.send_robust(sender=None, event=event, subject=subject, text=text):
        if isinstance(answer, Exception):
            log.error("%s failed after an alarm: %s", receiver, answer, exc_info=answer)
