"""The outbox: what people are told is written beside its cause, and commits with it or not at all. Sending comes later."""

import secrets
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.records import bounded
from safety.notification_models import Notification
from safety.notifications.messages import EVENTS, SEVERITIES, URGENT, Severity
from safety.notifications.scrub import without_secrets

TITLE_MAX, SUBJECT_MAX, TEXT_MAX, FACTS_MAX, FACT_MAX = 200, 200, 2_000, 20, 300


def tell(
    event: str,
    subject: str,
    title: str,
    text: str = "",
    *,
    facts: tuple[tuple[str, str], ...] = (),
    severity: Severity | None = None,
    at: datetime | None = None,
    event_id: str = "",
) -> bool:
    """Write one notification in the transaction that is open, and return whether it is new.

    ``subject`` names what it is about, ``title`` is one line, ``text`` says what happened and what to do; none holds a secret.
    ``at`` is when the cause happened (now, if not given). ``event_id`` (at most 40 characters) makes it tell once: the same id
    again changes nothing and returns False. An urgent event is urgent, unless its cause gives another ``severity``: what was
    urgent is over. Raises ValueError for an event that there is not.
    """
    if event not in EVENTS:
        raise ValueError(f"there is no event {event!r}")
    row = Notification(
        event_id=event_id or secrets.token_hex(16),
        event=event,
        severity=severity or (Severity.URGENT if event in URGENT else SEVERITIES[event]),
        subject=_kept(subject, SUBJECT_MAX),
        title=_kept(title, TITLE_MAX),
        text=_kept(text, TEXT_MAX),
        facts=[[_kept(name, FACT_MAX), _kept(value, FACT_MAX)] for name, value in facts[:FACTS_MAX]],
        created_at=at or timezone.now(),
    )
    if not event_id:
        row.save(force_insert=True)
        return True
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _kept(text: str, chars_max: int) -> str:
    """Return a text as it is kept: a venue's or a person's may hold what no database takes, and must not undo the cause."""
    return bounded(without_secrets(text), chars_max)
