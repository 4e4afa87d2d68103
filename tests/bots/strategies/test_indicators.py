"""The indicators against their textbook formulas, written out slowly, and the cache that bots share."""

import gc
import itertools
import math
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.market_data.base import CandleSeries, Floats
from bots.strategies import indicators
from tests.bots.strategies.builders import series

PRICES = st.lists(st.floats(min_value=1, max_value=1000).map(lambda x: round(x, 2)), min_size=0, max_size=60)
BARS = st.integers(2, 12)
NAN = float("nan")
Indicator = Callable[[CandleSeries, int], Floats]
EVERY: list[Indicator] = [
    indicators.sma,
    indicators.ema,
    indicators.rsi,
    indicators.atr,
    indicators.highest,
    indicators.lowest,
]


def wide(closes: list[float]) -> CandleSeries:
    """Return candles that reach 1 % above and below their closes."""
    return series(closes, highs=[c * 1.01 for c in closes], lows=[c * 0.99 for c in closes])


def slow_ema(closes: list[float], bars: int) -> list[float]:
    out = [NAN] * len(closes)
    for i in range(bars - 1, len(closes)):
        if i == bars - 1:
            out[i] = sum(closes[:bars]) / bars
        else:
            out[i] = out[i - 1] + 2 / (bars + 1) * (closes[i] - out[i - 1])
    return out


def wilder(figures: list[float], bars: int) -> list[float]:
    """Return Wilder's smoothing: the mean of the first ``bars`` figures, then (last x (bars - 1) + figure) / bars."""
    out = [NAN] * len(figures)
    for i in range(bars - 1, len(figures)):
        out[i] = sum(figures[:bars]) / bars if i == bars - 1 else (out[i - 1] * (bars - 1) + figures[i]) / bars
    return out


def slow_rsi(closes: list[float], bars: int) -> list[float]:
    changes = [b - a for a, b in itertools.pairwise(closes)]
    gains, losses = wilder([max(c, 0) for c in changes], bars), wilder([max(-c, 0) for c in changes], bars)
    moved = [g + v for g, v in zip(gains, losses, strict=True)]
    # With no move at all the index has no value; the library calls that 0.
    return [NAN] * min(1, len(closes)) + [
        NAN if math.isnan(m) else (0.0 if m < 1e-12 else 100 * g / m) for g, m in zip(gains, moved, strict=True)
    ]


def slow_atr(candles: CandleSeries, bars: int) -> list[float]:
    high, low, close = candles.high, candles.low, candles.close
    ranges = [
        max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, len(candles))
    ]
    return [NAN] * min(1, len(candles)) + wilder([float(r) for r in ranges], bars)


@given(closes=PRICES, bars=BARS)
def test_sma_is_the_mean_of_the_last_closes(closes: list[float], bars: int) -> None:
    expected = [NAN if i < bars - 1 else sum(closes[i - bars + 1 : i + 1]) / bars for i in range(len(closes))]
    np.testing.assert_allclose(indicators.sma(series(closes), bars), expected, rtol=1e-9)


@given(closes=PRICES, bars=BARS)
def test_ema_follows_its_recursion(closes: list[float], bars: int) -> None:
    np.testing.assert_allclose(indicators.ema(series(closes), bars), slow_ema(closes, bars), rtol=1e-9)


@given(closes=PRICES, bars=BARS)
def test_rsi_is_wilders(closes: list[float], bars: int) -> None:
    np.testing.assert_allclose(indicators.rsi(series(closes), bars), slow_rsi(closes, bars), rtol=1e-6, atol=1e-6)


@given(closes=PRICES, bars=BARS)
def test_atr_is_wilders(closes: list[float], bars: int) -> None:
    candles = wide(closes)
    np.testing.assert_allclose(indicators.atr(candles, bars), slow_atr(candles, bars), rtol=1e-9)


