"""What two looks at the ticker prove, and what they do not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from bots.market_data.base import Traded
from bots.market_data.kraken_ticks import SHIFT, Tick, read_tick, traded_between

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def tick(at_s: float, last: str, volume: str, count: int, low: str = "90", high: str = "110") -> Tick:
    return Tick(
        seen_at=T0 + timedelta(seconds=at_s),
        bid=Decimal(last),
        ask=Decimal(last),
        last=Decimal(last),
        volume=Decimal(volume),
        count=count,
        low=Decimal(low),
        high=Decimal(high),
    )


def between(ticks: list[Tick], since_s: float, until_s: float) -> Traded | None:
    return traded_between(ticks, T0 + timedelta(seconds=since_s), T0 + timedelta(seconds=until_s))


def traded(low: str, high: str, volume: str) -> Traded:
    return Traded(Decimal(low), Decimal(high), Decimal(volume))


def test_last_prices_and_volumes_of_the_looks_count() -> None:
    ticks = [tick(0, "100", "5", 10), tick(1, "99", "5.5", 12), tick(2, "101", "7", 13)]
    assert between(ticks, 0, 10) == traded("99", "101", "2")


def test_day_low_that_moved_is_a_trade_nobody_saw() -> None:
    ticks = [tick(0, "100", "5", 10), tick(1, "99", "6", 12, low="80")]
    assert between(ticks, 0, 10) == traded("80", "99", "1")


def test_day_high_that_moved_is_a_trade_nobody_saw() -> None:
    ticks = [tick(0, "100", "5", 10), tick(1, "99", "6", 12, high="120")]
    assert between(ticks, 0, 10) == traded("99", "120", "1")


def test_price_that_only_stands_there_is_no_trade() -> None:
    assert between([tick(0, "100", "5", 10), tick(1, "100", "5", 10)], 0, 10) is None


@pytest.mark.parametrize("ticks", [[], [tick(0, "100", "5", 10)]])
def test_one_look_proves_nothing(ticks: list[Tick]) -> None:
    assert between(ticks, -10, 10) is None


def test_across_midnight_only_the_new_day_counts() -> None:
    ticks = [tick(0, "100", "500", 900, "50", "150"), tick(1, "99", "2", 3, "98", "100")]
    assert between(ticks, 0, 10) == traded("98", "100", "2")


def test_each_stretch_counts_in_exactly_one_interval_however_they_fall() -> None:
    ticks = [tick(step * 0.7, "100", str(step), step + 1) for step in range(60)]
    whole = between(ticks, -5, 60)
    parts = [between(ticks, start, start + 5) for start in range(-5, 60, 5)]
    assert whole is not None
    assert whole.volume == 59
    assert sum((part.volume or 0 for part in parts if part is not None), Decimal(0)) == 59


def test_order_meets_nothing_that_was_traded_well_before_it() -> None:
    ticks = [tick(0, "100", "5", 10), tick(5, "80", "6", 12), tick(10, "100", "7", 13)]
    # Placed by the look at 5 s: the fall to 80 came before.
    assert between(ticks, 5, 12) == traded("100", "100", "1")


def test_look_that_is_shared_may_be_a_little_older_than_the_order() -> None:
    ticks = [tick(4.2, "100", "5", 10), tick(5.2, "80", "6", 12)]
    assert between(ticks, 5, 10) == traded("80", "80", "1")
    assert between(ticks, 4.2 + SHIFT.total_seconds() + 0.1, 10) is None


def raw(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "a": ["100.1", "1", "1.000"],
        "b": ["100.0", "1", "1.000"],
        "c": ["100.05", "0.1"],
        "v": ["5", "50"],
        "t": [10, 100],
        "l": ["90", "80"],
        "h": ["110", "120"],
    }
    return usual | changes


def test_ticker_is_read_exactly() -> None:
    found = read_tick(raw(b=["0.10000000000000001"]), T0)
    assert found is not None
    assert (found.bid, found.volume, found.low) == (Decimal("0.10000000000000001"), Decimal(5), Decimal(90))


@pytest.mark.parametrize("changes", [{"a": []}, {"b": None}, {"c": ["x"]}, {"t": ["x"]}, {"v": "?"}])
def test_ticker_that_cannot_be_read_is_none(changes: dict[str, Any]) -> None:
    assert read_tick(raw(**changes), T0) is None
