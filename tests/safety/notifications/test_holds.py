"""Quiet hours at their edges, and holds that a wrong clock wrote."""

from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from safety.models import NotificationPrefs
from safety.notifications.holds import holds, quiet_until

LONGEST = timedelta(hours=1)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY, NIGHT = (time(9, 30), time(17, 0)), (time(22, 0), time(6, 30))


def moment(day: int, hour: int, minute: int, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "expected"),
    [
        (DAY, moment(23, 9, 29, 59, 999_999), None),
        (DAY, moment(23, 9, 30), moment(23, 17, 0)),
        (DAY, moment(23, 16, 59, 59, 999_999), moment(23, 17, 0)),
        (DAY, moment(23, 17, 0), None),
        (NIGHT, moment(23, 21, 59, 59, 999_999), None),
        (NIGHT, moment(23, 22, 0), moment(24, 6, 30)),
        (NIGHT, moment(23, 23, 59, 59, 999_999), moment(24, 6, 30)),
        (NIGHT, moment(24, 0, 0), moment(24, 6, 30)),
        (NIGHT, moment(24, 6, 29, 59, 999_999), moment(24, 6, 30)),
        (NIGHT, moment(24, 6, 30), None),
        ((time(22, 0), time(0, 0)), moment(23, 23, 0), moment(24, 0, 0)),
        ((time(22, 0), time(0, 0)), moment(24, 0, 0), None),
        ((time(0, 0), time(6, 0)), moment(24, 0, 0), moment(24, 6, 0)),
        ((time(8, 0), time(8, 0)), moment(23, 8, 0), None),
        ((None, None), moment(23, 3, 0), None),
        ((time(8, 0), None), moment(23, 9, 0), None),
    ],
)
def test_quiet_hours_begin_and_end_to_the_microsecond(
    hours: tuple[time | None, time | None], now: datetime, expected: datetime | None
) -> None:
    assert quiet_until(NotificationPrefs(quiet_from=hours[0], quiet_until=hours[1]), now) == expected


def test_quiet_hours_are_utc_whatever_the_moment_is_told_in() -> None:
    prefs = NotificationPrefs(quiet_from=NIGHT[0], quiet_until=NIGHT[1])
    in_tokyo = moment(23, 23, 0).astimezone(timezone(timedelta(hours=9)))
    assert quiet_until(prefs, in_tokyo) == moment(24, 6, 30)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (None, False),
        (timedelta(0), False),
        (timedelta(microseconds=1), True),
        (LONGEST, True),
        (LONGEST + timedelta(microseconds=1), False),
        (timedelta(days=365), False),
        (-timedelta(days=1), False),
    ],
)
def test_nothing_waits_for_a_moment_that_nobody_can_have_meant(ahead: timedelta | None, expected: bool) -> None:
    assert holds(None if ahead is None else NOW + ahead, NOW, LONGEST) is expected
