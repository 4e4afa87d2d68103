"""Telling beside something that must happen in any case: a halt, a fill, a refusal. What can't be told is logged.

Nothing here ever stops or delays what it tells of: it has a savepoint of its own, and waits for no lock that others hold.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from django.db import connection, transaction

from safety.notifications.messages import Severity
from safety.notifications.outbox import tell

log = logging.getLogger(__name__)

#: How long an insert waits for a lock on the outbox (PostgreSQL; SQLite's one writer holds its lock already).
LOCK_WAIT = "250ms"
#: What ``event_id`` of a notification holds.
ID_CHARS = 40


def once(*parts: object) -> str:
    """Return an event id that is the same for the same cause, so that it is told once by whoever sees it."""
    return sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:ID_CHARS]


def tell_beside(
    event: str,
    subject: str,
    title: str,
    text: str = "",
    *,
    facts: tuple[tuple[str, str], ...] = (),
    severity: Severity | None = None,
    event_id: str = "",
) -> bool:
    """Do as ``tell`` does, in the transaction that is open; whatever goes wrong is logged, and that transaction goes on."""
    try:
        with transaction.atomic(), _brief_waits():
            return tell(event, subject, title, text, facts=facts, severity=severity, event_id=event_id)
    except Exception:  # whatever is wrong with the outbox, the halt or the fill that it tells of must be kept
        log.exception("nobody could be told of %s: %s", event, title)
        return False


@contextmanager
def _brief_waits() -> Iterator[None]:
    """Wait for locks only briefly. On an error the savepoint around it puts the old wait back by itself."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)", [LOCK_WAIT])
        before = cursor.fetchone()[0]
        yield
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
