"""Looks at Alpaca's snapshots: what they say, and what they prove was traded."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bots.market_data.alpaca_ticks import SHIFT, Tick, Trade, moment, read_tick, traded_between
from tests.bots.market_data.alpaca_data import recorded

T0 = datetime(2025, 11, 3, 15, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def look(
    seconds: float, trade: tuple[str, str, str, float] | None = None, volume: str | None = "0", day: str = "d"
) -> Tick:
    """Return a look; ``trade`` is its id, price, size and time."""
    last = None if trade is None else Trade(trade[0], Decimal(trade[1]), Decimal(trade[2]), at(trade[3]))
    day_volume = None if volume is None else Decimal(volume)
    return Tick(at(seconds), Decimal(99), Decimal(101), at(seconds), last, day, day_volume)


def test_recorded_snapshot() -> None:
    tick = read_tick(recorded("snapshots")["AAPL"], T0)
    assert tick is not None
    assert (tick.bid, tick.ask) == (Decimal("161.19"), Decimal("161.2"))
    assert tick.quoted_at == datetime(2022, 3, 18, 14, 33, 58, 547942, tzinfo=UTC)
    assert tick.trade is not None
    assert (tick.trade.price, tick.trade.size) == (Decimal("161.1998"), 200)
    assert tick.trade.traded_at == datetime(2022, 3, 18, 14, 33, 58, 448432, tzinfo=UTC)
    assert tick.day_volume == 31_749_988


@pytest.mark.parametrize("raw", [None, {}, [], "x", {"latestQuote": None}, {"latestQuote": {"bp": 1, "ap": 2}}])
def test_snapshot_without_a_quote_is_none(raw: Any) -> None:
    assert read_tick(raw, T0) is None


@pytest.mark.parametrize("price", ["100", True, None, [], {}])
def test_price_that_is_no_number_is_no_quote(price: Any) -> None:
    assert read_tick({"latestQuote": {"bp": price, "ap": 2, "t": "2025-11-03T15:00:00Z"}}, T0) is None


def test_zero_side_and_missing_trade_are_what_the_venue_said() -> None:
    tick = read_tick({"latestQuote": {"bp": 0, "ap": 2, "t": "2025-11-03T15:00:00Z"}, "latestTrade": None}, T0)
    assert tick is not None
    assert (tick.bid, tick.trade, tick.day_volume) == (0, None, None)


def test_moment_needs_a_zone() -> None:
    assert moment("2022-03-18T14:02:43.651613184Z") == datetime(2022, 3, 18, 14, 2, 43, 651613, tzinfo=UTC)
    with pytest.raises(ValueError, match="without a zone"):
        moment("2022-03-18T14:02:43")


def test_trade_that_is_new_at_a_look_is_proven() -> None:
    ticks = [look(0, ("a", "100", "5", -1)), look(2, ("b", "98", "3", 1), volume="40")]
    traded = traded_between(ticks, at(0), at(10))
    assert traded is not None
    assert (traded.low, traded.high, traded.volume) == (98, 98, 40)


def test_volume_is_no_less_than_the_trades_that_were_seen() -> None:
    ticks = [look(0, ("a", "100", "5", -1)), look(2, ("b", "98", "3", 1)), look(4, ("c", "99", "4", 3), volume=None)]
    traded = traded_between(ticks, at(0), at(10))
    assert traded is not None
    assert (traded.low, traded.high, traded.volume) == (98, 99, 7)


def test_volume_of_another_day_does_not_count() -> None:
    ticks = [look(0, ("a", "100", "5", -1), volume="900"), look(2, ("b", "98", "3", 1), volume="950", day="e")]
    traded = traded_between(ticks, at(0), at(10))
    assert traded is not None
    assert traded.volume == 3


@pytest.mark.parametrize(
    "after",
    [
        look(2, ("a", "100", "5", -1), volume="40"),  # the same trade: what rose the volume is not known
        look(2, None, volume="40"),
        look(2, ("b", "98", "3", -5)),  # one from before the last: it came late
        look(2, ("b", "0", "3", 1)),
        look(2, ("b", "98", "0", 1)),
        look(2, ("b", "NaN", "3", 1)),
    ],
)
def test_look_that_proves_nothing(after: Tick) -> None:
    assert traded_between([look(0, ("a", "100", "5", -1)), after], at(0), at(10)) is None


def test_trade_from_long_before_the_interval_does_not_count() -> None:
    ticks = [look(0, None), look(2, ("b", "98", "3", -60))]
    assert traded_between(ticks, at(0), at(10)) is None


def test_one_look_proves_nothing() -> None:
    assert traded_between([look(0, ("a", "100", "5", -1))], at(-10), at(10)) is None
    assert traded_between([], at(-10), at(10)) is None


def test_order_meets_nothing_from_before_it_but_the_shift() -> None:
    ticks = [look(0, ("a", "100", "5", -1)), look(2, ("b", "98", "3", 1))]
    shift_s = SHIFT.total_seconds()
    assert traded_between(ticks, at(shift_s), at(60)) is not None
    assert traded_between(ticks, at(shift_s + 0.001), at(60)) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.lists(st.integers(0, 30), max_size=6))
def test_what_was_traded_counts_once_however_the_time_is_cut(prices: list[int], cuts: list[int]) -> None:
    ticks = [look(2 * n, (str(n), str(price), "1", 2 * n - 1)) for n, price in enumerate(prices)]
    edges = sorted({-60, *cuts, 120})
    parts = [traded_between(ticks, at(since), at(until)) for since, until in pairwise(edges)]
    found = [one for one in parts if one is not None]
    assert sum(one.volume or 0 for one in found) == len(prices) - 1
    assert min(one.low for one in found) == min(prices[1:])
    assert max(one.high for one in found) == max(prices[1:])
