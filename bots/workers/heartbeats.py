"""Heartbeats: who works, where, and what it says of itself."""

import os
import secrets
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.workers.database_time import database_time
from bots.workers.leases import free_leases_of
from safety.facts import own_facts

#: A worker not seen for this long counts as dead, in seconds. It beats three times in that time.
LIVE_WITHIN_S = 6.0
BEAT_EVERY_S = 2.0
#: How long the row of a dead worker stays to be looked at, in seconds.
KEEP_S = 900.0


def host_name() -> str:
    """Return this host's name, short enough for an id."""
    return socket.gethostname()[:60]


def new_worker_id() -> str:
    """Return an id that no other run of any worker has: it also names the holder of leases."""
    return f"{host_name()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass
class Heart:
    """Writes one worker's heartbeat."""

    kind: WorkerKind
    cluster_id: str = ""
    worker_id: str = field(default_factory=new_worker_id)

    def beat(self, *, shards: Iterable[int] = (), details: dict[str, Any] | None = None) -> None:
        """Say: alive, holding these shards, and started with these gates and settings (never a secret)."""
        now = database_time()
        told = {**(details or {}), "facts": own_facts()}
        shown = {"shards": ",".join(map(str, sorted(shards))), "details": told, "seen_at": now}
        if WorkerHeartbeat.objects.filter(pk=self.worker_id).update(**shown):
            return
        WorkerHeartbeat.objects.create(
            worker_id=self.worker_id,
            kind=self.kind,
            cluster_id=self.cluster_id,
            host=host_name(),
            pid=os.getpid(),
            version=getattr(settings, "VERSION", "unknown"),
            started_at=now,
            **shown,
        )

    def stop(self) -> None:
        """Take the heartbeat away: this worker ends and no other follows."""
        WorkerHeartbeat.objects.filter(pk=self.worker_id).delete()

    def hand_over(self) -> None:
        """Count as dead from now on, but leave the row: health must not see nobody before the successor begins."""
        WorkerHeartbeat.objects.filter(pk=self.worker_id).update(
            seen_at=database_time(-LIVE_WITHIN_S), shards="", details={"ended": True}
        )


def live(kind: WorkerKind) -> QuerySet[WorkerHeartbeat]:
    """Return the heartbeats of the living workers of a kind."""
    return WorkerHeartbeat.objects.filter(kind=kind, seen_at__gt=database_time(-LIVE_WITHIN_S))


def bury_dead_of(cluster_id: str, living_pids: Collection[int]) -> list[str]:
    """Free the leases of this cluster's dead workers at once and take their heartbeats away; return their ids.

    Only the cluster's own sentinel may call it: it alone knows which of its children live.
    """
    rows = WorkerHeartbeat.objects.filter(cluster_id=cluster_id).exclude(kind=WorkerKind.CLUSTER)
    dead = [row.worker_id for row in rows.exclude(pid__in=living_pids) if not _is_running(row.pid)]
    if dead:
        free_leases_of(dead)
        WorkerHeartbeat.objects.filter(pk__in=dead).delete()
    return dead


def bury_dead_web() -> int:
    """Take away the heartbeats of this host's web processes that are gone; return how many.

    They end without a word. One that lives after all, where this process can't see it, writes its row anew.
    """
    rows = WorkerHeartbeat.objects.filter(kind=WorkerKind.WEB, host=host_name())
    dead = [row.pk for row in rows if not _is_running(row.pid)]
    return WorkerHeartbeat.objects.filter(pk__in=dead).delete()[0]


def forget_old(keep_s: float = KEEP_S) -> int:
    """Delete the rows of workers not seen for ``keep_s`` seconds; return how many."""
    return WorkerHeartbeat.objects.filter(seen_at__lt=database_time(-keep_s)).delete()[0]


def _is_running(pid: int) -> bool:
    # Children of a sentinel that was killed die with it, but a moment later.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
