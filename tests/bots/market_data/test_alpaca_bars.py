"""Alpaca's bars: recorded answers, hours, splits of a series, and answers that make no sense."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bots.brokers.outcomes import CallFailed
from bots.market_data import alpaca_bars as bars
from bots.market_data.base import CandleSeries
from bots.market_data.market_hours import ROUND_THE_CLOCK, Sessions, sessions_at
from bots.market_data.series_parts import COLUMNS
from tests.bots.market_data.alpaca_data import recorded

LATER = datetime(2026, 1, 2, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def hours() -> Sessions:
    return sessions_at(utc("2025-11-20"))


def row(opened: str, close: str = "100", **changes: Any) -> dict[str, Any]:
    price = Decimal(close)
    return {"t": f"{utc(opened):%Y-%m-%dT%H:%M:%SZ}", "o": price, "h": price, "l": price, "c": price, "v": 5} | changes


def read(
    rows: list[Any], timeframe: str = "1m", sessions: Sessions = ROUND_THE_CLOCK, now: datetime = LATER
) -> CandleSeries:
    return bars.read_bars(rows, "AAPL", timeframe, sessions, now)


def page(name: str, symbol: str) -> tuple[list[Any], str]:
    found, token = bars.read_page(recorded(name))
    return found[symbol], token


def openings(series: CandleSeries) -> list[str]:
    return [f"{datetime.fromtimestamp(int(one), UTC):%m-%d %H:%M}" for one in series.opened_at]


# Recorded answers.


def test_recorded_daily_bars(hours: Sessions) -> None:
    rows, token = page("bars_iex_daily_2020", "AAPL")
    series = read(rows, "1d", hours)
    assert token == ""
    assert [series.open.tolist(), series.close.tolist()] == [[432.91, 436.555], [435.24, 438.71]]
    assert [series.high.tolist(), series.low.tolist()] == [[446.41, 443.085], [431.75, 433.69]]
    assert series.volume.tolist() == [1_265_756, 235_275]
    assert openings(series) == ["08-03 04:00", "08-04 04:00"]


def test_recorded_bars_that_come_newest_first_are_turned_round(hours: Sessions) -> None:
    rows, token = page("bars_daily_newest_first", "TSLA")
    series = bars.read_bars(rows, "TSLA", "1d", hours, LATER)
    assert token == "VFNMQXxEfDc1Mjc3NTc2MzYwMDAwMDAwMDA="
    assert openings(series) == ["09-25 04:00", "09-26 04:00", "09-27 04:00"]
    assert series.close.tolist() == [246.99, 244.12, 240.5]


def test_no_bars_are_an_empty_series() -> None:
    answers: list[Any] = [recorded("bars_none"), {"bars": None, "next_page_token": None}, {"bars": {"TSLA": []}}]
    for answer in answers:
        assert bars.read_page(answer)[0].get("AAPL", []) == []


# Which bars are kept.


@pytest.mark.parametrize(("now", "count"), [("2025-11-03 15:00:59.999999", 1), ("2025-11-03 15:01", 2)])
def test_bar_is_kept_once_it_has_closed(now: str, count: int) -> None:
    assert len(read([row("2025-11-03 14:59"), row("2025-11-03 15:00")], now=utc(now))) == count


@pytest.mark.parametrize(("now", "count"), [("2025-11-04 04:59:59", 0), ("2025-11-04 05:00", 1)])
def test_day_has_closed_at_midnight_in_new_york(hours: Sessions, now: str, count: int) -> None:
    assert len(read([row("2025-11-03 05:00")], "1d", hours, utc(now))) == count


def test_bars_outside_the_session_are_left_out(hours: Sessions) -> None:
    times = ("13:00", "14:29", "14:30", "17:59", "18:00", "20:59")
    # The day after Thanksgiving closes at 13:00 in New York.
    assert openings(read([row(f"2025-11-28 {one}") for one in times], sessions=hours)) == ["11-28 14:30", "11-28 17:59"]


def test_hour_that_the_session_begins_in_is_kept(hours: Sessions) -> None:
    rows = [row(f"2025-11-28 {one}") for one in ("13:00", "14:00", "17:00", "18:00")]
    assert openings(read(rows, "1h", hours)) == ["11-28 14:00", "11-28 17:00"]


# The next bar.


@pytest.mark.parametrize(
    ("timeframe", "opened", "expected"),
    [
        ("1m", "2025-11-03 15:00", "2025-11-03 15:02"),
        ("1m", "2025-11-03 20:59", "2025-11-04 14:31"),
        ("1m", "2025-10-31 19:59", "2025-11-03 14:31"),  # over the weekend in which summer time ends
        ("5m", "2025-11-28 17:55", "2025-12-01 14:35"),  # over an early close
        ("1h", "2025-11-28 17:00", "2025-12-01 15:00"),
        ("1h", "2025-11-03 14:00", "2025-11-03 16:00"),
        ("4h", "2025-11-03 20:00", "2025-11-04 16:00"),
        ("1d", "2025-11-26 05:00", "2025-11-29 05:00"),  # over Thanksgiving
        ("1d", "2025-10-31 04:00", "2025-11-04 05:00"),
        ("1d", "2026-03-06 05:00", "2026-03-10 04:00"),
    ],
)
def test_closes_next(hours: Sessions, timeframe: str, opened: str, expected: str) -> None:
    series = read([row(opened)], timeframe, now=utc("2027-01-01"))
    assert bars.closes_next(series, hours) == utc(expected)


def test_joined_adds_what_is_new_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "BARS_MAX", 3)
    old = read([row("2025-11-03 15:00", "1"), row("2025-11-03 15:01", "2")])
    new = read([row("2025-11-03 15:01", "9"), row("2025-11-03 15:02", "3"), row("2025-11-03 15:03", "4")])
    both = bars.joined(old, new)
    assert both.close.tolist() == [2, 3, 4]
    assert not both.close.flags.writeable
    assert bars.joined(both, new) is both
    assert bars.joined(read([]), old).close.tolist() == [1, 2]


def test_questions_name_split_feed_and_span() -> None:
    now = utc("2025-11-03 15:00:30")
    first = bars.newest_first("AAPL", "1m", now)
    assert (first["timeframe"], first["adjustment"], first["feed"], first["sort"]) == ("1Min", "split", "iex", "desc")
    assert utc(first["start"].removesuffix("Z")) < now - timedelta(days=15)
    assert bars.newest_first("AAPL", "1d", now)["start"] == "2016-01-01T00:00:00Z"
    known = [read([row("2025-11-03 14:58")]), read([row("2025-11-03 14:51")])]
    assert bars.since_last(known) | {"limit": ""} == {
        "symbols": "AAPL,AAPL", "timeframe": "1Min", "start": "2025-11-03T14:51:00Z", "adjustment": "split", "feed": "iex",
        "sort": "asc", "limit": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([row("2025-11-03 15:02", "25")], False),
        ([row("2025-11-03 15:01", "99"), row("2025-11-03 15:02", "99")], False),
        ([row("2025-11-03 15:01", "90.1")], False),
        ([row("2025-11-03 15:01", "80")], True),  # five for four
        ([row("2025-11-03 15:00", "1"), row("2025-11-03 15:01", "1000")], True),  # one for ten
    ],
)
def test_split_shows_in_the_last_candle(rows: list[Any], expected: bool) -> None:
    assert bars.is_split(read([row("2025-11-03 15:01", "100")]), read(rows)) == expected
    assert not bars.is_split(read([]), read(rows))


# What makes no sense.


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "bars",
        {},
        {"bars": []},
        {"bars": {"AAPL": {}}},
        {"bars": {"AAPL": "x"}},
        {"bars": {}, "next_page_token": 7},
    ],
)
def test_page_that_is_none_is_refused(answer: Any) -> None:
    with pytest.raises(CallFailed, match="no sound answer"):
        bars.read_page(answer)


@pytest.mark.parametrize(
    "rows",
    [
        [None],
        [{}],
        [row("2025-11-03 15:00", t=None)],
        [row("2025-11-03 15:00", t="yesterday")],
        [row("2025-11-03 15:00", t="2025-11-03T15:00:00")],
        [row("2025-11-03 15:00", c="x")],
        [row("2025-11-03 15:00", c=None)],
        [row("2025-11-03 15:00", c=0)],
        [row("2025-11-03 15:00", c=-1)],
        [row("2025-11-03 15:00", c=Decimal("NaN"))],
        [row("2025-11-03 15:00", c=10**400)],
        [row("2025-11-03 15:00", v=-1)],
        [row("2025-11-03 15:00", l=101)],
        [row("2025-11-03 15:00"), row("2025-11-03 15:00")],
        [row("2025-11-03 15:00"), row("2025-11-03 15:02"), row("2025-11-03 15:01")],
    ],
)
def test_bars_that_make_no_sense_are_refused(rows: list[Any]) -> None:
    with pytest.raises(CallFailed, match=r"could not be read|are not sound"):
        read(rows)


def test_arrays_are_of_equal_length_and_kind() -> None:
    series = read([row("2025-11-03 15:00"), row("2025-11-03 15:01")])
    assert {len(getattr(series, name)) for name in COLUMNS} == {2}
    assert series.opened_at.dtype == np.int64
    assert series.close.dtype == np.float64
