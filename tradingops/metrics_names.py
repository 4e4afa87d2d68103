"""Every metric of ``/metrics``: its kind, its labels, and what it means. docs/monitoring.md is tested against this."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How Prometheus takes a metric's values."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter's name has no ``_total`` here: the format adds it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def shown_name(self) -> str:
        """Return the name under which queries find it."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names of what it exports."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{end}" for end in ("bucket", "count", "sum"))
        return (self.shown_name,)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"tradingops_{name}", Kind.GAUGE, text, labels)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"tradingops_{name}", Kind.COUNTER, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"tradingops_{name}", Kind.HISTOGRAM, text, labels)


_ALL = (
    _gauge("database_up", "1 while the database answers, else 0; then only what needs no database is told"),
    _gauge("info", "Always 1; the version of the console that answers", "version"),
    _gauge("mode", "1 for the mode that holds: paper, live or rehearsal", "mode"),
    _gauge("trading_state", "1 for the state that holds for everything: active, reducing or halted", "state"),
    _gauge("scopes_held", "Venues or bots that are held back by themselves", "kind", "state"),
    _gauge("gate_open", "1 where any running process of a host was started with the gate open", "gate", "host"),
    _counter("order_events", "Rows of the order audit by event; is_live is 1 for real orders", "is_live", "venue", "event"),
    _counter("denials", "Reasons for which orders were denied; one denial may have several", "is_live", "code"),
    _gauge("orders_open", "Orders that have not ended, by their state", "is_live", "venue", "state"),
    _gauge("unknown_order_age_seconds", "Since the oldest order of unknown outcome was sent", "is_live", "venue"),
    _histogram(
        "submit_seconds",
        "From the commit of an order's sending to its answer; broker is venue or built_in",
        "is_live", "venue", "broker",
    ),
    _histogram("kill_blocked_seconds", "From a halt's call until nothing new could be sent"),
    _histogram("kill_drained_seconds", "From a halt until nothing was under way any more"),
    _gauge("kill_runs_unfinished", "Halts that still have something to cancel or to wait for"),
    _gauge("tally_behind_events", "Order events that the totals above do not hold yet"),
    _gauge("bots", "Bots by status", "is_live", "status"),
    _gauge("bots_held", "Bots whose entries wait for a person"),
    _gauge("autopilot_enabled", "1 while the autopilot is switched on, else 0"),
    _gauge("autopilot_live", "1 while it is on and may trade with real money, else 0"),
    _gauge("autopilot_heartbeat_age_seconds", "While it is on: since its last whole cycle ended"),
    _gauge("autopilot_interval_seconds", "How often it begins a cycle"),
    _gauge("autopilot_cycles_last_hour", "Its cycles that began in the last hour: running, done, failed or lost", "status"),
    _gauge("autopilot_slots", "How many bots it may have"),
    _gauge("autopilot_bots", "Bots that it made and that are not archived", "is_live", "status"),
    _gauge("autopilot_stopped", "1 while one of its own limits on losses keeps it from making bots, else 0", "is_live"),
    _gauge("autopilot_recommendations", "Symbols that its last whole cycle scanned, by what is allowed there", "action"),
    _gauge("processes", "Processes heard of in the last 30 s", "kind", "host"),
    _gauge("heartbeat_age_seconds", "Since the youngest process of a kind was heard of, on any host", "kind"),
    _gauge("shards", "Shards of the bots: held by a runner, or free", "state"),
    _gauge("chores_held", "1 while a worker does the chores, else 0"),
    _gauge("ticks_per_second", "Ticks of bots, averaged over the shifts under way", "host"),
    _gauge("tick_lag_seconds", "How late the last thousand ticks of the slowest runner were", "host", "quantile"),
    _gauge("queue_tasks", "Tasks that wait in a work queue", "queue"),
    _gauge("queue_age_seconds", "How long the oldest waiting task of a queue has been waiting", "queue"),
    _gauge("notification_messages", "Messages that wait for a channel, or that were given up (dead)", "channel", "state"),
    _gauge("notification_oldest_age_seconds", "Since the first cause of what waits for a channel", "channel"),
    _gauge("notification_failing_seconds", "For how long a channel has been failing; 0 while it works", "channel"),
    _gauge("notifications_unplanned", "What is to be told and stands in no message yet"),
    _gauge("notifications_unseen", "Urgent notifications that nobody has marked as seen"),
    _gauge("reconciliation_age_seconds", "Since an account was last compared with its venue", "account"),
    _gauge("reconciliation_failing_seconds", "For how long the comparing of an account has been failing", "account"),
    _gauge("differences_open", "What our books and the venue disagree about", "account"),
    _gauge("chain_height", "Rows of an audit chain", "chain"),
    _gauge("anchor_height", "The row of an audit chain that was anchored last", "chain"),
    _gauge("anchor_age_seconds", "Since an audit chain was anchored last", "chain"),
    _counter("audit_findings", "Breaks of the audit chains that the watch has reported"),
    _gauge("venue_rate_used_ratio", "How much of a venue's limit on requests is used, 0 to 1, as we reckon it", "account"),
    _gauge("venue_rate_held_back", "What was not asked of a venue in this hour, since too little was left", "account"),
    _gauge("readiness_age_seconds", "Since the last run of the readiness checks ended"),
    _gauge("stream_clients", "Event streams that are open", "host"),
    _gauge("disk_free_bytes", "Free space where the console keeps its files", "host"),
    _counter("http_requests", "Requests by route and status, of all web processes", "method", "route", "status"),
    _counter("http_request_seconds", "Time that those requests took together", "method", "route", "status"),
)  # fmt: skip
METRICS = {metric.name.removeprefix("tradingops_"): metric for metric in _ALL}
