"""Readiness checks on what trades: the workers and their queue, orders that are not settled, and the time on paper."""

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q
from django_q.models import OrmQ

from bots.models import Bot, BotStatus, Order
from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.order_states import OPEN_STATES, OrderStatus
from bots.workers.database_time import database_time
from bots.workers.heartbeats import live
from bots.workers.q2 import cluster_names, cluster_settings
from bots.workers.watchdog import plans
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, ok

HEARTBEAT_AGE_S_MAX = 30.0
TASK_AGE_S_MAX = 30.0
UNKNOWN_AGE_MAX = timedelta(minutes=5)
PAPER_DAYS_MIN = 14
NAMED_MAX = 5
TASKS_LOOKED_AT_MAX = 100
#: One worker of each kind has to be heard of: without runners nothing trades, without chores nothing is looked after.
WATCHED_KINDS = (WorkerKind.RUNNER, WorkerKind.CHORES)
#: What django-q2 must be set to so that no task runs twice or is lost (see docs/adr/0005-runner-tasks.md).
QUEUE_SETTINGS = {"orm": "default", "max_attempts": 1, "ack_failures": True, "catch_up": False, "bulk": 1}
START_WORKERS = "Start the workers: manage.py qcluster, or the whole console with make run. Then read what they print."


@register("workers_alive", "Workers were heard of in the last 30 s", Severity.BLOCKER)
def workers_alive(context: Context) -> Outcome:
    """Look for the latest heartbeat of each kind of worker, by the database's clock."""
    ages_s = {kind: _age_s(kind) for kind in WATCHED_KINDS}
    shown = "; ".join(
        f"{kind.label.lower()}: {'never' if age_s is None else f'{age_s:.0f} s ago'}" for kind, age_s in ages_s.items()
    )
    if any(age_s is None or age_s > HEARTBEAT_AGE_S_MAX for age_s in ages_s.values()):
        return failed(f"Last heard of: {shown}.", START_WORKERS)
    return ok(f"Last heard of: {shown}.")


def _age_s(kind: WorkerKind) -> float | None:
    rows = WorkerHeartbeat.objects.filter(kind=kind).annotate(asked_at=database_time()).order_by("-seen_at")
    last = rows.values_list("asked_at", "seen_at").first()
    return None if last is None else float((last[0] - last[1]).total_seconds())


@register("one_version", "All processes run one version", Severity.BLOCKER)
def one_version(context: Context) -> Outcome:
    """Compare the versions that the running processes tell."""
    versions = sorted({one.version for one in context.processes})
    if len(versions) != 1:
        shown = f"versions {', '.join(versions)} run side by side" if versions else "no process was heard of"
        return failed(
            f"Of the last half minute: {shown}.",
            "Stop every process of the console on every host, and start them all again from the same version.",
        )
    return ok(f"{len(context.processes)} processes run version {versions[0]}.")


@register("queue_settings", "The work queue hands no task out twice", Severity.BLOCKER)
def queue_settings(context: Context) -> Outcome:
    """Look at django-q2's settings, which decide whether a task runs once."""
    remedy = "Put back Q_CLUSTER in tradingops/q2.py as it was delivered, and start the console again."
    for name in cluster_names():
        try:
            found = cluster_settings(name)
        except ImproperlyConfigured as error:
            return failed(f"{error}.", remedy)
        wrong = [key for key, wanted in QUEUE_SETTINGS.items() if found.get(key) != wanted]
        if wrong:
            return failed(f"The cluster {name} is not set safely: {', '.join(wrong)}.", remedy)
    return ok("No task is handed out twice, and none is tried again by itself.")


@register("queue_moves", "No task waits longer than 30 s", Severity.BLOCKER)
def queue_moves(context: Context) -> Outcome:
    """Look for the oldest task that no worker has taken. One that is being worked on is locked, and not counted."""
    free = OrmQ.objects.filter(lock__lt=context.now - timedelta(seconds=TASK_AGE_S_MAX)).order_by("lock", "id")
    spare = _spare_shifts()
    late = [row for row in free[:TASKS_LOOKED_AT_MAX] if row.func() not in spare]
    if late:
        age_s = (context.now - late[0].lock).total_seconds()
        return failed(f"A task of the cluster {late[0].key} has waited for {age_s:.0f} s.", START_WORKERS)
    return ok(f"No task has waited for more than {TASK_AGE_S_MAX:.0f} s.")


def _spare_shifts() -> set[str]:
    """Return the shift tasks of which as many run as are wanted: one more may wait in the queue until a shift ends."""
    return {
        plan.function
        for plan in plans()
        if live(plan.kind).count() >= plan.per_cluster * max(1, _clusters(plan.cluster))
    }


def _clusters(name: str) -> int:
    return int(live(WorkerKind.CLUSTER).filter(worker_id__startswith=f"{name}@").count())


@register("orders_settled", "No live order is lost or unsettled", Severity.BLOCKER, per_venue=True)
def orders_settled(context: Context) -> Outcome:
    """Look for live orders whose outcome is not known since 5 minutes, and for open ones that no bot looks after."""
    live = Order.objects.filter(venue=context.venue, is_live=True)
    in_doubt = live.filter(status__in=(OrderStatus.UNKNOWN, OrderStatus.SUBMITTING))
    since = context.now - UNKNOWN_AGE_MAX
    old = in_doubt.filter(Q(submitting_at__lt=since) | Q(submitting_at__isnull=True, created_at__lt=since))
    if ids := list(old.order_by("id").values_list("client_order_id", flat=True)[: NAMED_MAX + 1]):
        return failed(
            f"The outcome of these orders is not known since more than 5 minutes: {_shown(ids)}.",
            "Look the orders up at the venue by these ids, and see docs/runbook.md; workers go on asking meanwhile.",
        )
    orphans = live.filter(status__in=OPEN_STATES).filter(Q(bot__isnull=True) | Q(bot__status=BotStatus.ARCHIVED))
    if ids := list(orphans.order_by("id").values_list("client_order_id", flat=True)[: NAMED_MAX + 1]):
        return failed(
            f"These orders are open, and no bot looks after them: {_shown(ids)}.",
            "Cancel them, on the page Orders or at the venue.",
        )
    return ok("No live order is in doubt, and each open one has its bot.")


def _shown(ids: list[str]) -> str:
    return ", ".join(ids[:NAMED_MAX]) + (" and more" if len(ids) > NAMED_MAX else "")


@register("paper_run", "Two weeks on paper before live", Severity.WARNING)
def paper_run(context: Context) -> Outcome:
    """Compare the days on paper of each bot that is set live with 14; without one, those since the first paper order."""
    live = Bot.objects.filter(dry_run=False).exclude(status=BotStatus.ARCHIVED).order_by("name")
    days = {bot.name: ((bot.went_live_at or context.now) - bot.created_at).days for bot in live}
    if not days:
        first = Order.objects.filter(is_live=False).order_by("id").values_list("created_at", flat=True).first()
        days = {"The console": 0 if first is None else (context.now - first).days}
    short = [f"{name}: {count} days" for name, count in days.items() if count < PAPER_DAYS_MIN]
    if short:
        return failed(
            f"On paper for less than {PAPER_DAYS_MIN} days: {'; '.join(short[:NAMED_MAX])}.",
            f"Let the bot run on paper for {PAPER_DAYS_MIN} days, and look at what it did, before it is set live.",
        )
    return ok(f"On paper for {PAPER_DAYS_MIN} days or more: {', '.join(list(days)[:NAMED_MAX])}.")
