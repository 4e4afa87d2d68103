"""Wrong tokens, counted by the address that they come from: whoever tries on has to wait, and the audit is told.

A right token passes whatever the count says, so nobody can lock it out. A token of this console is too long to be found by
trying; what the count is for is to see that somebody tries, and to keep trying cheap: who has to wait is remembered in the
process, and answered without the database.
"""

import threading
from datetime import datetime, timedelta
from math import ceil

from django.conf import settings

from audit.log import OperatorEventRecord, joined_unit, record
from audit.models import OperatorEvent
from safety.api_models import ApiFailure

REFUSED = "api_token_refused"
STRANGER = "stranger"
WINDOW = timedelta(minutes=5)
TOLD_EVERY = timedelta(minutes=1)
#: Operator events in one TOLD_EVERY, for all addresses together.
TOLD_ROWS_MAX = 10
#: Addresses that are counted by themselves; what comes from more is counted under OTHERS.
ADDRESSES_MAX = 1_000
ALL, OTHERS = "all", "others"

_lock = threading.Lock()
_waits_until: dict[str, datetime] = {}


def note(address: str, *, now: datetime) -> int:
    """Count one wrong token from ``address``. Return the seconds that it has to wait, 0 while it may go on trying.

    Raises DatabaseError when the failure can't be counted.
    """
    known_s = _remembered_wait_s(address, now)
    if known_s:
        return known_s
    with joined_unit():
        # The row of all first, in every process: the two rows are never locked the other way round.
        overall = _counted(ALL, now)
        own = _counted(address if _has_room(address, now) else OTHERS, now)
        _tell_if_due(own, now)
        own.save()
        overall.save()
    waits = [
        _wait_until(key, row, limit)
        for key, row, limit in (
            (address, own, settings.API_WRONG_TOKENS_MAX),
            (ALL, overall, settings.API_WRONG_TOKENS_ALL_MAX),
        )
        if row.failures > limit
    ]
    return max((_seconds(until - now) for until in waits), default=0)


def tell_rest(*, now: datetime) -> None:
    """Tell the audit of failures that came after an address's last event, and forget addresses that tried long ago."""
    with joined_unit():
        due = ApiFailure.objects.select_for_update().filter(untold__gt=0).exclude(pk=ALL).order_by("pk")
        for row in due[:TOLD_ROWS_MAX]:
            _tell_if_due(row, now)
            row.save()
        ApiFailure.objects.filter(began_at__lte=now - WINDOW, untold=0).delete()


def forget() -> None:
    """Forget who has to wait, as a process that has just started. For tests and for nothing else."""
    with _lock:
        _waits_until.clear()


def _remembered_wait_s(address: str, now: datetime) -> int:
    with _lock:
        found = [until for key in (address, ALL) if (until := _waits_until.get(key)) is not None]
    # One that lies further off than a window was set by a clock that has been put right since.
    return max((_seconds(until - now) for until in found if now < until <= now + WINDOW), default=0)


def _wait_until(key: str, row: ApiFailure, limit: int) -> datetime:
    until = row.began_at + WINDOW
    with _lock:
        if len(_waits_until) >= ADDRESSES_MAX:
            _waits_until.clear()
        _waits_until[key] = until
    return until


def _counted(key: str, now: datetime) -> ApiFailure:
    """Return a row, locked and with one failure more, in a new window when its last one is over."""
    row, _ = ApiFailure.objects.select_for_update().get_or_create(pk=key, defaults={"began_at": now})
    if not row.began_at <= now < row.began_at + WINDOW:
        row.began_at, row.failures = now, 0
    row.failures += 1
    row.untold += key != ALL
    return row


def _has_room(address: str, now: datetime) -> bool:
    """Return whether an address is counted by itself."""
    if ApiFailure.objects.filter(pk=address).exists() or ApiFailure.objects.count() < ADDRESSES_MAX:
        return True
    ApiFailure.objects.filter(began_at__lte=now - WINDOW, untold=0).delete()
    return ApiFailure.objects.count() < ADDRESSES_MAX


def _tell_if_due(row: ApiFailure, now: datetime) -> None:
    """Write one event for what is untold: at most one a minute for an address, and ten for all."""
    if row.told_at is not None and now - TOLD_EVERY < row.told_at <= now:
        return
    lately = OperatorEvent.objects.filter(action=REFUSED, ts__gte=now - TOLD_EVERY).order_by("-id")
    if len(lately[:TOLD_ROWS_MAX]) >= TOLD_ROWS_MAX:
        return
    since = "" if row.told_at is None else f" since {row.told_at:%Y-%m-%d %H:%M:%S} UTC"
    tried = "1 wrong token" if row.untold == 1 else f"at least {row.untold} wrong tokens"
    record(OperatorEventRecord(STRANGER, REFUSED, f"address:{row.pk}", "", f"{tried}{since}"))
    row.untold, row.told_at = 0, now


def _seconds(span: timedelta) -> int:
    return max(1, ceil(span.total_seconds()))
