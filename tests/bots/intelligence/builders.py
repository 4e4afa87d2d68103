"""Hand-made candles and circumstances for the intelligence layer's tests."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bots.intelligence.values import Circumstances
from bots.market_data.base import CandleSeries, Floats
from bots.market_data.datasets import dataset
from safety.intents import Level, Quote

T0_S = 1_700_000_000 // 86_400 * 86_400
COLUMNS = ("opened_at", "open", "high", "low", "close", "volume")
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def candles(
    closes: Sequence[float] | Floats,
    *,
    height: float = 0.0005,
    volume: Sequence[float] | Floats | float = 10.0,
    venue: str = "kraken",
    timeframe: str = "1m",
    period_s: int = 60,
) -> CandleSeries:
    """Return candles with these closes, each opening at the close before and reaching ``height`` (a share) beyond both."""
    close = np.array(closes, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * (1 + height), np.minimum(opened, close) * (1 - height)
    times = T0_S + period_s * np.arange(len(close), dtype=np.int64)
    volumes = np.broadcast_to(np.asarray(volume, dtype=np.float64), close.shape).copy()
    return CandleSeries(venue, "TEST", timeframe, times, opened, high, low, close, volumes)


def walk(bars: int, *, seed: int = 1, drift: float = 0.0, sigma: float = 0.001, start: float = 100.0) -> Floats:
    """Return closes of a random walk: ``drift`` and ``sigma`` are of the logarithm, a bar."""
    steps = np.random.default_rng(seed).normal(drift, sigma, bars)
    path: Floats = start * np.exp(np.cumsum(steps))
    return path


def swinging(bars: int, *, swing: float = 0.002, period: int = 12, sigma: float = 0.0002) -> Floats:
    """Return closes that swing about 100, with a little noise: a range."""
    noise = np.random.default_rng(5).normal(0, sigma, bars)
    closes: Floats = 100 * np.exp(swing * np.sin(2 * np.pi * np.arange(bars) / period) + noise)
    return closes


def part(series: CandleSeries, start: int, end: int) -> CandleSeries:
    """Return the candles from ``start`` up to ``end`` as a series of their own."""
    return replace(series, **{name: getattr(series, name)[start:end].copy() for name in COLUMNS})


def changed(series: CandleSeries, column: str, bar: int, figure: float) -> CandleSeries:
    """Return the series with one figure of one bar changed."""
    array = getattr(series, column).copy()
    array[bar] = figure
    return replace(series, **{column: array})


def scaled(series: CandleSeries, price: float, volume: float = 1.0) -> CandleSeries:
    """Return the series with every price and every volume multiplied."""
    prices = {name: getattr(series, name) * price for name in COLUMNS[1:5]}
    return replace(series, **prices, volume=series.volume * volume)


def without(series: CandleSeries, bars: Sequence[int]) -> CandleSeries:
    """Return the series without these bars."""
    kept = np.setdiff1d(np.arange(len(series)), np.array(bars, dtype=np.int64))
    return replace(series, **{name: getattr(series, name)[kept] for name in COLUMNS})


def recorded(symbol: str, timeframe: str | None = None) -> CandleSeries:
    """Return a whole recording with the times at which it was made."""
    data = dataset(symbol)
    name = data.info.timeframe if timeframe is None else timeframe
    frame = data.frame(name)
    columns = (frame.open, frame.high, frame.low, frame.close, frame.volume)
    return CandleSeries("replay", symbol, name, data.opened_at[frame.first], *columns)


def circumstances(price: float = 100.0, **changes: Any) -> Circumstances:
    """Return circumstances in which nothing is in the way: a spread of 2 bps, a fee of 0.01 %, everything fresh."""
    middle = Decimal(str(price))
    spread = Decimal("0.0001")
    base: dict[str, Any] = {
        "level": Level.ACTIVE,
        "quote": quote(str(middle * (1 - spread)), str(middle * (1 + spread))),
        "quote_age_s": Decimal(1),
        "quote_age_max_s": Decimal(10),
        "candle_age_s": Decimal(30),
        "candle_bar_s": Decimal(60),
        "fee_rate": Decimal("0.0001"),
    }
    return Circumstances(**base | changes)


def quote(bid: str, ask: str) -> Quote:
    """Return a quote."""
    return Quote("kraken", "TEST", Decimal(bid), Decimal(ask), NOW, "test")


@st.composite
def markets(draw: st.DrawFn, bars_max: int = 400) -> CandleSeries:
    """Return candles of some market: calm, wild, trending, with stretches that stand still, with holes and idle bars."""
    bars = draw(st.integers(0, bars_max))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    sigma = draw(st.sampled_from([0.0, 1e-5, 0.001, 0.02]))
    steps = rng.normal(draw(st.sampled_from([0.0, -0.3, 0.3])) * sigma, sigma, bars)
    steps[rng.random(bars) < draw(st.sampled_from([0.0, 0.3]))] = 0
    steps[rng.random(bars) < 0.01] *= draw(st.sampled_from([1.0, 40.0]))
    closes = np.round(np.exp(np.cumsum(steps)) * 64, draw(st.integers(2, 8)))
    closes = np.maximum(closes, 0.01)
    volume = np.round(rng.lognormal(0, 1, bars), 3) * (rng.random(bars) >= draw(st.sampled_from([0.0, 0.5, 1.0])))
    series = candles(closes, volume=volume, venue=draw(st.sampled_from(["kraken", "alpaca", "replay"])))
    holes = rng.random(bars) < draw(st.sampled_from([0.0, 0.05, 0.4]))
    return without(series, np.flatnonzero(holes).tolist())


_any_price = st.floats(allow_nan=True, allow_infinity=True, width=64)


@st.composite
def rubbish(draw: st.DrawFn) -> CandleSeries:
    """Return candles of any figures at all, in any order of time, or sound ones with a few such figures among them."""
    bars = draw(st.integers(0, 90))
    if draw(st.booleans()):
        series = candles(walk(bars) if bars else [])
        for _ in range(draw(st.integers(0, 4)) if bars else 0):
            column, bar = draw(st.sampled_from(COLUMNS[1:])), draw(st.integers(0, bars - 1))
            series = changed(series, column, bar, draw(_any_price))
        return series
    # A few figures over and over: what hypothesis chooses one by one would take long.
    pool = np.array(draw(st.lists(_any_price, min_size=1, max_size=8)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    columns = [pool[rng.integers(0, len(pool), bars)] for _ in range(5)]
    times = rng.integers(-(10**12), 10**12, bars)
    return CandleSeries("kraken", "TEST", draw(st.sampled_from(["1m", "1d", "7x"])), times, *columns)
