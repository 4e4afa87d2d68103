"""The New York sessions at fixed moments: daylight saving, weekends, holidays and early closes."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from bots.market_data.base import MarketDataError
from bots.market_data.market_hours import SESSION_S, Sessions, sessions_at, until_text


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def hours() -> Sessions:
    return sessions_at(utc("2025-11-20"))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2025-10-31 13:29:59.999999", False),  # summer time in New York: 9:30 is 13:30 UTC
        ("2025-10-31 13:30", True),
        ("2025-10-31 19:59:59.999999", True),
        ("2025-10-31 20:00", False),
        ("2025-11-03 13:30", False),  # winter time began on the Sunday between
        ("2025-11-03 14:30", True),
        ("2025-11-03 20:59", True),
        ("2025-11-03 21:00", False),
        ("2025-11-01 15:00", False),  # a Saturday
        ("2025-11-27 15:00", False),  # Thanksgiving
        ("2025-11-28 17:59", True),  # the day after closes at 13:00
        ("2025-11-28 18:00", False),
        ("2025-12-25 15:00", False),
        ("2026-04-03 15:00", False),  # Good Friday, which is no federal holiday
        ("2026-03-06 14:29", False),
        ("2026-03-06 14:30", True),
        ("2026-03-09 13:30", True),  # summer time began on the Sunday between
    ],
)
def test_is_open(hours: Sessions, moment: str, expected: bool) -> None:
    assert hours.is_open(utc(moment)) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2025-10-31 20:00", "2025-11-03 14:30"),
        ("2025-11-26 21:00", "2025-11-28 14:30"),
        ("2025-11-28 18:00", "2025-12-01 14:30"),
        ("2026-03-06 21:00", "2026-03-09 13:30"),
        ("2026-03-09 13:30", "2026-03-10 13:30"),
    ],
)
def test_next_open(hours: Sessions, moment: str, expected: str) -> None:
    assert hours.next_open(utc(moment)) == utc(expected)


@pytest.mark.parametrize(
    ("since", "until", "expected_s"),
    [
        ("2025-11-03 15:00", "2025-11-03 15:01:30.25", "90.25"),
        ("2025-11-03 21:00", "2025-11-04 14:30", "0"),
        ("2025-11-03 20:59", "2025-11-04 14:31", "120"),
        ("2025-10-31 05:00", "2025-11-01 05:00", "23400"),
        # A bar across a half-day: Friday has three and a half hours.
        ("2025-11-28 05:00", "2025-11-29 05:00", "12600"),
        ("2025-11-28 17:30", "2025-12-01 15:00", "3600"),
        ("2025-11-26 20:00", "2025-12-01 14:30", "16200"),
        ("2025-11-04 14:31", "2025-11-03 20:59", "-120"),
    ],
)
def test_open_s_counts_sessions_alone(hours: Sessions, since: str, until: str, expected_s: str) -> None:
    assert hours.open_s(utc(since), utc(until)) == Decimal(expected_s)


def test_every_session_of_a_year_is_as_long_as_it_should_be(hours: Sessions) -> None:
    day, found = utc("2025-01-01"), []
    while day < utc("2026-01-01"):
        found.append(hours.open_s(day, day + timedelta(days=1)))
        day += timedelta(days=1)
    # 2025 had a day of mourning on 9 January, and early closes on 3 July, 28 November and 24 December.
    assert (found.count(SESSION_S), found.count(Decimal(12_600)), found.count(Decimal(0))) == (247, 3, 115)


def test_touched_keeps_the_bar_that_the_session_begins_in(hours: Sessions) -> None:
    opens = [int(utc(f"2025-11-03 {one}").timestamp()) for one in ("13:00", "14:00", "15:00", "20:00", "21:00")]
    assert hours.touched(np.array(opens, dtype=np.int64), 3600).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("moment", ["1999-01-01", "2030-01-01"])
def test_time_beyond_the_calendar_is_refused(hours: Sessions, moment: str) -> None:
    with pytest.raises(MarketDataError, match="does not reach"):
        hours.is_open(utc(moment))


def test_new_year_is_crossed_whatever_the_time_zone() -> None:
    for day, expected in (("2027-01-01 03:00", "2027-01-04 14:30"), ("2026-12-31 21:30", "2027-01-04 14:30")):
        assert sessions_at(utc(day)).next_open(utc(day)) == utc(expected)


def test_year_without_a_calendar_is_no_market_data() -> None:
    with pytest.raises(MarketDataError, match="no exchange calendar of 9998"):
        sessions_at(utc("9998-06-01"))


def test_until_text_is_short_and_in_utc() -> None:
    assert until_text(datetime.fromisoformat("2025-11-03T09:30:00-05:00")) == "Mon 14:30 UTC"


def test_calendar_is_not_loaded_before_the_first_question() -> None:
    code = (
        "import sys; from bots.market_data.market_hours import Sessions, sessions_at;"
        "sys.exit(any(name in sys.modules for name in ('exchange_calendars', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
