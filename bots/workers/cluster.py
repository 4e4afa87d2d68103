"""The main process: starts one sentinel per cluster, replaces a dead one, and stops everything within seconds.

    main (gets the signals of its group; touches no database)
     └ sentinel, one per cluster name (in a process group of its own)
        └ workers (each takes its tasks from the queue itself)

Whoever is killed takes those below along; whoever is above replaces it.
"""

import gc
import logging
import multiprocessing
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.context import ForkProcess

from django.db import connections

from bots.workers.heartbeats import host_name
from bots.workers.process import Pulse, StopFlag, stopping
from bots.workers.q2 import check_version, cluster_settings
from bots.workers.sentinel import CYCLE_S, DRAIN_S, run_sentinel

__all__ = ["Cluster", "SentinelsKeepDying", "stopping"]

log = logging.getLogger(__name__)

#: A sentinel whose loop has not turned for this long is stuck (a database that never answers): it is replaced.
PULSE_MAX_S = 60.0
#: More deaths than this within a minute: something is wrong that another start won't mend.
DEATHS_PER_MINUTE_MAX = 10
#: What a sentinel gets beyond the drain of its workers, in seconds.
END_MARGIN_S = 0.7


class SentinelsKeepDying(Exception):
    """A sentinel died too often: the main process gives up, so that its own supervisor (systemd, honcho) sees it."""


class _Cell:
    """One cluster name: its sentinel, and how often that has died."""

    def __init__(self, name: str) -> None:
        cluster_settings(name)  # refuses an unknown name before anything starts
        self._name = name
        self._cluster_id = f"{name}@{host_name()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._deaths_s: deque[float] = deque(maxlen=DEATHS_PER_MINUTE_MAX)
        self._start_after_s = 0.0
        self._process: ForkProcess | None = None
        self._stop = StopFlag()
        self._pulse = Pulse()

    def tend(self) -> None:
        """Start the sentinel when there is none. Raises SentinelsKeepDying."""
        if self.is_alive():
            if self._pulse.age_s > PULSE_MAX_S:
                log.error("the sentinel of %s is stuck: killed", self._name)
                self.kill()
            return
        if self._process is not None:
            self._note_death(self._process.exitcode)
        if time.monotonic() >= self._start_after_s:
            self._start()

    def is_alive(self) -> bool:
        """Return whether the sentinel runs."""
        return self._process is not None and self._process.is_alive()

    def ask_to_stop(self) -> None:
        """Let the sentinel end its workers and itself."""
        self._stop.raise_()

    def kill(self) -> None:
        """Kill the sentinel, and with it its workers."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(1.0)

    def _start(self) -> None:
        self._stop, self._pulse = StopFlag(), Pulse()
        args = (self._name, self._cluster_id, os.getpid(), self._stop, self._pulse)
        self._process = multiprocessing.get_context("fork").Process(target=run_sentinel, args=args)
        self._process.start()

    def _note_death(self, exitcode: int | None) -> None:
        now_s = time.monotonic()
        log.error("the sentinel of %s is gone (%s): replacing it", self._name, exitcode)
        self._process = None
        if len(self._deaths_s) == DEATHS_PER_MINUTE_MAX and now_s - self._deaths_s[0] < 60:
            raise SentinelsKeepDying(f"{self._name}: {DEATHS_PER_MINUTE_MAX} deaths in a minute")
        self._deaths_s.append(now_s)
        recent = sum(1 for death_s in self._deaths_s if now_s - death_s < 60)
        self._start_after_s = now_s + min(0.1 * 2 ** (recent - 1), 5.0)


class Cluster:
    """The clusters of one ``manage.py qcluster``."""

    def __init__(self, names: Sequence[str]) -> None:
        """Prepare these clusters. Raises ImproperlyConfigured for an unknown name or another django-q2."""
        check_version()
        self._cells = [_Cell(name) for name in names]
        self._stop_asked = False

    def run(self) -> None:
        """Work until SIGTERM, SIGINT or SIGHUP; then return with every child gone. Raises SentinelsKeepDying."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # nohup ignores SIGHUP, and means it. SIGINT is ignored by whatever a script starts in the background; whoever
            # sends it there by name still wants a stop.
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._ask_to_stop)
        connections.close_all()
        # What is loaded by now is shared by every worker; frozen, the collector doesn't touch and so copy its pages.
        gc.collect()
        gc.freeze()
        try:
            while not self._stop_asked:
                for cell in self._cells:
                    cell.tend()
                time.sleep(CYCLE_S)
        finally:
            self._end()

    def _ask_to_stop(self, signum: int, frame: object) -> None:
        # Only a flag: django-q2 stops inside the handler and deadlocks when the whole group is signalled.
        self._stop_asked = True

    def _end(self) -> None:
        for cell in self._cells:
            cell.ask_to_stop()
        deadline_s = time.monotonic() + DRAIN_S + END_MARGIN_S
        while any(cell.is_alive() for cell in self._cells) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        for cell in self._cells:
            cell.kill()
