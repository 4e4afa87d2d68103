"""Periodic work beside the ticks: a registry, and the shift that does what is due.

    @chore(every_s=60)
    def write_anchors(now: datetime) -> None: ...

Chores live in the modules named by CHORE_MODULES. They run one after another in one worker of all hosts (a lease
decides), so each must be short and able to run twice. An error in one is shown and stops no other.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from bots.models.worker import WorkerKind
from bots.workers.heartbeats import Heart
from bots.workers.leases import LeaseHolder
from bots.workers.process import stopping
from bots.workers.shift import Every, Shift
from safety import outage

log = logging.getLogger(__name__)

Work = Callable[[datetime], None]
#: The modules whose import registers the chores.
CHORE_MODULES = (
    "bots.workers.housekeeping",
    "bots.readiness_chores",
    "bots.chores",
    "bots.account_chores",
    "bots.reconciliation.chores",
    "bots.going_live_chores",
    "bots.safety_chores",
    "bots.key_watch",
    "bots.dead_man",
    "bots.sweep",
    "bots.executor.shadow",
    "bots.tallies",
    "bots.notification_chores",
    "bots.watch_chores",
    "bots.decision_chores",
    "bots.autopilot.chores",
)
LEASE = "chores"
#: Longer than a shard's: a chore may take its time, and nothing trades under this lease.
LEASE_TTL_S = 20.0
RENEW_EVERY_S = 5.0


@dataclass(frozen=True)
class Chore:
    """One periodic piece of work."""

    name: str
    every_s: float
    work: Work


_registry: dict[str, Chore] = {}


def chore(every_s: float) -> Callable[[Work], Work]:
    """Register a function of ``now`` to be called every ``every_s`` seconds. Raises ValueError on a taken name."""

    def register(work: Work) -> Work:
        name = f"{work.__module__}.{work.__qualname__}"
        if name in _registry:
            raise ValueError(f"there is a chore {name} already")
        _registry[name] = Chore(name, every_s, work)
        return work

    return register


def load_chores() -> list[Chore]:
    """Import the modules that register chores and return what is registered, by name."""
    for module in getattr(settings, "CHORE_MODULES", CHORE_MODULES):
        import_module(module)
    return [_registry[name] for name in sorted(_registry)]


class ChoresShift(Shift):
    """The shift that does the chores. Only the holder of the lease works; the others stand by."""

    def __init__(self, *, cluster_id: str, life_s: float, chores: list[Chore]) -> None:
        heart = Heart(WorkerKind.CHORES, cluster_id=cluster_id)
        super().__init__(WorkerKind.CHORES, LeaseHolder(heart.worker_id, LEASE_TTL_S), heart, life_s)
        self._chores = [(one, Every(one.every_s)) for one in chores]
        self._renew, self._claim = Every(RENEW_EVERY_S), Every(1.0)
        self._results: dict[str, dict[str, Any]] = {}

    def round(self) -> None:
        """Do the chores that are due, while the lease is held."""
        for one, timer in self._chores:
            if stopping() or not self._holds():
                return
            if timer.due():
                self._results[one.name] = self._do(one)
                self.keep_up()

    def shown(self) -> dict[str, Any]:
        """Return what came of each chore."""
        return super().shown() | {"active": bool(self.leases.names), "chores": self._results}

    def _holds(self) -> bool:
        if self._renew.due():
            self.leases.renew()
        if not self.leases.names and self._claim.due():
            self.leases.claim([LEASE], 1)
        return bool(self.leases.names)

    def _do(self, one: Chore) -> dict[str, Any]:
        started_s = time.monotonic()
        error = ""
        try:
            one.work(timezone.now())
        except Exception as raised:  # whatever a chore does wrong is its own affair
            log.exception("chore %s failed", one.name)
            error = f"{type(raised).__name__}: {raised}"[:500]
            if isinstance(raised, DatabaseError | InterfaceError):
                outage.note_failure(raised)
                connections.close_all()
        took_ms = round((time.monotonic() - started_s) * 1000)
        return {"ran_at": timezone.now().isoformat(timespec="seconds"), "took_ms": took_ms, "error": error}
