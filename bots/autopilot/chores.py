"""When the autopilot works: its cycles are queued for the slow cluster, and its losses and heartbeat are watched."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django_q.models import OrmQ
from django_q.tasks import async_task

from bots.autopilot import config as settings_of
from bots.autopilot import losses, state
from bots.autopilot.silence import tell_late
from bots.markets import Moment
from bots.models import AutopilotBot, AutopilotCycle, AutopilotDecision, AutopilotState, Recommendation
from bots.workers.chores import chore

log = logging.getLogger(__name__)
CLUSTER = "slow"
TASK = "bots.tasks.run_autopilot"
#: Below the cluster's retry, which would hand the task out a second time.
TASK_TIMEOUT_S = 55
#: More rows than this in the queue: none is added.
ROWS_MAX = 500
KEEP = timedelta(days=30)
FORGET_AT_ONCE = 5_000


@chore(every_s=1)
def queue_cycle(now: datetime) -> None:
    """Queue a cycle when one is due and none waits."""
    queue_if_due(now)


def queue_if_due(now: datetime) -> bool:
    """Queue one cycle for the slow cluster if the autopilot is on and due; return whether that was done.

    Safe to call at any time, by many at once: whoever moves ``next_at`` on queues it, in the same transaction.
    """
    config = settings_of.read()
    if not config.enabled:
        return False
    due_at, interval = state.read().next_at, timedelta(seconds=config.scan_interval_s)
    # A time further ahead than an interval was written before the clock was set back, or the interval made shorter.
    if due_at is not None and now < due_at <= now + interval:
        return False
    if _is_queued():
        return False
    with transaction.atomic():
        if AutopilotState.objects.filter(pk=1, next_at=due_at).update(next_at=now + interval) != 1:
            return False
        async_task(TASK, cluster=CLUSTER, task_name="autopilot cycle", timeout=TASK_TIMEOUT_S, save=False)
    return True


def _is_queued() -> bool:
    """Return whether a cycle waits in the queue, or so much else that nothing is to be added."""
    rows = list(OrmQ.objects.filter(key=CLUSTER)[: ROWS_MAX + 1])
    if len(rows) > ROWS_MAX:
        log.error("more than %s tasks wait for the cluster %s: no cycle is queued", ROWS_MAX, CLUSTER)
        return True
    return any(row.func() == TASK for row in rows)


@chore(every_s=10)
def watch_losses(now: datetime) -> None:
    """Measure what its bots made, on paper and live, and pause those that run where a limit is reached; also while it is off."""
    if not AutopilotBot.objects.exists():
        return
    config, moment = settings_of.read(), Moment(now)
    try:
        losses.hold_bots(losses.measure(config, moment, is_live=True).losses, now)
    finally:
        # Whatever is wrong there, what is lost on paper is measured.
        losses.hold_bots(losses.measure(config, moment, is_live=False).losses, now)


@chore(every_s=5)
def watch_heartbeat(now: datetime) -> None:
    """Tell once when the heartbeat is older than twice the interval: the part that acts while nobody watches does not act."""
    config, known = settings_of.read(), state.read()
    last = state.late_since(config, known, now)
    if last is None or known.told_late_at == last:
        return
    with transaction.atomic():
        AutopilotState.objects.filter(pk=1).update(told_late_at=last)
        tell_late(config, known, last, now)


@chore(every_s=60)
def forget_old(now: datetime) -> None:
    """Delete cycles, decisions and recommendations that are older than they are kept, a bounded number at a time."""
    for model, field in (
        (AutopilotDecision, "decided_at"),
        (Recommendation, "scanned_at"),
        (AutopilotCycle, "started_at"),
    ):
        old = model.objects.filter(**{f"{field}__lt": now - KEEP}).order_by("pk")
        model.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGET_AT_ONCE])).delete()
