"""Indicators from TA-Lib over closed candles, shared between bots that look at the same series.

Every function returns one figure per candle, NaN while it warms up; the figure of a candle uses that candle and older
ones only. Figures are floats in the unit of their input: good for judging, never used as money.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bots.market_data.base import CandleSeries, Floats
from bots.strategies.talib_core import talib

CACHED_PER_SERIES_MAX = 64
Figures = TypeVar("Figures", bound=NDArray[Any])
_cache: WeakKeyDictionary[CandleSeries, dict[tuple[object, ...], NDArray[Any]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPrefix(CandleSeries):
    """The first candles of ``whole``, without a copy. Indicators are computed once over the whole and cut.

    That is the same as computing them over the prefix, because no indicator here looks ahead; a test holds it.
    """

    whole: CandleSeries


def prefix(series: CandleSeries, count: int) -> SeriesPrefix:
    """Return the first ``count`` candles of ``series`` as views on its arrays."""
    return SeriesPrefix(
        series.venue,
        series.symbol,
        series.timeframe,
        series.opened_at[:count],
        series.open[:count],
        series.high[:count],
        series.low[:count],
        series.close[:count],
        series.volume[:count],
        series,
    )


def remembered(series: CandleSeries, key: tuple[object, ...], compute: Callable[[CandleSeries], Figures]) -> Figures:
    """Return ``compute(series)``, computed once per series and key; at most 64 keys are kept per series.

    ``compute`` must not look ahead: for a prefix it runs over the whole series and its answer is cut.
    """
    if isinstance(series, SeriesPrefix):
        return cast(Figures, remembered(series.whole, key, compute)[: len(series)])
    known = _cache.get(series)
    if known is None:
        known = _cache[series] = {}
    found = known.get(key)
    if found is None:
        found = compute(series)
        found.flags.writeable = False
        if len(known) >= CACHED_PER_SERIES_MAX:
            known.clear()
        known[key] = found
    return cast(Figures, found)


def sma(series: CandleSeries, bars: int) -> Floats:
    """Return the simple moving average of the closes: their mean over ``bars`` bars, in price units.

    Warm-up: ``bars`` - 1 candles.
    """
    return remembered(series, ("sma", bars), lambda s: _padded(s, bars, lambda: talib.SMA(s.close, bars)))


def ema(series: CandleSeries, bars: int) -> Floats:
    """Return the exponential moving average of the closes, smoothing 2 / (bars + 1), begun with the simple average.

    Price units. Warm-up: ``bars`` - 1 candles; where it begins has faded to 0.005 % after 5 x ``bars``.
    """
    return remembered(series, ("ema", bars), lambda s: _padded(s, bars, lambda: talib.EMA(s.close, bars)))


def rsi(series: CandleSeries, bars: int) -> Floats:
    """Return the relative strength index, 0 to 100 (J. Welles Wilder, New Concepts in Technical Trading Systems, 1978).

    100 - 100 / (1 + average gain / average loss), both with Wilder's smoothing 1 / ``bars``. Warm-up: ``bars`` candles;
    where it begins has faded to 0.005 % after 10 x ``bars``.
    """
    return remembered(series, ("rsi", bars), lambda s: _padded(s, bars + 1, lambda: talib.RSI(s.close, bars)))


def atr(series: CandleSeries, bars: int) -> Floats:
    """Return the average true range in price units (J. Welles Wilder, 1978).

    The true range is the largest of high - low, |high - last close| and |low - last close|, smoothed with 1 / ``bars``.
    Warm-up: ``bars`` candles; where it begins has faded to 0.005 % after 10 x ``bars``.
    """
    return remembered(
        series, ("atr", bars), lambda s: _padded(s, bars + 1, lambda: talib.ATR(s.high, s.low, s.close, bars))
    )


def highest(series: CandleSeries, bars: int) -> Floats:
    """Return the highest high of the last ``bars`` candles, its own included. Warm-up: ``bars`` - 1 candles."""
    return remembered(series, ("highest", bars), lambda s: _padded(s, bars, lambda: talib.MAX(s.high, bars)))


def lowest(series: CandleSeries, bars: int) -> Floats:
    """Return the lowest low of the last ``bars`` candles, its own included. Warm-up: ``bars`` - 1 candles."""
    return remembered(series, ("lowest", bars), lambda s: _padded(s, bars, lambda: talib.MIN(s.low, bars)))


def _padded(series: CandleSeries, needed: int, compute: Callable[[], Floats]) -> Floats:
    """Return ``compute()``, or all NaN when there are fewer than ``needed`` candles, which TA-Lib would refuse."""
    if len(series) < needed:
        return np.full(len(series), np.nan)
    return np.array(compute(), dtype=np.float64)
