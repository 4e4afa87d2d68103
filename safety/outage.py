"""After the database was away nothing is sent for 10 s: what else was lost with it is not known yet.

Each process keeps this for itself, on the monotonic clock: one that saw no outage has nothing to be careful about, and a clock
that is set wrong must not open trading early.
"""

import logging
import threading
import time

from django.db import InterfaceError, OperationalError
from django.utils import timezone

log = logging.getLogger(__name__)

QUIET_S = 10.0
#: The database is there and says that this one statement has to wait or to be tried again: no outage.
BUSY_STATES = frozenset({"40001", "40P01", "55P03", "57014"})
_lock = threading.Lock()


class _Memory:
    """What this process has seen of the database."""

    is_away = False
    quiet_until_s: float | None = None
    back_at = ""


_memory = _Memory()


def note_failure(error: BaseException | None = None) -> None:
    """Note that the database did not answer. An error that is no outage (a deadlock, a lock timeout, bad SQL) is passed over."""
    if error is not None and not is_outage(error):
        return
    with _lock:
        if not _memory.is_away:
            log.warning("the database does not answer: nothing is sent until it has been back for %d s", QUIET_S)
        _memory.is_away = True


def note_answer() -> None:
    """Note that the database answered. After an outage this is where the 10 s begin."""
    if not _memory.is_away:
        return
    with _lock:
        if _memory.is_away:
            _memory.is_away = False
            _memory.quiet_until_s = time.monotonic() + QUIET_S
            _memory.back_at = f"{timezone.now():%H:%M:%S}"


def quiet_reason() -> str:
    """Return why nothing is sent yet after an outage, or an empty text."""
    until_s = _memory.quiet_until_s
    if until_s is None:
        return ""
    if time.monotonic() < until_s:
        return f"the database was away until {_memory.back_at} UTC; nothing is sent for {QUIET_S:.0f} s"
    with _lock:
        if _memory.quiet_until_s == until_s:
            _memory.quiet_until_s = None
    return ""


def forget() -> None:
    """Forget every outage, as a process that has just started. For tests and for nothing else."""
    with _lock:
        _memory.is_away, _memory.quiet_until_s, _memory.back_at = False, None, ""


def is_outage(error: BaseException) -> bool:
    """Return whether an error of the database means that it could not be reached, or not used in bounded time."""
    if not isinstance(error, OperationalError | InterfaceError) or str(error).startswith("no such "):
        return False
    return getattr(error.__cause__, "sqlstate", None) not in BUSY_STATES
