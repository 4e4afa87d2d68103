"""When the market is open: round the clock for tests, by the exchange's week when that is asked for, or as a person orders."""

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPENS, CLOSES = "09:30", "16:00"
#: No session is further away than this.
DAYS_MAX = 15
DAY = timedelta(days=1)
FAR = timedelta(hours=12)


@dataclass(frozen=True)
class Session:
    """One trading day, in UTC."""

    date: date
    opens: datetime
    closes: datetime

    def holds(self, at: datetime) -> bool:
        return self.opens <= at < self.closes


class Hours:
    """The market's hours. ``forced`` (True, False) stands above the schedule; holidays and early closes are by date."""

    def __init__(self) -> None:
        self.is_round_the_clock = True
        self.forced: bool | None = None
        self.holidays: set[date] = set()
        self.early: dict[date, str] = {}
        self.skew_s = 0.0

    def now(self) -> datetime:
        """Return the venue's own time, which a test may set apart from the machine's."""
        return datetime.fromtimestamp(time.time() + self.skew_s, UTC)

    def is_open(self, at: datetime) -> bool:
        if self.forced is not None:
            return self.forced
        return (found := self.session(at.astimezone(NEW_YORK).date())) is not None and found.holds(at)

    def session(self, day: date) -> Session | None:
        """Return the session of a day in New York, None where the exchange is shut."""
        if self.is_round_the_clock:
            return Session(day, _moment(day, "00:00"), _moment(day + DAY, "00:00"))
        if day.weekday() > 4 or day in self.holidays:
            return None
        return Session(day, _moment(day, OPENS), _moment(day, self.early.get(day, CLOSES)))

    def next_open(self, at: datetime) -> datetime:
        return next(one.opens for one in self._from(at) if one.opens > at)

    def next_close(self, at: datetime) -> datetime:
        """Return the close after ``at``: round the clock hours away, or near midnight a test would see its orders expire."""
        least = at + FAR if self.is_round_the_clock else at
        return next(one.closes for one in self._from(at) if one.closes > least)

    def overlaps(self, begins: datetime, ends: datetime) -> bool:
        """Return whether any of the time between the two is in a session."""
        day = begins.astimezone(NEW_YORK).date()
        found = (self.session(day), self.session(day + DAY))
        return any(one is not None and one.opens < ends and begins < one.closes for one in found)

    def _from(self, at: datetime) -> list[Session]:
        today = at.astimezone(NEW_YORK).date()
        found = (self.session(today + number * DAY) for number in range(DAYS_MAX))
        return [one for one in found if one is not None]


def midnight(day: date) -> datetime:
    """Return when a day begins in New York: the stamp of a daily bar."""
    return _moment(day, "00:00")


@lru_cache(4096)
def _moment(day: date, clock: str) -> datetime:
    hour, minute = (int(part) for part in clock.split(":"))
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)
