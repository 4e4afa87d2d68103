"""The kept candles: stored once, in order, and not for ever."""

from decimal import Decimal

import numpy as np
import pytest

from bots.market_data.base import CandleSeries
from bots.market_data.candle_store import load, store_closed
from bots.market_data.replay import ReplayFeed
from bots.market_data.replay_clock import FixedClock, start_clock
from bots.models import Candle
from tests.bots.market_data.builders import T0, after

pytestmark = pytest.mark.django_db


def series_of(times: list[int], price: float = 10.25, symbol: str = "TOY") -> CandleSeries:
    """Return candles that opened at these epoch seconds, each closing 1 above the one before."""
    count = len(times)
    close = np.arange(count, dtype=np.float64) + np.float64(price)
    return CandleSeries(
        "replay", symbol, "1m", np.array(times, dtype=np.int64), close, close + 1, close - 1, close, np.full(count, 0.1)
    )


def test_stored_candles_come_back_exactly() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    series = feed.candles("BTC-PERP", "1m", T0, 50)
    assert store_closed(series) == 50
    kept = load("replay", "BTC-PERP", "1m", 50)
    for name in ("opened_at", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(kept, name), getattr(series, name)), name
    assert (kept.venue, kept.symbol, kept.timeframe) == ("replay", "BTC-PERP", "1m")


def test_stored_prices_are_exact_decimals() -> None:
    store_closed(series_of([60], price=1.1))
    candle = Candle.objects.get()
    assert (candle.close, candle.volume) == (Decimal("1.1"), Decimal("0.1"))


def test_storing_twice_changes_nothing() -> None:
    assert store_closed(series_of([60, 120, 180])) == 3
    before = list(Candle.objects.values_list("id", "opened_at", "close"))
    assert store_closed(series_of([60, 120, 180])) == 0
    assert list(Candle.objects.values_list("id", "opened_at", "close")) == before


def test_only_candles_newer_than_the_kept_ones_are_added() -> None:
    store_closed(series_of([60, 120]))
    # After a change of speed the same history carries other times; the chart must not get it a second time.
    assert store_closed(series_of([30, 90, 119, 121, 180])) == 2
    assert load("replay", "TOY", "1m", 9).opened_at.tolist() == [60, 120, 121, 180]


def test_candles_that_open_in_one_second_are_kept_once() -> None:
    assert store_closed(series_of([60, 60, 61, 61])) == 2
    assert load("replay", "TOY", "1m", 9).close.tolist() == [10.25, 12.25]


def test_only_the_newest_candles_stay() -> None:
    store_closed(series_of([60, 120, 180]), keep=3)
    store_closed(series_of([60, 120, 180]), keep=3)
    store_closed(series_of([240, 300]), keep=3)
    assert load("replay", "TOY", "1m", 9).opened_at.tolist() == [180, 240, 300]


def test_more_candles_than_are_kept_store_only_the_newest() -> None:
    assert store_closed(series_of([60, 120, 180]), keep=2) == 2
    assert load("replay", "TOY", "1m", 9).opened_at.tolist() == [120, 180]


def test_pruning_touches_no_other_symbol() -> None:
    store_closed(series_of([60, 120], symbol="OTHER"))
    store_closed(series_of([600, 660, 720]), keep=1)
    assert load("replay", "OTHER", "1m", 9).opened_at.tolist() == [60, 120]


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_nothing_is_refused(keep: int) -> None:
    store_closed(series_of([60]))
    with pytest.raises(ValueError, match="at least one candle"):
        store_closed(series_of([120]), keep=keep)
    assert Candle.objects.count() == 1


def test_loading_gives_the_newest_oldest_first() -> None:
    store_closed(series_of([60, 120, 180]))
    assert load("replay", "TOY", "1m", 2).opened_at.tolist() == [120, 180]


def test_loading_what_was_never_stored_gives_an_empty_series() -> None:
    series = load("replay", "TOY", "1m", 5)
    assert len(series) == 0
    assert series.close.dtype == np.float64


def test_chart_of_a_playing_symbol_grows_bar_by_bar() -> None:
    feed = ReplayFeed(FixedClock(start_clock(T0)))
    for second in range(0, 40, 3):
        store_closed(feed.candles("SPX", "1m", after(second), 100))
    times = load("replay", "SPX", "1m", 500).opened_at
    assert len(times) == 100 + 19
    assert set(np.diff(times).tolist()) == {2}
