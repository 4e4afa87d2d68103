"""What kind of market it is: trend up, trend down, range, high volatility, or not to be told."""

from dataclasses import dataclass

import numpy as np

from bots.intelligence.quality import Cleaned
from bots.intelligence.values import Regime
from bots.intelligence.windows import (
    Bools,
    Ints,
    ago,
    any_of_last,
    last_true,
    over_trailing,
    trailing_max,
    trailing_median,
    trailing_sum,
)
from bots.market_data.base import Floats
from bots.strategies.talib_core import talib

#: The regimes by the number that the arrays hold.
REGIMES = (Regime.UNKNOWN, Regime.RANGE, Regime.TREND_UP, Regime.TREND_DOWN, Regime.HIGH_VOLATILITY)
UNKNOWN, RANGE, TREND_UP, TREND_DOWN, HIGH_VOLATILITY = range(5)
#: For how many bars in a row each regime has to show before the market is called so.
CONFIRM_BARS = (3, 5, 5, 5, 2)
#: With fewer sound bars no regime is named and no entry allowed.
BARS_MIN = 60

EFFICIENCY_BARS, SLOPE_BARS, ADX_BARS = 30, 60, 14
#: The efficiency ratio and the directional index are stretched from the first figure (no trend) to the second (all trend).
EFFICIENCY_SPAN, ADX_SPAN = (0.15, 0.5), (15.0, 40.0)
FAST_BARS, SLOW_BARS, SLOW_STEP, SLOW_LEAST = 20, 200, 5, 8
TREND_ENTER, TREND_LEAVE = 0.60, 0.40
RANGE_ENTER, RANGE_LEAVE = 0.35, 0.50
VOLATILITY_ENTER, VOLATILITY_LEAVE = 3.0, 2.0
#: Volatility is never taken for less than one basis point a bar: a market that stood still and ticks once is not wild.
VOLATILITY_FLOOR = 1e-4
#: How sure high volatility is at least, once it is called so: from here on it keeps entries away.
HIGH_VOLATILITY_CONFIDENCE = 0.6
#: So far around the end of a wild stretch ``high_volatility`` looks at trends at first; nearly always that is enough.
NEAR_BARS = 48
#: Below this nothing moved: what is left is rounding.
STILL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Regimes:
    """Each bar's regime by its number in ``REGIMES``, its confidence from 0 to 1, and the figures it came of."""

    code: Ints
    confidence: Floats
    strength: Floats
    volatility: Floats
    volatility_ratio: Floats


def regimes(candles: Cleaned) -> Regimes:
    """Return the regime of each bar, as a function of the bars up to it.

    A regime begins when its figure passes one threshold and ends when it passes another one, further back, and it is called so
    only after it showed for some bars in a row (``CONFIRM_BARS``). High volatility comes before the trends, these before range.
    """
    strength = trend_strength(candles)
    volatility = realised_volatility(candles.moderate)
    ratio = volatility_ratio(volatility)
    code = _confirmed(_raw(strength, ratio), candles.age >= BARS_MIN)
    return Regimes(code, _confidence(code, strength, ratio, candles.age), strength, volatility, ratio)


def high_volatility(candles: Cleaned) -> Bools:
    """Return at which bars ``regimes`` says high volatility: the same bars, without the figures that make no difference to them.

    Whether the market is wild does not hang on trends. They decide only how long it goes on being called so afterwards: until
    another regime has shown for long enough. So they are looked at around the ends of wild stretches, and everywhere in the rare
    case that this leaves something open.
    """
    volatility = realised_volatility(candles.moderate)
    ratio = volatility_ratio(volatility, at=_may_be_wild(volatility))
    is_warm = candles.age >= BARS_MIN
    called, is_sure = _called_wild(trend_strength(candles, at=_near_ends(_wild(ratio))), ratio, is_warm)
    return called if is_sure else _called_wild(trend_strength(candles), ratio, is_warm)[0]


