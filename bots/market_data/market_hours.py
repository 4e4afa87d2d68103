"""When US stocks are traded: the regular sessions of the New York Stock Exchange, holidays and early closes included.

Before and after the session there is some trade, too, at wide prices: for this house the market is closed then. The sessions
come of exchange-calendars, which knows them for years ahead; it is loaded at the first question, since it brings pandas with
it (half a second, 65 MB). What the exchange decides overnight, such as a day of mourning, only the venue's own clock tells.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

from bots.market_data.base import MarketDataError
from bots.market_data.datasets import Ints

EXCHANGE = "XNYS"
NEW_YORK = ZoneInfo("America/New_York")
#: An ordinary session: from 9:30 to 16:00 in New York.
SESSION_S = Decimal(23_400)
YEARS_BACK = 12
YEARS_AHEAD = 1
_MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_loading = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """An exchange's sessions, oldest first, as microseconds since 1970 in UTC; each is ``[open, close)``."""

    opens_us: Ints
    closes_us: Ints
    _before_us: Ints

    @classmethod
    def of(cls, opens_us: Ints, closes_us: Ints) -> "Sessions":
        """Return the sessions that open and close at these moments."""
        return cls(opens_us, closes_us, np.concatenate(([0], np.cumsum(closes_us - opens_us))))

    def is_open(self, now: datetime) -> bool:
        """Return whether ``now`` lies in a session. Raises MarketDataError for a time that no calendar reaches."""
        us = self._us(now)
        place = int(np.searchsorted(self.opens_us, us, side="right")) - 1
        return us < int(self.closes_us[place])

    def next_open(self, now: datetime) -> datetime:
        """Return when the first session after ``now`` opens. Raises MarketDataError for a time that no calendar reaches."""
        place = int(np.searchsorted(self.opens_us, self._us(now), side="right"))
        if place == len(self.opens_us):
            raise MarketDataError("the exchange's calendar ends here")
        return datetime.fromtimestamp(int(self.opens_us[place]) // _MICROS, UTC)

    def next_close(self, now: datetime) -> datetime:
        """Return when the first session that ends after ``now`` closes. Raises MarketDataError for a time beyond the calendar."""
        place = int(np.searchsorted(self.closes_us, self._us(now), side="right"))
        if place == len(self.closes_us):
            raise MarketDataError("the exchange's calendar ends here")
        return datetime.fromtimestamp(int(self.closes_us[place]) // _MICROS, UTC)

    def open_s(self, since: datetime, until: datetime) -> Decimal:
        """Return how many of the seconds from ``since`` to ``until`` lie in sessions, exact to the microsecond.

        Below zero when ``until`` comes first. Raises MarketDataError for a time that no calendar reaches.
        """
        before, after = self._open_until(np.array([self._us(since), self._us(until)], dtype=np.int64))
        return Decimal(int(after - before)).scaleb(-6)

    def touched(self, opened_at_s: Ints, length_s: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Return for each stretch of ``length_s`` seconds, by when it begins (epoch seconds), whether a session is in it."""
        begin = opened_at_s * _MICROS
        found: np.ndarray[tuple[int], np.dtype[np.bool_]] = self._open_until(begin + length_s * _MICROS) > (
            self._open_until(begin)
        )
        return found

    def _open_until(self, us: Ints) -> Ints:
        """Return how much session time had passed at each moment, counted from the first session."""
        place = np.searchsorted(self.opens_us, us, side="right") - 1
        # Before the first session nothing has passed.
        known = np.maximum(place, 0)
        in_session = np.clip(us - self.opens_us[known], 0, self.closes_us[known] - self.opens_us[known])
        passed: Ints = np.where(place < 0, 0, self._before_us[known] + in_session)
        return passed

    def _us(self, moment: datetime) -> int:
        since_epoch = moment - _EPOCH
        us = (since_epoch.days * 86_400 + since_epoch.seconds) * _MICROS + since_epoch.microseconds
        if not int(self.opens_us[0]) <= us <= int(self.closes_us[-1]):
            raise MarketDataError(
                f"the exchange's calendar does not reach {moment:%Y-%m-%d}: is this host's clock right?"
            )
        return us


#: Of a market that never closes, until the year 2200: a rehearsal's.
ROUND_THE_CLOCK = Sessions.of(np.array([0], dtype=np.int64), np.array([7_258_118_400 * _MICROS], dtype=np.int64))


def sessions_at(now: datetime) -> Sessions:
    """Return the sessions of the years around ``now``. Raises MarketDataError when the calendar cannot be made."""
    with _loading:
        return _sessions(now.astimezone(NEW_YORK).year)


@cache
def _sessions(year: int) -> Sessions:
    # Only now: see the module's text.
    import exchange_calendars

    try:
        calendar = exchange_calendars.get_calendar(
            EXCHANGE, start=f"{year - YEARS_BACK}-01-01", end=f"{year + YEARS_AHEAD}-12-31"
        )
    except ValueError as error:
        # A year that no calendar has, from a clock that is wrong.
        raise MarketDataError(f"there is no exchange calendar of {year}") from error
    opens, closes = (
        np.asarray(nanos, dtype=np.int64) // 1_000 for nanos in (calendar.opens_nanos, calendar.closes_nanos)
    )
    return Sessions.of(opens, closes)


def until_text(moment: datetime) -> str:
    """Return a moment as people read it: ``Mon 14:30 UTC``."""
    return f"{moment.astimezone(UTC):%a %H:%M} UTC"
