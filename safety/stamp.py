"""Whether a database is a rehearsal's or a real one: the two must never meet the other's venues.

The setting ``database_stamp`` says ``rehearsal`` from the first start with a loopback venue on, for ever. A database without
a stamp is a real one as soon as a live order was sent from it; that is read from the audit, whose rows only grow, so that
nothing has to be written beside a first live order.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import DatabaseError, connection

from audit.log import OperatorEventRecord, joined_unit, record
from audit.models import EventKind, OrderEvent
from safety.models import Setting

STAMP_KEY = "database_stamp"
REHEARSAL = "rehearsal"
ACTOR = "system:prepare"


class StampError(Exception):
    """This database must not be used with these endpoints; the message is for people."""


def read() -> str:
    """Return the stamp: ``rehearsal``, or an empty text where there is none. Anything else is a damaged one."""
    return Setting.objects.filter(key=STAMP_KEY).values_list("value", flat=True).first() or ""


def problem(stamp: str) -> str:
    """Return why a database with this stamp and the environment's endpoints do not go together, or an empty text."""
    is_rehearsal = settings.ENVIRONMENT.is_rehearsal
    if stamp not in {"", REHEARSAL}:
        return f"The setting {STAMP_KEY} is neither empty nor {REHEARSAL}. Restore it from a backup."
    if stamp == REHEARSAL and not is_rehearsal:
        return (
            "This database has a rehearsal's stamp and can never be used with the real venues. Set DATABASE_URL to another"
            " database, or point the venues' URLs (KRAKEN_BASE_URL and the others) to the loopback ones again."
        )
    if not stamp and is_rehearsal and _has_live_orders():
        return (
            "This database has no rehearsal's stamp and can get none, since real live orders were sent from it. Set"
            " DATABASE_URL to another database, or take the loopback URLs of the venues out of the environment."
        )
    return ""


def check() -> None:
    """Return if this database goes together with the endpoints. Raises StampError."""
    if found := problem(read()):
        raise StampError(found)


def check_at_start() -> None:
    """Return if a worker may start on this database, with no connection left open. Raises StampError.

    A database that does not answer is no reason: workers wait for it, and until then the gate's lock is shut.
    """
    try:
        check()
    except DatabaseError:
        return
    finally:
        connection.close()


def system_check(databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return an error where this database and the endpoints do not go together. Without tables there is nothing to say."""
    if not databases or "default" not in databases:
        return []
    try:
        found = problem(read())
    except DatabaseError:
        return []
    return [Error(found, id="safety.E001")] if found else []


def apply() -> bool:
    """Stamp a database that is used with a loopback venue for the first time; return whether it was stamped now.

    Raises StampError where database and endpoints do not go together.
    """
    with joined_unit():
        check()
        if not settings.ENVIRONMENT.is_rehearsal or read() == REHEARSAL:
            return False
        Setting.objects.create(key=STAMP_KEY, value=REHEARSAL)
        reason = "a venue's URL is a loopback one"
        record(OperatorEventRecord(ACTOR, "database_stamped", STAMP_KEY, "", REHEARSAL, reason))
    return True


def _has_live_orders() -> bool:
    never_sent = (EventKind.INTENT, EventKind.DENIED)
    return OrderEvent.objects.filter(is_live=1).exclude(event__in=never_sent).exists()
