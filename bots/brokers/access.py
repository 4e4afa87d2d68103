"""What a venue said of an account's key, kept for the people who have to know, and for the watch that stops the venue.

Written when a venue refuses something, which is rare, and never the reason why a request fails: what can't be kept is logged.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import Error
from django.db.models import Case, F, Value, When

from bots.brokers.outcomes import Failure, Kind
from bots.models import VenueAccess
from bots.workers.database_time import database_time

log = logging.getLogger(__name__)

#: Refusals of a request's number that are further apart belong to two different troubles.
NONCE_STREAK_FOR = timedelta(minutes=10)
#: So many in a row are no accident of one moment: something else uses the key.
NONCE_REFUSALS_MIN = 3
REASON_CHARS_MAX = 300
#: How long a key that was locked out is left alone. Kraken names no time; those who met it speak of 15 minutes.
LOCKED_OUT_FOR = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Lockout:
    """A lockout that lasts: since when and until when, and when the venue last said so; all by the database's clock, ``at``."""

    since: datetime
    until: datetime
    told_at: datetime
    at: datetime


def lockout_of(account: str) -> Lockout | None:
    """Return the lockout of an account's key that lasts, None when there is none. Raises django.db.Error."""
    rows = VenueAccess.objects.filter(
        account=account,
        locked_out_until__gt=database_time(),
        # What is further ahead was written before the clock was set back.
        locked_out_until__lte=database_time(LOCKED_OUT_FOR.total_seconds() + 1),
        locked_out_since__isnull=False,
        rate_refused_at__isnull=False,
    )
    names = ("locked_out_since", "locked_out_until", "rate_refused_at", "at")
    found = rows.annotate(at=database_time()).values_list(*names).first()
    return None if found is None else Lockout(*found)


def end_lockout(account: str) -> None:
    """Keep that a key that was locked out is answered again."""
    try:
        VenueAccess.objects.filter(account=account).update(locked_out_until=None)
    except Error:
        log.exception("that %s answers again could not be kept", account)


def note(account: str, failure: Failure) -> None:
    """Keep what a venue's refusal says of the account's key or its limit; any other failure says nothing of them."""
    keep = {
        Kind.RATE: _rate_refused,
        Kind.LOCKOUT: _locked_out,
        Kind.NONCE: _nonce_refused,
        Kind.KEY: _key_refused,
    }.get(failure.kind)
    if keep is None or failure.is_local:
        return
    try:
        VenueAccess.objects.bulk_create([VenueAccess(account=account)], ignore_conflicts=True)
        keep(account, failure.reason[:REASON_CHARS_MAX])
    except Error:
        log.exception("what %s said could not be kept: %s", account, failure.reason)


def _rate_refused(account: str, reason: str) -> None:
    VenueAccess.objects.filter(account=account).update(rate_refused_at=database_time(), rate_refused_reason=reason)


def _locked_out(account: str, reason: str) -> None:
    _rate_refused(account, reason)
    goes_on = {"locked_out_until__gt": database_time(), "locked_out_since__isnull": False}
    VenueAccess.objects.filter(account=account).update(
        locked_out_since=Case(When(**goes_on, then=F("locked_out_since")), default=database_time()),
        locked_out_until=database_time(LOCKED_OUT_FOR.total_seconds()),
    )


def _key_refused(account: str, reason: str) -> None:
    VenueAccess.objects.filter(account=account).update(key_refused_at=database_time(), key_refused_reason=reason)


def _nonce_refused(account: str, reason: str) -> None:
    goes_on = {"nonce_refused_at__gte": database_time(-NONCE_STREAK_FOR.total_seconds())}
    VenueAccess.objects.filter(account=account).update(
        nonce_refused_at=database_time(),
        nonce_refused_since=Case(When(**goes_on, then=F("nonce_refused_since")), default=database_time()),
        nonce_refusals=Case(When(**goes_on, then=F("nonce_refusals") + 1), default=Value(1)),
    )