@given(closes=PRICES, bars=BARS)
def test_highest_and_lowest_cover_the_last_bars(closes: list[float], bars: int) -> None:
    candles = wide(closes)
    windows = [slice(i - bars + 1, i + 1) if i >= bars - 1 else None for i in range(len(closes))]
    highs = [NAN if w is None else candles.high[w].max() for w in windows]
    lows = [NAN if w is None else candles.low[w].min() for w in windows]
    np.testing.assert_array_equal(indicators.highest(candles, bars), highs)
    np.testing.assert_array_equal(indicators.lowest(candles, bars), lows)


@pytest.mark.parametrize("indicator", EVERY)
@given(closes=PRICES, bars=BARS, cut=st.integers(0, 60))
def test_no_indicator_looks_ahead(indicator: Indicator, closes: list[float], bars: int, cut: int) -> None:
    """The figures of a cut series are the first figures of the whole one: this is what lets a prefix share them."""
    count = min(cut, len(closes))
    alone = indicator(wide(closes[:count]), bars)
    shared = indicator(indicators.prefix(wide(closes), count), bars)
    np.testing.assert_array_equal(alone, shared)


@pytest.mark.parametrize("indicator", EVERY)
def test_too_few_candles_give_nan_throughout(indicator: Indicator) -> None:
    assert np.isnan(indicator(wide([1.0, 2.0, 3.0]), 10)).all()
    assert len(indicator(wide([]), 10)) == 0


@pytest.mark.parametrize(
    ("indicator", "unknown"),
    [(indicators.sma, 4), (indicators.ema, 4), (indicators.rsi, 5), (indicators.atr, 5), (indicators.highest, 4)],
)
def test_warm_up_is_as_long_as_documented(indicator: Indicator, unknown: int) -> None:
    figures = indicator(wide([float(n) for n in range(1, 31)]), 5)
    assert np.isnan(figures[:unknown]).all()
    assert np.isfinite(figures[unknown:]).all()


def test_bots_that_share_a_series_share_the_work() -> None:
    candles = wide([float(n) for n in range(1, 31)])
    assert indicators.sma(candles, 5) is indicators.sma(candles, 5)
    assert indicators.sma(candles, 5) is not indicators.sma(candles, 6)
    assert indicators.sma(candles, 5) is not indicators.ema(candles, 5)


def test_figures_are_computed_once_for_all_prefixes() -> None:
    asked = []

    def compute(candles: CandleSeries) -> Floats:
        asked.append(len(candles))
        return np.array(candles.close)

    candles = wide([float(n) for n in range(1, 31)])
    for count in (10, 20, 30):
        figures = indicators.remembered(indicators.prefix(candles, count), ("mine",), compute)
        np.testing.assert_array_equal(figures, candles.close[:count])
    assert asked == [30]


def test_another_series_with_equal_candles_is_computed_by_itself() -> None:
    first, second = wide([1.0, 2.0, 3.0]), wide([1.0, 2.0, 3.0])
    assert indicators.sma(first, 2) is not indicators.sma(second, 2)


def test_nobody_can_write_into_shared_figures() -> None:
    figures = indicators.sma(wide([1.0, 2.0, 3.0]), 2)
    with pytest.raises(ValueError, match="read-only"):
        figures[0] = 1.0


def test_the_cache_lets_go_of_a_series_that_nobody_holds() -> None:
    candles = wide([1.0, 2.0, 3.0])
    indicators.sma(candles, 2)
    reference = weakref.ref(candles)
    del candles
    gc.collect()
    assert reference() is None


def test_the_cache_of_one_series_is_bounded() -> None:
    candles = wide([float(n) for n in range(1, 31)])
    for number in range(indicators.CACHED_PER_SERIES_MAX * 2 + 5):
        indicators.remembered(candles, ("mine", number), lambda s: np.array(s.close))
    assert 0 < len(indicators._cache[candles]) <= indicators.CACHED_PER_SERIES_MAX


def test_a_prefix_is_a_view_not_a_copy() -> None:
    candles = wide([1.0, 2.0, 3.0])
    part = indicators.prefix(candles, 2)
    assert len(part) == 2
    assert part.close.base is candles.close
    assert (part.venue, part.symbol, part.timeframe) == ("replay", "TEST", "1m")
