"""What the cluster's processes share, without one lock among them.

A process that is killed while it holds a lock leaves it locked for ever. So every shared value here has one writer and
needs none: a reader sees the old value or the new one.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PARENT_POLL_S = 0.5


class StopFlag:
    """Raised once, seen by every process forked after it was made."""

    def __init__(self) -> None:
        self._raised = RawValue(ctypes.c_bool, False)

    def raise_(self) -> None:
        """Ask everybody who sees this flag to stop."""
        self._raised.value = True

    @property
    def raised(self) -> bool:
        """Return whether a stop was asked for."""
        return bool(self._raised.value)


class Pulse:
    """Shows a parent that its child's loop still turns."""

    def __init__(self) -> None:
        self._beat_s = RawValue(ctypes.c_double, time.monotonic())

    def beat(self) -> None:
        """Say: alive."""
        self._beat_s.value = time.monotonic()

    @property
    def age_s(self) -> float:
        """Return the seconds since the last beat."""
        return time.monotonic() - float(self._beat_s.value)


class TaskTimer:
    """Stands in for the timer that django-q2's worker sets. The sentinel reads its deadline, nobody else its value.

    The worker sets -1 when idle, the task's timeout in seconds when busy, 0 when a task ran out of time.
    """

    def __init__(self) -> None:
        self._value = -1.0
        self._deadline_s = RawValue(ctypes.c_double, 0.0)

    @property
    def value(self) -> float:
        """Return what the worker set last (in the worker's process only)."""
        return self._value

    @value.setter
    def value(self, seconds: float) -> None:
        self._value = seconds
        self._deadline_s.value = time.monotonic() + seconds if seconds > 0 else 0.0

    @contextmanager
    def get_lock(self) -> Iterator[None]:
        """Lock nothing: django-q2's worker asks for a lock, and a killed worker would keep it."""
        yield

    @property
    def overdue(self) -> bool:
        """Return whether a task runs beyond its timeout."""
        return 0.0 < float(self._deadline_s.value) < time.monotonic()


_stop_flags: list[StopFlag] = []
_own_stop = False


def stopping() -> bool:
    """Return whether this process should stop soon. Tasks ask often and hand over; False outside the cluster."""
    return _own_stop or any(flag.raised for flag in _stop_flags)


def rest(seconds: float, *, slice_s: float = 0.1) -> None:
    """Sleep, but not much longer than ``slice_s`` once a stop is asked for."""
    end = time.monotonic() + seconds
    while not stopping():
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, slice_s))


def become_child(name: str, parent_pid: int, flag: StopFlag) -> None:
    """Make a freshly forked process one that stops with ``flag`` and dies with its parent. ``name`` is for ``ps``."""
    global _own_stop
    _own_stop = False
    _stop_flags[:] = [flag]
    # Ctrl-C reaches the main process alone; whoever signals this process means it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ask_to_stop)
    die_with(parent_pid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def die_with(parent_pid: int) -> None:
    """Have this process killed as soon as its parent is gone, however the parent ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:  # it died before the kernel was told
        os._exit(1)


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _ask_to_stop(signum: int, frame: object) -> None:
    # Only a flag: a handler that takes locks or joins processes deadlocks with the code it interrupts.
    global _own_stop
    _own_stop = True
