"""Whether the console is fit to serve: the database answers, and a worker has been seen lately."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from bots.models.worker import WorkerKind
from safety.intents import Level
from safety.kill_switch import read_state
from safety.latches import copy_to_row
from tradingops import __version__
from tradingops.live_bots import anything_live_sql, is_anything_live
from tradingops.shared import Shared

HEARTBEAT_AGE_S_MAX = 30
#: One statement for all of it: monitors and load balancers ask this more often than people ask anything. A cycle from before
#: the autopilot was last switched on is no sign of life.
_SEEN_SQL = (
    "SELECT (SELECT MAX(seen_at) FROM worker_heartbeats WHERE kind = %s), (SELECT state.heartbeat_at FROM autopilot_state state "
    "JOIN autopilot_config config ON config.id = state.id WHERE config.enabled "
    "AND (state.enabled_at IS NULL OR state.heartbeat_at >= state.enabled_at)), "
)
_STARTED_S = time.monotonic()


class Mode(StrEnum):
    """What the console trades with: loopback venues, real money, or paper."""

    REHEARSAL = "rehearsal"
    LIVE = "live"
    PAPER = "paper"


@dataclass(frozen=True, slots=True)
class Health:
    """What ``/api/health`` tells. Ages are in seconds, None where nothing was ever seen or nothing can be read."""

    status: str
    version: str
    uptime_s: int
    database: str
    worker_heartbeat_age_s: float | None
    autopilot_heartbeat_age_s: float | None
    trading_state: str
    mode: str

    @property
    def is_healthy(self) -> bool:
        """Return whether the console is fit to serve."""
        return self.status == "ok"


def current_mode() -> Mode:
    """Return what the console trades with. Raises DatabaseError when the bots can't be read."""
    return _mode(is_anything_live())


def _mode(is_live: bool) -> Mode:
    if settings.ENVIRONMENT.is_rehearsal:
        return Mode.REHEARSAL
    return Mode.LIVE if is_live else Mode.PAPER


@dataclass(frozen=True, slots=True)
class _Seen:
    """Seconds since any runner was last seen, and since the autopilot ended a cycle; and what the console trades with.

    None for never; of the autopilot also while it is off, and until a cycle has ended since it was switched on.
    """

    worker_age_s: float | None
    autopilot_age_s: float | None
    mode: Mode


def _look(*, now: datetime) -> _Seen:
    """Return what the database has. Raises DatabaseError."""
    question, values = anything_live_sql(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(_SEEN_SQL + question, [WorkerKind.RUNNER.value, *values])
        worker, autopilot, is_live = cursor.fetchone()
    return _Seen(_age_s(worker, now), _age_s(autopilot, now), _mode(bool(is_live)))


def _age_s(found: datetime | str | None, now: datetime) -> float | None:
    seen_at = datetime.fromisoformat(found) if isinstance(found, str) else found
    if seen_at is not None and seen_at.tzinfo is None:
        # SQLite gives a column's times without their offset, and an aggregate's as texts: all are UTC.
        seen_at = seen_at.replace(tzinfo=UTC)
    return None if seen_at is None else round((now - seen_at).total_seconds(), 1)


def read_health() -> Health:
    """Return the console's health. A halted console is healthy; one without database or workers is not."""
    copy_to_row()
    try:
        seen = _look(now=timezone.now())
    except DatabaseError:
        seen = None
    age_s = None if seen is None else seen.worker_age_s
    fresh = age_s is not None and age_s <= HEARTBEAT_AGE_S_MAX
    return Health(
        status="ok" if fresh else "unhealthy",
        version=__version__,
        uptime_s=int(time.monotonic() - _STARTED_S),
        database="down" if seen is None else "ok",
        worker_heartbeat_age_s=age_s,
        autopilot_heartbeat_age_s=None if seen is None else seen.autopilot_age_s,
        # Fail closed: what can't be read is called neither active nor paper.
        trading_state=(Level.HALTED if seen is None else read_state().level).value,
        mode="unknown" if seen is None else seen.mode.value,
    )


#: What the API asks: checks that come at the same time share one reading, which began after each of them.
shared_health = Shared(read_health)
