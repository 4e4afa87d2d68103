"""Whether candles can be believed: impossible ones, missing ones, and prices that no market made."""

from dataclasses import dataclass

import numpy as np

from bots.intelligence.windows import (
    Bools,
    Ints,
    ago,
    any_of_last,
    last_true,
    trailing_count,
    trailing_median,
)
from bots.market_data.base import CandleSeries, Floats
from bots.market_data.datasets import TIMEFRAME_S

#: How many bars quality looks back over.
QUALITY_BARS = 100
#: For how many bars an impossible candle keeps entries away, and the share of them that always does.
UNSOUND_HOLD_BARS = 5
UNSOUND_SHARE_MAX = 0.05
#: A hole of so many bars keeps entries away for some bars; many small ones do from this share on.
HOLE_BARS, HOLE_HOLD_BARS = 3, 5
MISSING_SHARE_MAX = 0.2
#: One hole counts for no more than this, so that an outage that is over does not weigh for ever.
HOLE_BARS_COUNTED = 20
#: A move is out of line from so many robust standard deviations on, and never below half a percent.
OUTLIER_SIGMAS, OUTLIER_FLOOR = 15.0, 0.005
#: For how many bars a jump keeps entries away: until the next bars have confirmed it; longer, when they took it back.
JUMP_HOLD_BARS, SPIKE_HOLD_BARS = 2, 5
#: A spike has taken back this share of itself with the next bar.
SPIKE_TAKEN_BACK = 0.75
#: Of volatility, a single bar counts for no more than so many robust standard deviations, or a tenth of a percent.
MODERATE_SIGMAS, MODERATE_FLOOR = 6.0, 0.001
SCALE_BARS, SCALE_STEP, SCALE_LEAST = 90, 3, 10
#: A normal distribution's standard deviation in medians of its absolute values.
SIGMA_OF_MEDIAN = 1.4826
#: Below this figure the data as a whole are too poor for entries.
QUALITY_MIN = 0.5
PENALTY_UNSOUND, PENALTY_MISSING, PENALTY_OUTLIER, PENALTY_IDLE = 4.0, 2.0, 2.0, 0.3
#: A hole of this length in intraday candles is a night or a weekend, where the market keeps hours.
CLOSED_S_MIN, CLOSED_S_MAX = 43_200, 7 * 86_400
DAY_S = 86_400
ROUND_THE_CLOCK = frozenset({"kraken"})
#: Prices of equal meaning may differ by their rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """Candles as natural logarithms of the price over the first sound close, and what was found on the way, bar by bar.

    An impossible candle is replaced by the close before it. ``returns`` are the changes of ``close``; ``moderate`` are their
    sizes, cut where a single bar would tell of itself alone. ``age`` counts the sound bars so far. ``quality`` is from 0 to 1.
    """

    high: Floats
    low: Floats
    close: Floats
    returns: Floats
    moderate: Floats
    volume: Floats
    age: Ints
    quality: Floats
    has_bad_candles: Bools
    has_gaps: Bools
    has_outliers: Bools


def clean(series: CandleSeries) -> Cleaned:
    """Return the candles cleaned and judged. Never raises for any figures.

    Quality is 1 less 4 x the share of impossible candles, 2 x that of missing ones, 2 x that of outliers and 0.3 x that of bars
    in which nothing happened, each over the last 100 bars, or over all so far.
    """
    is_sound = _sound(series)
    high, low, close = _logarithms(series, is_sound)
    returns = np.diff(close, prepend=close[:1])
    # No smaller move is cut or out of line, however small the scale is.
    scale = robust_scale(returns, at=np.abs(returns) > MODERATE_FLOOR)
    outliers = _outliers(returns, scale) & ~_follows_closed_hours(series)
    holes = np.minimum(missing_bars(series), HOLE_BARS_COUNTED)
    unsound_share, missing_share = _share(~is_sound), _missing_share(holes)
    volume = np.where(np.isfinite(series.volume) & (series.volume >= 0), series.volume, 0.0)
    quality = 1 - (
        PENALTY_UNSOUND * unsound_share
        + PENALTY_MISSING * missing_share
        + PENALTY_OUTLIER * _share(outliers)
        + PENALTY_IDLE * _share(is_sound & _idle(volume, high - low, returns))
    )
    return Cleaned(
        high=high,
        low=low,
        close=close,
        returns=returns,
        moderate=_moderate(returns, scale),
        volume=volume,
        age=np.cumsum(is_sound, dtype=np.int64),
        quality=np.clip(quality, 0, 1),
        has_bad_candles=any_of_last(~is_sound, UNSOUND_HOLD_BARS) | (unsound_share > UNSOUND_SHARE_MAX),
        has_gaps=any_of_last(holes >= HOLE_BARS, HOLE_HOLD_BARS) | (missing_share > MISSING_SHARE_MAX),
        has_outliers=any_of_last(outliers, JUMP_HOLD_BARS) | any_of_last(_spikes(returns, outliers), SPIKE_HOLD_BARS),
    )


def missing_bars(series: CandleSeries) -> Ints:
    """Return how many bars are missing before each one, by the opening times.

    A recording that plays faster than it was made has its bars closer together, so nothing seems to be missing. Where the market
    keeps hours, a hole of half a day up to a week is a closed market.
    """
    apart_s, period_s = _apart_s(series), TIMEFRAME_S.get(series.timeframe)
    if period_s is None:
        return np.zeros(len(series), dtype=np.int64)
    missing = np.maximum((apart_s + period_s // 2) // period_s - 1, 0)
    return np.where(_is_closed(series, apart_s), 0, missing)


def robust_scale(returns: Floats, *, at: Bools | None = None) -> Floats:
    """Return the robust standard deviation of the returns before each bar: 1.4826 x the median of their absolute values.

    Source: the median absolute deviation (F. R. Hampel 1974) about zero, since a bar's mean return is far below its spread.
    Unit: natural logarithm of price a bar. Over every third of the 90 bars before. Warm-up: 30 bars, NaN until then;
    NaN too where ``at`` is not set: nobody asks there.
    """
    known = np.where(np.arange(len(returns)) == 0, np.nan, np.abs(returns))
    before = np.concatenate([np.full(min(1, len(returns)), np.nan), known[:-1]])
    return SIGMA_OF_MEDIAN * trailing_median(before, SCALE_BARS, step=SCALE_STEP, least=SCALE_LEAST, at=at)


def _sound(series: CandleSeries) -> Bools:
    """Return which candles are possible: prices above zero, the high the highest, the low the lowest, times in order."""
    figures = np.stack([series.open, series.high, series.low, series.close, series.volume])
    with np.errstate(invalid="ignore", over="ignore"):
        top, bottom = np.maximum(series.open, series.close), np.minimum(series.open, series.close)
        sound: Bools = (
            np.isfinite(figures).all(axis=0)
            & (figures[:4] > 0).all(axis=0)
            & (series.volume >= 0)
            & (series.high >= top * (1 - ROUNDING))
            & (series.low <= bottom * (1 + ROUNDING))
            & (_apart_s(series) >= 0)
        )
    return sound


def _apart_s(series: CandleSeries) -> Ints:
    """Return how many seconds after the one before each bar opened; 0 for the first."""
    return np.diff(series.opened_at, prepend=series.opened_at[:1])


def _is_closed(series: CandleSeries, apart_s: Ints) -> Bools:
    if series.venue in ROUND_THE_CLOCK:
        return np.zeros(len(series), dtype=np.bool_)
    return (apart_s >= CLOSED_S_MIN) & (apart_s <= CLOSED_S_MAX)


def _follows_closed_hours(series: CandleSeries) -> Bools:
    """Return which intraday bars are the first after a night or a weekend: their move is that of hours, not of a bar."""
    if TIMEFRAME_S.get(series.timeframe, DAY_S) >= DAY_S:
        return np.zeros(len(series), dtype=np.bool_)
    return _is_closed(series, _apart_s(series))


def _logarithms(series: CandleSeries, is_sound: Bools) -> tuple[Floats, Floats, Floats]:
    """Return high, low and close as logarithms over the first sound close; an unsound bar is flat at the close before it."""
    close = np.zeros(len(series))
    if not is_sound.any():
        return close, close, close
    base = np.log(series.close[int(np.argmax(is_sound))])
    place = last_true(is_sound)
    known = place >= 0
    close[known] = np.log(series.close[place[known]]) - base
    high, low = close.copy(), close.copy()
    high[is_sound] = np.log(series.high[is_sound]) - base
    low[is_sound] = np.log(series.low[is_sound]) - base
    return np.maximum(high, close), np.minimum(low, close), close


def _outliers(returns: Floats, scale: Floats) -> Bools:
    """Return which bars moved by more than 15 robust standard deviations, and by more than half a percent."""
    return ~np.isnan(scale) & (np.abs(returns) > np.fmax(OUTLIER_SIGMAS * scale, OUTLIER_FLOOR))


def _spikes(returns: Floats, outliers: Bools) -> Bools:
    """Return at which bars an outlier of the bar before was taken back: a price that no market made."""
    jump = ago(np.where(outliers, returns, 0.0), 1)
    return (np.abs(returns) >= SPIKE_TAKEN_BACK * np.abs(jump)) & (returns * jump < 0)


def _moderate(returns: Floats, scale: Floats) -> Floats:
    bound = np.where(np.isnan(scale), np.inf, np.fmax(MODERATE_SIGMAS * scale, MODERATE_FLOOR))
    return np.minimum(np.abs(returns), bound)


def _idle(volume: Floats, height: Floats, returns: Floats) -> Bools:
    """Return in which bars nothing happened: no move at all, or nothing traded where a volume has been seen."""
    is_still = (height <= 0) & (returns == 0)
    idle: Bools = is_still | ((volume <= 0) & (last_true(volume > 0) >= 0))
    return idle


def _share(flags: Bools) -> Floats:
    """Return the share of flags that are set among the last 100 bars, or among all so far."""
    return trailing_count(flags, QUALITY_BARS) / _so_far(len(flags))


def _missing_share(holes: Ints) -> Floats:
    """Return the share of bars that are missing among those that should have come while the last 100 did."""
    count = trailing_count(holes, QUALITY_BARS)
    share: Floats = count / (count + _so_far(len(holes)))
    return share


def _so_far(count: int) -> Floats:
    return np.minimum(np.arange(1, count + 1), QUALITY_BARS).astype(np.float64)
