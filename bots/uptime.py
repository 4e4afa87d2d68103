"""For how many minutes of each UTC day a worker ticked the bots. Kept since nothing else remembers that nobody was there."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from audit import tallies

NAME = "worker_uptime"
DAYS_KEPT = 40
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Uptime:
    """Of ``minutes`` in which the console could have been at work on a day, it was in ``up``."""

    up: int
    minutes: int

    @property
    def percent_text(self) -> str:
        """Return the share in percent, rounded down: nothing but a whole day is called 100 %."""
        tenths = 1000 * self.up // self.minutes if self.minutes else 0
        return f"{tenths // 10}.{tenths % 10} %"


def count(now: datetime) -> None:
    """Count the minute that ``now`` lies in, once. Whoever calls this has seen a worker at work. Raises django.db.Error."""
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    if tallies.read(NAME).get("minute") != minute.isoformat():
        tallies.change(NAME, lambda kept: _counted(kept, minute))


def of_day(day: date) -> Uptime | None:
    """Return a day's uptime, None for one before the first minute that was ever counted. Raises django.db.Error."""
    kept = tallies.read(NAME)
    if "since" not in kept:
        return None
    starts_at = datetime.combine(day, time(), UTC)
    ends_at = starts_at + timedelta(days=1)
    since = max(starts_at, datetime.fromisoformat(kept["since"]))
    if since >= ends_at:
        return None
    minutes = (ends_at - since) // MINUTE
    return Uptime(min(int(kept["days"].get(day.isoformat(), 0)), minutes), minutes)


def _counted(kept: dict[str, Any], minute: datetime) -> dict[str, Any]:
    if kept.get("minute") == minute.isoformat():
        return kept
    days = dict(kept.get("days", {}))
    day = minute.date().isoformat()
    days[day] = days.get(day, 0) + 1
    newest = dict(sorted(days.items())[-DAYS_KEPT:])
    return {"since": kept.get("since", minute.isoformat()), "minute": minute.isoformat(), "days": newest}