def efficiency(candles: Cleaned, *, at: Bools | None = None) -> Floats:
    """Return how straight the way of the last 30 bars was, from -1 (straight down) to 1 (straight up).

    The change over the bars by the sum of the sizes of their changes. Source: the efficiency ratio of Perry J. Kaufman, Trading
    Systems and Methods, with its sign kept. No unit. Warm-up: 30 bars, until then over what there is.
    """
    way = trailing_sum(np.abs(candles.returns), EFFICIENCY_BARS, at=at)
    change = candles.close - ago(candles.close, EFFICIENCY_BARS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(way > STILL, np.clip(change / way, -1, 1), 0.0)


def fit(close: Floats, *, at: Bools | None = None) -> Floats:
    """Return how much of the variance of the last 60 closes a straight line explains, with the sign of its slope: -1 to 1.

    Source: least squares, R². No unit. Warm-up: 60 bars, until then 0.
    """
    # The newest comes first, so the distance from the window's middle falls along it.
    away = (SLOPE_BARS - 1) / 2 - np.arange(SLOPE_BARS)
    width = float((away**2).sum())

    def explained(rows: Floats) -> Floats:
        centred = rows - rows.mean(axis=1, keepdims=True)
        along, spread = (centred * away).sum(axis=1), (centred**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.sign(along) * np.clip(along**2 / (width * spread), 0, 1)
        return np.where(spread > STILL**2, share, 0.0)

    return over_trailing(close, SLOPE_BARS, explained, at=at)


def directional_index(candles: Cleaned) -> Floats:
    """Return Wilder's average directional index over 14 bars, -100 to 100: below zero where the downward moves are the larger.

    Source: J. Welles Wilder, New Concepts in Technical Trading Systems, 1978; of the prices' logarithms. No unit. Warm-up:
    28 bars, until then 0; where it begins has faded to 0.005 % after 140.
    """
    if len(candles.close) < 2 * ADX_BARS:
        return np.zeros(len(candles.close))
    columns = (candles.high, candles.low, candles.close, ADX_BARS)
    rises, falls = talib.PLUS_DI(*columns), talib.MINUS_DI(*columns)
    figures: Floats = np.nan_to_num(talib.ADX(*columns)) * np.sign(np.nan_to_num(rises - falls))
    return figures


def trend_strength(candles: Cleaned, *, at: Bools | None = None) -> Floats:
    """Return how much of a trend there is, from -1 (down) to 1 (up): the mean of three measures, each with its own sign.

    Each is stretched over what it takes in ordinary markets: the efficiency ratio from 0.15 to 0.5, the directional index from 15
    to 40, the straight line's share from 0 to 1. Where they do not agree on the direction they cancel. No unit. Warm-up: 60
    bars; 0 until then. Where ``at`` is not set nobody asks, and it is NaN.
    """
    straight = _stretched(efficiency(candles, at=at), *EFFICIENCY_SPAN)
    directed = _stretched(directional_index(candles), *ADX_SPAN)
    strength = (fit(candles.close, at=at) + straight + directed) / 3
    return np.where(np.arange(len(strength)) < SLOPE_BARS - 1, 0.0, strength)


def realised_volatility(moderate: Floats) -> Floats:
    """Return the root of the mean squared return of the last 20 bars.

    Source: realised volatility; each return is cut at 6 robust standard deviations, so that one bar alone makes no regime. Unit:
    natural logarithm of price a bar, about the fraction of the price. Warm-up: 20 bars, until then over what there is.
    """
    count = np.minimum(np.arange(1, len(moderate) + 1), FAST_BARS)
    volatility: Floats = np.sqrt(trailing_sum(moderate**2, FAST_BARS) / count)
    return volatility


def volatility_ratio(volatility: Floats, *, at: Bools | None = None) -> Floats:
    """Return volatility by its own median over the last 200 bars, of which every fifth is looked at; 1 is as usual.

    Neither is taken for less than one basis point a bar. No unit. Warm-up: 220 bars; from 36 bars on over what there is, until
    then 1. Where ``at`` is not set nobody asks, and it is 1.
    """
    usual = trailing_median(volatility, SLOW_BARS, step=SLOW_STEP, least=SLOW_LEAST, at=at)
    ratio = np.maximum(volatility, VOLATILITY_FLOOR) / np.maximum(usual, VOLATILITY_FLOOR)
    return np.where(np.isnan(usual), 1.0, ratio)


def _stretched(figures: Floats, low: float, high: float) -> Floats:
    """Return the figures with 0 at ``low`` and below, and 1 at ``high`` and above, the sign kept."""
    return np.sign(figures) * np.clip((np.abs(figures) - low) / (high - low), 0, 1)


def _raw(strength: Floats, ratio: Floats) -> Ints:
    """Return each bar's regime by thresholds with hysteresis, before it is confirmed."""
    up = _switched(strength >= TREND_ENTER, strength < TREND_LEAVE)
    down = _switched(strength <= -TREND_ENTER, strength > -TREND_LEAVE)
    sideways = _switched(np.abs(strength) <= RANGE_ENTER, np.abs(strength) > RANGE_LEAVE)
    return np.select([_wild(ratio), up, down, sideways], [HIGH_VOLATILITY, TREND_UP, TREND_DOWN, RANGE], UNKNOWN)


def _wild(ratio: Floats) -> Bools:
    return _switched(ratio >= VOLATILITY_ENTER, ratio < VOLATILITY_LEAVE)


def _may_be_wild(volatility: Floats) -> Bools:
    """Return where the market may be wild by the least of the last 200 volatilities, below which their median never is."""
    least = -trailing_max(-volatility, SLOW_BARS)
    return _wild(np.maximum(volatility, VOLATILITY_FLOOR) / np.maximum(least, VOLATILITY_FLOOR))


def _near_ends(wild: Bools) -> Bools:
    """Return the bars around the first one after each wild stretch."""
    ends = _before(wild) & ~wild
    return any_of_last(ends, NEAR_BARS) | any_of_last(ends[::-1], NEAR_BARS)[::-1]


def _called_wild(strength: Floats, ratio: Floats, is_warm: Bools) -> tuple[Bools, bool]:
    """Return which bars are called high volatility, and whether that is sure: ``strength`` is NaN where it is not known.

    It is, when the trends are known at every bar that goes on being called so without being wild, and at the one that ends it.
    """
    called = _confirmed(_raw(strength, ratio), is_warm) == HIGH_VOLATILITY
    # Such a figure passes a threshold of every switch, so that from there on it does not matter what was before.
    settles = (np.abs(strength) <= RANGE_ENTER) | (np.abs(strength) >= TREND_ENTER)
    is_known = _wild(ratio) | (last_true(settles) > last_true(np.isnan(strength)))
    return called, bool(is_known[_before(called)].all())


def _before(flags: Bools) -> Bools:
    """Return each bar's flag of the bar before."""
    return np.concatenate([np.zeros(min(1, len(flags)), dtype=np.bool_), flags[:-1]])


def _switched(enter: Bools, leave: Bools) -> Bools:
    """Return a switch that goes on with ``enter`` and off with ``leave``, and else stays as it was; off at first."""
    return last_true(enter) > last_true(leave)


def _confirmed(raw: Ints, is_warm: Bools) -> Ints:
    """Return the regimes that showed long enough; until another one did, the one before goes on."""
    code = np.where(is_warm, raw, UNKNOWN)
    begins = np.diff(code, prepend=-1) != 0
    shown_for = np.arange(1, len(code) + 1) - last_true(begins)
    place = last_true(shown_for >= np.array(CONFIRM_BARS)[code])
    return np.where(is_warm & (place >= 0), code[np.maximum(place, 0)], UNKNOWN)


def _confidence(code: Ints, strength: Floats, ratio: Floats, age: Ints) -> Floats:
    """Return how sure the regime is, 0 to 1: how far its figure is from the threshold at which the regime ends.

    High volatility is at least 0.6, since it is called so only when it is plain, and a short history makes that no smaller: it
    is what keeps entries away. The others count for less until 220 bars are there.
    """
    size = np.abs(strength)
    trend = np.clip((size - TREND_LEAVE) / (1 - TREND_LEAVE), 0, 1)
    sideways = np.clip(1 - size / RANGE_LEAVE, 0, 1)
    further = np.clip((ratio - VOLATILITY_ENTER) / VOLATILITY_ENTER, 0, 1)
    wild = HIGH_VOLATILITY_CONFIDENCE + (1 - HIGH_VOLATILITY_CONFIDENCE) * further
    known = np.clip(age / (SLOW_BARS + FAST_BARS), 0, 1)
    figures = [sideways * known, trend * known, trend * known, wild]
    return np.select([code == RANGE, code == TREND_UP, code == TREND_DOWN, code == HIGH_VOLATILITY], figures, 0.0)
