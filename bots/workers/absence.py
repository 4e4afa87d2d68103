"""Silence as an alarm: who should be at work and was not heard of. Told once for each outage, and once when it is over.

Every web process and the worker that does the chores look, so that somebody notices whichever dies. What was told stands in the
database: who looks next, on any host, goes on from there. A planned stop takes the heartbeats away too; while the console's
pages still answer that is silence all the same, since nothing trades.
"""

import json
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import transaction
from django.db.models import Count, Max, Q

from audit.fields import canonical_json
from bots.models import Bot, BotStatus, Order
from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.order_states import OPEN_STATES
from bots.workers.database_time import database_time
from safety.models import Setting
from safety.notifications.messages import Severity
from safety.notifications.outbox import tell

log = logging.getLogger(__name__)

EVENT = "worker_down"
#: Health calls a console unhealthy after as long.
SILENT_AFTER_S = 30.0
#: A console that has just started gives its workers so long to be heard of.
GRACE_S = 45.0
#: What is seen has to stay the same for so long.
STEADY_S = 8.0
#: What was told and is not over yet: names of kinds (``runner``, ``chores``), and ``host:NAME``.
KEY = "worker_watch"
HOST = "host:"
RUNNER, CHORES, CLUSTER = WorkerKind.RUNNER.value, WorkerKind.CHORES.value, WorkerKind.CLUSTER.value
_TITLES = {
    frozenset({RUNNER, CHORES}): "No worker is alive: nothing trades, and nobody watches",
    frozenset({RUNNER}): "No worker ticks the bots: nothing trades",
    frozenset({CHORES}): "No worker does the watching",
}
_MEANS = {
    frozenset({RUNNER, CHORES}): (
        "Bots do not tick, their exits are not managed, and what the venues do is not followed. What rests at a venue goes on"
        " resting."
    ),
    frozenset({RUNNER}): "Bots do not tick and their exits are not managed. What rests at a venue goes on resting.",
    frozenset({CHORES}): (
        "Bots tick, but nobody compares the books with the venues, follows orders whose outcome is unknown, watches losses or"
        " finishes what the kill switch began."
    ),
}
_DO = (
    " Look at the host: is the console running, has it memory and disk left? Start it with make run or manage.py qcluster, and"
    " read what it prints. Worried about what is held? Look at the venue's own page."
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the heartbeats say: who is silent, and when each was heard of last (None: never, or it ended as planned)."""

    silent: frozenset[str]
    seen_at: dict[str, datetime | None]


@dataclass
class Watch:
    """One process that looks again and again. Only what stays the same for a while counts: a machine that slept, or a database
    that was away, lets everybody look silent for a moment.
    """

    grace_s: float = GRACE_S
    steady_s: float = STEADY_S
    _began_s: float = field(default_factory=time.monotonic)
    _seen: frozenset[str] | None = None
    _seen_since_s: float = 0.0

    def look(self, now: datetime) -> frozenset[str]:
        """Tell of what is newly silent and of what is over, and return what is silent for sure. Raises django.db.Error."""
        before, self._seen = self._seen, None
        silent = look_around().silent
        clock_s = time.monotonic()
        if silent != before:
            self._seen_since_s = clock_s
        self._seen = silent
        if clock_s - self._seen_since_s < self.steady_s:
            return frozenset()
        may_begin = clock_s - self._began_s >= self.grace_s
        told = _stored()
        if told - silent or (may_begin and silent - told):
            _settle(now, may_begin=may_begin)
        return silent if may_begin else frozenset()


def look_around() -> Sight:
    """Read the heartbeats, by the database's clock."""
    rows = WorkerHeartbeat.objects.filter(kind__in=(RUNNER, CHORES, CLUSTER)).order_by().values_list("kind", "host")
    fresh = Count("pk", filter=Q(seen_at__gt=database_time(-SILENT_AFTER_S)))
    found_rows = rows.annotate(last_at=Max("seen_at"), fresh=fresh)
    last = {(kind, host): (at, bool(count)) for kind, host, at, count in found_rows}
    seen_at: dict[str, datetime | None] = {}
    for kind in (RUNNER, CHORES):
        found = [one for (of, _), one in last.items() if of == kind]
        if not any(is_fresh for _, is_fresh in found):
            seen_at[kind] = max((at for at, _ in found), default=None)
    clusters = {host: one for (kind, host), one in last.items() if kind == CLUSTER}
    # Where no host is left, that is told of as a whole.
    if any(is_fresh for _, is_fresh in clusters.values()):
        # Stopped as planned, a host would have taken its heartbeats away.
        seen_at |= {HOST + host: at for host, (at, is_fresh) in clusters.items() if not is_fresh}
    return Sight(frozenset(seen_at), seen_at)


def _stored() -> frozenset[str]:
    text = Setting.objects.filter(key=KEY).values_list("value", flat=True).first()
    return _parsed(text)


def _parsed(text: str | None) -> frozenset[str]:
    try:
        return frozenset(str(one) for one in json.loads(text or "[]"))
    except (ValueError, TypeError):
        # A note to ourselves: without it what is silent is told once more.
        return frozenset()


def _settle(now: datetime, *, may_begin: bool) -> None:
    """Tell what is new and what is over, in one transaction that only one process at a time gets through."""
    with transaction.atomic(durable=True):
        Setting.objects.bulk_create([Setting(key=KEY, value="[]")], ignore_conflicts=True)
        row = Setting.objects.select_for_update().get(key=KEY)
        told, sight = _parsed(row.value), look_around()
        begun = sight.silent - told if may_begin else frozenset()
        over = told - sight.silent
        if not begun and not over:
            return
        _tell_begun(begun, sight, now)
        _tell_over(over, told - over, now)
        row.value = canonical_json(sorted((told | begun) - over))
        row.save(update_fields=["value"])


def _tell_begun(begun: frozenset[str], sight: Sight, now: datetime) -> None:
    kinds = begun & {RUNNER, CHORES}
    if kinds:
        seen_at = max((at for name in kinds if (at := sight.seen_at[name]) is not None), default=None)
        heard = "It was stopped, or never started." if seen_at is None else f"Last heard of at {_clock(seen_at)}."
        # Those that were silent before are still missing: what is said is about all of them.
        missing = frozenset(sight.silent & {RUNNER, CHORES})
        log.error("no worker is heard of: %s", ", ".join(sorted(missing)))
        tell(EVENT, "workers", _TITLES[missing], f"{heard} {_MEANS[missing]}{_DO}", facts=_facts(seen_at), at=now)
    for name in sorted(begun - kinds):
        host = name.removeprefix(HOST)
        heard = _clock(sight.seen_at[name])
        text = (
            f"Its workers were last heard of at {heard} and did not stop as planned. The other hosts have taken its bots over."
            " Look whether that machine is still up; what ran there alone, its web pages too, may be gone."
        )
        facts = (("Host", host), ("Last heard of", heard))
        tell(
            EVENT,
            f"host:{host}",
            f"The workers of host {host} vanished",
            text,
            facts=facts,
            severity=Severity.WARNING,
            at=now,
        )


def _tell_over(over: frozenset[str], still: frozenset[str], now: datetime) -> None:
    if over & {RUNNER, CHORES} and not still & {RUNNER, CHORES}:
        text = "Workers are heard of again. Look at the bots and at what happened meanwhile: an old order is never sent late."
        tell(EVENT, "workers", "The workers are back", text, severity=Severity.INFO, at=now)
    for name in sorted(one for one in over if one.startswith(HOST)):
        host = name.removeprefix(HOST)
        # A row that was only forgotten is no sign of life.
        if WorkerHeartbeat.objects.filter(kind=WorkerKind.CLUSTER, host=host).exists():
            tell(EVENT, name, f"The workers of host {host} are back", severity=Severity.INFO, at=now)


def _facts(seen_at: datetime | None) -> tuple[tuple[str, str], ...]:
    live = Bot.objects.filter(dry_run=False).exclude(status=BotStatus.ARCHIVED).count()
    resting = Order.objects.filter(deadline_at__isnull=False, bot__isnull=False, status__in=OPEN_STATES).count()
    heard = "never, or stopped" if seen_at is None else _clock(seen_at)
    return (("Last heard of", heard), ("Live bots", str(live)), ("Open orders at venues", str(resting)))


def _clock(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
