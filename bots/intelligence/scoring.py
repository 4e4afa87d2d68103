"""How good a market is for buying into it, from 0 to 100, in named parts."""

import numpy as np

from bots.intelligence.quality import Cleaned
from bots.intelligence.regime import STILL, Regimes
from bots.intelligence.windows import ago, trailing_max, trailing_median, trailing_sum
from bots.market_data.base import Floats

#: What each part counts for, of 100. The house buys first and sells later, so direction counts for nearly half (trend and
#: momentum, which overlap); what it costs to be wrong (volatility, drawdown) and to trade at all (liquidity) for the most of
#: the rest; the data for little, since bad data keep entries away by themselves. Round figures, fitted to nothing.
WEIGHTS = {"trend": 25, "momentum": 20, "volatility": 15, "liquidity": 15, "drawdown": 15, "data": 10}
PARTS = tuple(WEIGHTS)
MOMENTUM_BARS, DRAWDOWN_BARS, RECENT_BARS, USUAL_BARS, USUAL_STEP = 60, 200, 5, 200, 5
#: The volatility part is 100 up to the usual volatility, and 0 from so many times that on.
VOLATILITY_RATIO_MAX = 3.0
#: The drawdown part is 0 from so many times the way on that chance goes in 200 bars.
DRAWDOWN_CHANCES_MAX = 2.0
#: A round trip's cost is judged against how far the price usually goes in so many bars.
COST_BARS = 60
BPS = 10_000.0
NEUTRAL = 50.0


def parts(candles: Cleaned, regimes: Regimes) -> dict[str, Floats]:
    """Return the parts bar by bar, each from 0 to 100; ``liquidity`` here is that of the volume alone."""
    return {
        "trend": NEUTRAL + NEUTRAL * regimes.strength,
        "momentum": momentum(candles),
        "volatility": calm(regimes),
        "liquidity": busyness(candles.volume),
        "drawdown": nearness_to_high(candles),
        "data": 100 * candles.quality,
    }


def momentum(candles: Cleaned) -> Floats:
    """Return the change over the last 60 bars by what chance makes of as many, squeezed to 0..100; 50 is no change.

    50 + 50 tanh(z / 2), where z is the change of the logarithm by the root of the sum of squared returns, each cut at 6 robust
    standard deviations. Source: momentum scaled by volatility, Moskowitz, Ooi and Pedersen, Time Series Momentum, 2012.
    Warm-up: 60 bars, until then over what there is.
    """
    change = candles.close - ago(candles.close, MOMENTUM_BARS)
    chance = np.sqrt(trailing_sum(candles.moderate**2, MOMENTUM_BARS))
    return NEUTRAL + NEUTRAL * np.tanh(_by_chance(change, chance) / 2)


def calm(regimes: Regimes) -> Floats:
    """Return 100 while volatility is at most what is usual, falling to 0 where it is three times that, and 0 where nothing moves.

    Source: volatility by its own median (``regime.volatility_ratio``). Warm-up: as that.
    """
    share = (VOLATILITY_RATIO_MAX - regimes.volatility_ratio) / (VOLATILITY_RATIO_MAX - 1)
    return np.where(regimes.volatility > STILL, 100 * np.clip(share, 0, 1), 0.0)


def busyness(volume: Floats) -> Floats:
    """Return the mean volume of the last 5 bars by the median of the last 200, 100 from the median on; 50 where none is known.

    Source: relative volume. Of the 200 every fifth is looked at. Warm-up: 200 bars, until then over what there is.
    """
    count = np.minimum(np.arange(1, len(volume) + 1), RECENT_BARS)
    usual = trailing_median(volume, USUAL_BARS, step=USUAL_STEP)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = trailing_sum(volume / RECENT_BARS, RECENT_BARS) / usual * (RECENT_BARS / count)
    return np.where(usual > 0, 100 * np.clip(share, 0, 1), NEUTRAL)


def nearness_to_high(candles: Cleaned) -> Floats:
    """Return 100 at the highest close of the last 200 bars, falling to 0 at twice the way below it that chance goes in 200 bars.

    The median of three closes counts, so that a spike is no high. What chance goes is the root of the sum of those bars' squared
    returns, each cut at 6 robust standard deviations. Source: drawdown by volatility. Warm-up: 200 bars, until then over what
    there is.
    """
    one, two = ago(candles.close, 1), ago(candles.close, 2)
    middle = np.maximum(np.minimum(candles.close, one), np.minimum(np.maximum(candles.close, one), two))
    highest = trailing_max(middle, DRAWDOWN_BARS)
    chance = np.sqrt(trailing_sum(candles.moderate**2, DRAWDOWN_BARS))
    fall = np.maximum(highest - candles.close, 0)
    part: Floats = 100 * np.clip(1 - _by_chance(fall, chance) / DRAWDOWN_CHANCES_MAX, 0, 1)
    return part


def usual_way_bps(volatility: Floats) -> Floats:
    """Return how far the price usually goes in 60 bars, in basis points: volatility x √60, the root-of-time rule."""
    way_bps: Floats = volatility * (COST_BARS**0.5 * BPS)
    return way_bps


def liquidity(by_volume: float, cost_bps: float, way_bps: float) -> int:
    """Return the liquidity part: half by the volume, half by the cost of a round trip.

    The half by cost is 100 where a round trip costs nothing, and 0 where it costs as much as the price usually goes in 60 bars.
    """
    by_cost = 100 * max(0.0, 1 - cost_bps / way_bps) if way_bps > STILL else 0.0
    return round((by_volume + by_cost) / 2)


def total(figures: dict[str, int]) -> int:
    """Return the score: the mean of the parts by their weights, in whole numbers, halves upward."""
    return (sum(WEIGHTS[name] * figure for name, figure in figures.items()) + 50) // 100


def _by_chance(way: Floats, chance: Floats) -> Floats:
    """Return the way by what chance goes, and 0 where nothing moved."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance > STILL, way / chance, 0.0)
