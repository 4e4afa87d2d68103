"""When readiness runs are made: after a start until all have reported, every 5 minutes, and when somebody asks.

A run may ask a venue and try passwords, which takes seconds: it is a task of the slow cluster, so that no chore waits for it.
"""

import time
from datetime import datetime, timedelta

from django.db.models import Max
from django_q.tasks import async_task

from bots.models import Bot
from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.workers.chores import chore
from bots.workers.database_time import database_time
from bots.workers.facts import HEARD_WITHIN_S
from safety import readiness
from safety.models import ReadinessRun
from safety.readiness_values import Finding, State

RUN_EVERY = timedelta(minutes=5)
#: After a start, or a bot being set live, runs follow so closely while something has not reported or answered yet, and for
#: so long.
SETTLING_EVERY = timedelta(seconds=10)
SETTLING_FOR = timedelta(minutes=3)
#: What clears up by itself when all processes of a start have reported, and the first reconciliation has.
SETTLING = frozenset(
    {"workers_alive", "one_version", "gates_agree", "queue_moves", "default_passwords", "reconciliation_fresh"}
)
#: What nobody could ask the venue is asked again so soon: it may have been away, or our own share of its limit was used up. Live
#: entries wait meanwhile, and a venue that is back is not to be kept waiting for minutes.
UNANSWERED_EVERY = timedelta(seconds=30)
UNANSWERED = frozenset({"venue_keys", "venue_account"})
#: A run is killed after this long, in seconds. Every question to a venue has a deadline of its own far below.
RUN_S_MAX = 45
#: One that was queued is not queued again for this long, in seconds, unless it was made.
QUEUED_S = 60.0
TASK = "bots.readiness_chores.make_run"


class _Queued:
    """When this process queued a run last, on the monotonic clock, and which run was the last one then."""

    at_s = float("-inf")
    last_id: int | None = None


def make_run(trigger: str, actor: str = "") -> int:
    """Make a readiness run in this process and return its id. The task's name in the queue: renaming it needs care."""
    return int(readiness.run(trigger, actor=actor).pk)


def queue_run(trigger: str, actor: str = "") -> None:
    """Have a worker of the slow cluster make a run, with the settings that the console was started with."""
    async_task(TASK, trigger, actor, cluster="slow", task_name="readiness run", timeout=RUN_S_MAX, save=False)


@chore(every_s=5)
def keep_readiness_fresh(now: datetime) -> None:
    """Queue a run when one is due."""
    last = ReadinessRun.objects.order_by("-id").first()
    last_id = None if last is None else last.pk
    if _Queued.last_id == last_id and time.monotonic() - _Queued.at_s < QUEUED_S:
        return
    if trigger := due(last, started_at=_started_at(), set_live_at=_set_live_at(), now=now):
        queue_run(trigger)
        _Queued.at_s, _Queued.last_id = time.monotonic(), last_id


@chore(every_s=3600)
def forget_old_readiness_runs(now: datetime) -> None:
    """Thin out old runs."""
    readiness.forget_old_runs(now)


def due(
    last: ReadinessRun | None, *, started_at: datetime | None, set_live_at: datetime | None = None, now: datetime
) -> str:
    """Return the trigger of the run that is due now, or an empty text."""
    if last is None or (started_at is not None and last.started_at < started_at):
        return "start"
    if set_live_at is not None and last.started_at < set_live_at <= now:
        return "set_live"
    age = now - last.started_at
    if not timedelta(0) <= age < RUN_EVERY:
        return "schedule"
    found = readiness.findings_of(last) if last.finished_at is not None else []
    if age >= UNANSWERED_EVERY and any(_is_unanswered(one) for one in found):
        return "unanswered"
    begun = [one for one in (started_at, set_live_at) if one is not None and now - one < SETTLING_FOR]
    return "start" if begun and age >= SETTLING_EVERY and any(map(_is_settling, found)) else ""


def _is_settling(one: Finding) -> bool:
    return one.blocks and (one.id in SETTLING or _is_unanswered(one))


def _is_unanswered(one: Finding) -> bool:
    return one.blocks and one.id in UNANSWERED and one.state is State.NOT_KNOWN


def _started_at() -> datetime | None:
    """Return when the youngest cluster or web process of those heard of lately began; shifts come and go by themselves."""
    recent = WorkerHeartbeat.objects.filter(seen_at__gt=database_time(-HEARD_WITHIN_S))
    started: datetime | None = recent.filter(kind__in=(WorkerKind.CLUSTER, WorkerKind.WEB)).aggregate(
        at=Max("started_at")
    )["at"]
    return started


def _set_live_at() -> datetime | None:
    """Return when a bot was last set live, of those that are live."""
    at: datetime | None = Bot.objects.filter(dry_run=False).aggregate(at=Max("went_live_at"))["at"]
    return at
