"""How fast the kill switch was, over all runs. Those that are over are kept as totals; the few others are read each time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from audit import tallies
from audit.tallies import Histogram
from safety.models import KillRun

NAME = "kill_runs"
BLOCKED_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
DRAINED_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: No transaction that made a run is open for longer: a run with a lower id can't turn up any more.
SETTLED_AFTER = timedelta(minutes=1)
RUNS_MAX = 1_000


@dataclass
class KillTally:
    """How long it took until nothing new could be sent (``blocked``), and until nothing was under way (``drained``)."""

    upto_id: int
    blocked: Histogram
    drained: Histogram

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "KillTally":
        """Return what ``as_dict`` kept."""
        blocked = Histogram(BLOCKED_BOUNDS_S, kept.get("blocked"))
        return cls(int(kept.get("upto_id", 0)), blocked, Histogram(DRAINED_BOUNDS_S, kept.get("drained")))

    def as_dict(self) -> dict[str, Any]:
        """Return what is to be kept."""
        return {"upto_id": self.upto_id, "blocked": self.blocked.as_dict(), "drained": self.drained.as_dict()}

    def add(self, run: KillRun) -> None:
        """Count a run. A flatten stops nothing."""
        if run.blocked_ms is not None and not run.is_flatten:
            self.blocked.add(run.blocked_ms / 1000)
        if run.drained_at is not None and not run.is_flatten:
            self.drained.add((run.drained_at - run.engaged_at).total_seconds())

    def settle(self, now: datetime) -> bool:
        """Count the runs that are over for good, up to the first that is not; return whether there were any."""
        before = self.upto_id
        for run in _after(self.upto_id):
            if run.ended_at is None or run.engaged_at > now - SETTLED_AFTER:
                break
            self.add(run)
            self.upto_id = run.pk
        return self.upto_id != before


def read() -> KillTally:
    """Return the totals of all runs as they now stand. Raises django.db.Error."""
    tally = KillTally.of(tallies.read(NAME))
    for run in _after(tally.upto_id):
        tally.add(run)
    return tally


def keep() -> None:
    """Keep the runs that are over as totals. Raises django.db.Error."""
    now = timezone.now()

    def work(kept: dict[str, Any]) -> dict[str, Any]:
        tally = KillTally.of(kept)
        tally.settle(now)
        return tally.as_dict()

    if KillTally.of(tallies.read(NAME)).settle(now):
        tallies.change(NAME, work)


def _after(run_id: int) -> list[KillRun]:
    names = ("blocked_ms", "drained_at", "ended_at", "engaged_at", "is_flatten")
    return list(KillRun.objects.filter(pk__gt=run_id).order_by("pk").only(*names)[:RUNS_MAX])
