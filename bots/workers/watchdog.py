"""Keeps the wanted number of shift tasks alive: whoever notices first queues what is missing."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from bots.models.worker import Lease, WorkerKind
from bots.workers.heartbeats import live
from bots.workers.q2 import cluster_settings

log = logging.getLogger(__name__)

#: Queue rows of shift tasks are deleted when a worker takes them; one still locked after this long lost its worker.
TAKEN_ROW_DEAD_AFTER_S = 15.0
#: The group that marks a task whose queue row is deleted when it is taken, not when it is done.
SHIFT_GROUP = "shift"
#: A shift may run this much longer than its life before it is killed, in seconds.
OVERTIME_S = 60
#: More tasks than this in one queue: nothing is added to it.
ROWS_MAX = 500
SCHEDULE_NAME = "tradingops watchdog"
#: What is called each minute, the last resort should every shift be gone: a function for each name.
SCHEDULES = {SCHEDULE_NAME: "bots.tasks.watchdog", "tradingops autopilot": "bots.tasks.autopilot_watchdog"}
_ROW = "watchdog"


@dataclass(frozen=True)
class ShiftPlan:
    """One kind of shift task: the cluster that carries it, its function, and how many each such cluster shall run."""

    kind: WorkerKind
    cluster: str
    function: str
    per_cluster: int


def shift_life_s() -> int:
    """Return how long a shift task works before it hands over, in seconds."""
    return int(getattr(settings, "SHIFT_LIFE_S", 300))


def plans() -> tuple[ShiftPlan, ...]:
    """Return every kind of shift task. Each cluster of runners carries one runner more than is needed."""
    wanted = int(getattr(settings, "RUNNERS_WANTED", 2))
    return (
        ShiftPlan(WorkerKind.RUNNER, "runners", "bots.tasks.run_shift", wanted),
        ShiftPlan(WorkerKind.CHORES, "slow", "bots.tasks.run_chores", 1),
    )


def wanted_per_cluster(kind: WorkerKind) -> int:
    """Return how many shifts of a kind one cluster shall carry."""
    return next(plan.per_cluster for plan in plans() if plan.kind == kind)


def top_up() -> int:
    """Queue the shift tasks that are missing; return how many. Safe to call at any time, by many at once."""
    if not any(_missing(plan, stale=[]) for plan in plans()):
        return 0
    with transaction.atomic():
        if not _only_one_here():
            return 0
        return sum(_queue_missing(plan) for plan in plans())


def _only_one_here() -> bool:
    # Whoever finds the row locked leaves: the other is just doing the same.
    skip = connection.features.has_select_for_update_skip_locked
    row = Lease.objects.select_for_update(skip_locked=skip).filter(pk=_ROW)
    if row.exists():
        return True
    Lease.objects.bulk_create([Lease(name=_ROW, expires_at=timezone.now())], ignore_conflicts=True)
    return row.exists()


def _queue_missing(plan: ShiftPlan) -> int:
    stale: list[int] = []
    missing = _missing(plan, stale)
    OrmQ.objects.filter(pk__in=stale).delete()
    for _ in range(missing):
        log.info("queueing a %s shift", plan.kind)
        queue_shift(plan)
    return missing


def _missing(plan: ShiftPlan, stale: list[int]) -> int:
    """Return how many shifts are missing; add the rows that a dead worker had taken to ``stale``."""
    clusters = live(WorkerKind.CLUSTER).filter(worker_id__startswith=f"{plan.cluster}@").count()
    missing = plan.per_cluster * clusters - live(plan.kind).count()
    if missing <= 0:
        return 0
    rows = list(OrmQ.objects.filter(key=plan.cluster)[: ROWS_MAX + 1])
    if len(rows) > ROWS_MAX:
        log.error("more than %s tasks wait for the cluster %s", ROWS_MAX, plan.cluster)
        return 0
    now = timezone.now()
    # A row's lock is the time it was taken plus the retry time.
    untouched = timedelta(seconds=cluster_settings(plan.cluster)["retry"] - TAKEN_ROW_DEAD_AFTER_S)
    for row in rows:
        if row.func() != plan.function:
            continue
        if row.lock is not None and now < row.lock < now + untouched:
            stale.append(row.pk)
        else:
            missing -= 1
    return max(0, missing)


def queue_shift(plan: ShiftPlan) -> None:
    """Queue one shift task."""
    async_task(
        plan.function,
        cluster=plan.cluster,
        group=SHIFT_GROUP,
        task_name=f"{plan.kind} shift",
        timeout=shift_life_s() + OVERTIME_S,
        save=False,
    )


def create_schedule() -> None:
    """Create the schedules of SCHEDULES, those that are missing."""
    there = set(Schedule.objects.filter(name__in=SCHEDULES).values_list("name", flat=True))
    for name, function in SCHEDULES.items():
        if name not in there:
            Schedule.objects.create(name=name, func=function, schedule_type=Schedule.MINUTES, minutes=1, cluster="slow")
