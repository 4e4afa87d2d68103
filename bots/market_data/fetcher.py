"""Fetches market data in the background, so that a venue that is slow or dead holds up no tick.

Each fetch runs once, however many wait for it. All waiting together is bounded: in any WINDOW_S nobody waits once WAIT_S
have been waited, and what was known before has to do. After a failure nobody asks again for a while.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

from bots.brokers.outcomes import CallFailed, Kind

log = logging.getLogger(__name__)

THREADS = 3
WAIT_S = 1.5
WINDOW_S = 5.0
#: How long a failure is believed, by itself; and for every question, when it was the venue or the way to it that failed.
FAILURE_S = 3.0
#: A venue that wants fewer requests gets fewer.
RATE_S = 15.0
#: A question that the venue refused is not put again soon.
REFUSED_S = 60.0

Job = Callable[[], None]


class Fetcher:
    """Runs jobs by their key, each at most once at a time, on daemon threads that start when first needed.

    A process that was forked needs a new one: threads do not survive a fork.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[str, Job, threading.Event]] = queue.SimpleQueue()
        self._running: dict[str, threading.Event] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._venue_failed: tuple[float, str] = (0.0, "")
        self._threads = 0
        self._window_from = 0.0
        self._waited_s = 0.0

    def start(self, key: str, job: Job) -> str:
        """Have ``job`` run soon, unless it runs already or failed lately; return why it does not run, or an empty text."""
        return self._begin(key, job)[1]

    def run(self, key: str, job: Job) -> str:
        """Have ``job`` run, and wait for it as long as the patience lasts; return why it has not succeeded, or an empty text."""
        done, problem = self._begin(key, job)
        if done is None:
            return problem
        if not self._wait(done):
            return f"{self._name} has not answered yet"
        return self._problem(key)

    def _begin(self, key: str, job: Job) -> tuple[threading.Event | None, str]:
        with self._lock:
            done = self._running.get(key)
            if done is not None:
                return done, ""
            problem = self._standing_problem(key)
            if problem:
                return None, problem
            done = self._running[key] = threading.Event()
            if self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name=f"fetch-{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((key, job, done))
        return done, ""

    def _wait(self, done: threading.Event) -> bool:
        began = time.monotonic()
        with self._lock:
            if began - self._window_from > WINDOW_S:
                self._window_from, self._waited_s = began, 0.0
            patience_s = WAIT_S - self._waited_s
        is_done = done.wait(max(patience_s, 0.0))
        with self._lock:
            self._waited_s += time.monotonic() - began
        return is_done

    def _problem(self, key: str) -> str:
        with self._lock:
            return self._standing_problem(key)

    def _standing_problem(self, key: str) -> str:
        now = time.monotonic()
        for until, text in (self._failed.get(key, (0.0, "")), self._venue_failed):
            if until > now:
                return text
        return ""

    def _work(self) -> None:
        while True:
            key, job, done = self._jobs.get()
            try:
                job()
                self._note(key, None)
            except CallFailed as failed:
                self._note(key, failed)
            except Exception as error:
                # A job that is broken must not end the thread: everything would then wait for ever.
                log.exception("fetching %s of %s failed", key, self._name)
                with self._lock:
                    self._failed[key] = (time.monotonic() + FAILURE_S, f"{type(error).__name__} while reading {key}")
            finally:
                with self._lock:
                    self._running.pop(key, None)
                done.set()

    def _note(self, key: str, failed: CallFailed | None) -> None:
        now = time.monotonic()
        with self._lock:
            if failed is None:
                self._failed.pop(key, None)
                return
            kind, reason = failed.failure.kind, failed.failure.reason
            if kind in {Kind.UNKNOWN, Kind.NOT_REACHED, Kind.NOT_SENT}:
                self._venue_failed = (now + FAILURE_S, reason)
            elif kind in {Kind.RATE, Kind.LOCKOUT}:
                self._venue_failed = (now + RATE_S, reason)
            else:
                self._failed[key] = (now + REFUSED_S, reason)
