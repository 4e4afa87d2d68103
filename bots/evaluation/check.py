"""All checks of one or more recorded series."""

from collections.abc import Sequence
from dataclasses import dataclass

from bots.backtest import recorded_series
from bots.brokers.fees import fees_for
from bots.evaluation.regimes import RegimeCheck, check_regimes
from bots.evaluation.scores import HORIZONS, ScoreCheck, check_scores
from bots.evaluation.trades import TradeCheck, check_trades
from bots.intelligence import layer
from bots.market_data.base import CandleSeries
from bots.market_data.datasets import VENUE, dataset, manifest
from safety.intents import LimitSet

#: A series with fewer bars says nothing.
BARS_MIN = 1000


@dataclass(frozen=True, slots=True)
class SeriesCheck:
    """What was found on one series. ``allowed_share`` is the share of its bars, after the warm-up, that let entries through."""

    symbol: str
    timeframe: str
    bars: int
    allowed_share: float
    scores: tuple[ScoreCheck, ...]
    regimes: RegimeCheck
    trades: tuple[TradeCheck, ...]


def recorded() -> list[tuple[str, str]]:
    """Return the recorded symbols with each timeframe that has enough bars."""
    frames = [(symbol, timeframe) for symbol in manifest() for timeframe in dataset(symbol).timeframes()]
    return [(symbol, frame) for symbol, frame in frames if len(dataset(symbol).frame(frame).close) >= BARS_MIN]


def check_all(which: Sequence[tuple[str, str]], limits: LimitSet, *, bars_max: int | None = None) -> list[SeriesCheck]:
    """Return what was found on each of these series; ``bars_max`` looks at their last bars only."""
    return [_check(symbol, timeframe, limits, bars_max) for symbol, timeframe in which]


def _check(symbol: str, timeframe: str, limits: LimitSet, bars_max: int | None) -> SeriesCheck:
    series = recorded_series(symbol, timeframe, None, None)
    if bars_max is not None:
        series = last_bars(series, bars_max)
    info, fee_rate = dataset(symbol).info, float(fees_for(VENUE, symbol).taker)
    allowed = layer.entry_allowed(series)
    scores = layer.scores(series, float(info.half_spread_bps), fee_rate)
    return SeriesCheck(
        symbol=symbol,
        timeframe=timeframe,
        bars=len(series),
        allowed_share=float(allowed[layer.WARMUP_BARS :].mean()),
        scores=tuple(check_scores(series, scores, allowed, horizon) for horizon in HORIZONS),
        regimes=check_regimes(series),
        trades=tuple(check_trades(series, info, limits)),
    )


def last_bars(series: CandleSeries, count: int) -> CandleSeries:
    """Return the last ``count`` bars of a series."""
    columns = (series.open, series.high, series.low, series.close, series.volume)
    last = [column[-count:] for column in columns]
    return CandleSeries(series.venue, series.symbol, series.timeframe, series.opened_at[-count:], *last)
