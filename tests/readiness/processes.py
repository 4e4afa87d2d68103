"""Running processes, as their heartbeats would tell of them."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from bots.models.worker import WorkerHeartbeat, WorkerKind
from safety import facts

KINDS = (WorkerKind.WEB, WorkerKind.RUNNER, WorkerKind.CHORES)


def told(**changed: Any) -> dict[str, Any]:
    """Return what a process would tell of this process's settings, with some facts changed."""
    facts.forget()
    return {**facts.own_facts(), **changed}


def beat(kind: str, *, age_s: float = 0, host: str = "here", version: str = "", **changed: Any) -> WorkerHeartbeat:
    """Write the heartbeat of a process of this kind, with some facts changed."""
    seen_at = timezone.now() - timedelta(seconds=age_s)
    shown = told(**{"clock": seen_at.isoformat(), **changed})
    return WorkerHeartbeat.objects.create(
        worker_id=f"{kind} {WorkerHeartbeat.objects.count()}",
        kind=kind,
        host=host,
        pid=100 + WorkerHeartbeat.objects.count(),
        version=version or settings.VERSION,
        started_at=seen_at - timedelta(hours=1),
        seen_at=seen_at,
        details={"facts": shown},
    )


def beat_all(**changed: Any) -> None:
    """Write the heartbeats of a web process, a runner and the chores, with some facts changed in all of them."""
    for kind in KINDS:
        beat(kind, **changed)
