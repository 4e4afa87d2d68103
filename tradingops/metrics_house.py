"""What the metrics tell of the console's own processes: who lives, what they hold, what waits, how they were started."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Min
from django_q.models import OrmQ

from bots.models import WorkerHeartbeat
from bots.models.worker import Lease, WorkerKind
from bots.workers.chores import LEASE
from bots.workers.database_time import database_time
from bots.workers.facts import ENDED, FACTS, HEARD_WITHIN_S
from bots.workers.leases import SHARD_COUNT, shard_lease
from tradingops import http_counts
from tradingops.metrics_sheet import Sheet
from tradingops.metrics_trading import age_s
from tradingops.web_heartbeat import DISK_FREE, STREAMS


def write_processes(sheet: Sheet, now: datetime) -> None:
    """Write what the heartbeats tell. All ages are by the database's clock, which the heartbeats are written by."""
    rows = list(WorkerHeartbeat.objects.annotate(at=database_time()).order_by("kind", "host"))
    for kind in sorted({row.kind for row in rows}):
        # One that has just handed over counts, as it does for the health check.
        sheet.set("heartbeat_age_seconds", min(age_s(row.seen_at, row.at) for row in rows if row.kind == kind), kind)
    living = [row for row in rows if age_s(row.seen_at, row.at) <= HEARD_WITHIN_S and not row.details.get(ENDED)]
    for kind, host in sorted({(row.kind, row.host) for row in living}):
        sheet.set("processes", sum((row.kind, row.host) == (kind, host) for row in living), kind, host)
    for host in sorted({row.host for row in living}):
        here = [row for row in living if row.host == host]
        _write_gates(sheet, host, here)
        _write_ticks(
            sheet, host, [row.details | {"life_s": _life_s(row)} for row in here if row.kind == WorkerKind.RUNNER]
        )
        _write_web(sheet, host, [row.details for row in here if row.kind == WorkerKind.WEB])


def _write_gates(sheet: Sheet, host: str, rows: Iterable[WorkerHeartbeat]) -> None:
    told = [row.details.get(FACTS, {}).get("gates", {}) for row in rows]
    for gate in sorted({name for gates in told for name in gates}):
        sheet.set("gate_open", any(gates[gate]["open"] for gates in told if gate in gates), gate, host)


def _write_ticks(sheet: Sheet, host: str, runners: list[dict[str, float]]) -> None:
    rates = [one["ticks"] / one["life_s"] for one in runners if "ticks" in one and one["life_s"] > 0]
    if rates:
        sheet.set("ticks_per_second", sum(rates), host)
    for quantile, name in (("0.99", "lag_ms_p99"), ("1", "lag_ms_max")):
        lags = [one[name] for one in runners if name in one]
        if lags:
            sheet.set("tick_lag_seconds", max(lags) / 1000, host, quantile)


def _write_web(sheet: Sheet, host: str, webs: list[dict[str, float]]) -> None:
    streams = [one[STREAMS] for one in webs if STREAMS in one]
    free = [one[DISK_FREE] for one in webs if DISK_FREE in one]
    if streams:
        sheet.set("stream_clients", sum(streams), host)
    if free:
        sheet.set("disk_free_bytes", min(free), host)


def _life_s(row: WorkerHeartbeat) -> float:
    return (row.seen_at - row.started_at).total_seconds()


def write_leases(sheet: Sheet, now: datetime) -> None:
    """Write which leases are held."""
    held = set(Lease.objects.filter(expires_at__gt=database_time()).exclude(holder="").values_list("name", flat=True))
    shards = sum(shard_lease(shard) in held for shard in range(SHARD_COUNT))
    sheet.set("shards", shards, "held")
    sheet.set("shards", SHARD_COUNT - shards, "free")
    sheet.set("chores_held", LEASE in held)


def write_queues(sheet: Sheet, now: datetime) -> None:
    """Write what waits in the work queues. A task that a worker has taken waits no more."""
    waiting = OrmQ.objects.filter(lock__lte=now).order_by()
    for queue, count, since in sorted(waiting.values_list("key").annotate(Count("pk"), Min("lock"))):
        sheet.set("queue_tasks", count, queue)
        sheet.set("queue_age_seconds", age_s(since, now), queue)


def write_requests(sheet: Sheet, now: datetime) -> None:
    """Write how many requests were answered, by all web processes together."""
    for method, route, status, count, took_s in http_counts.read():
        sheet.set("http_requests", count, method, route, status)
        sheet.set("http_request_seconds", took_s, method, route, status)
