"""Whether regimes last, and what followed them; beside the same market with its bars shuffled, in which nothing lasts."""

from dataclasses import dataclass

import numpy as np

from bots.evaluation.scores import Followed, followed, forward_bps
from bots.intelligence.layer import WARMUP_BARS, reading
from bots.intelligence.regime import REGIMES
from bots.intelligence.values import Regime
from bots.intelligence.windows import Ints
from bots.market_data.base import CandleSeries, Floats

SHUFFLES = 5
SEED = 20_260_101
HORIZON = 60


@dataclass(frozen=True, slots=True)
class Lasting:
    """One regime of one series: its share of the bars, how long it lasts on average, and that in the shuffled markets.

    ``is_sure`` says that every shuffled market's mean was shorter. Lengths are in bars; 0 where it never was.
    """

    regime: Regime
    share: float
    length: float
    length_shuffled: float
    is_sure: bool
    followed: Followed


@dataclass(frozen=True, slots=True)
class RegimeCheck:
    """The regimes of one series. ``matrix`` has the shares of what the next bar was: a row of each regime, in REGIMES' order."""

    lasting: tuple[Lasting, ...]
    matrix: Floats
    changes_a_hundred: float
    changes_a_hundred_shuffled: float


def check_regimes(series: CandleSeries) -> RegimeCheck:
    """Return how the regimes of one series last, without the bars of the warm-up."""
    rng = np.random.default_rng(SEED)
    kinds = reading(series).regimes[WARMUP_BARS:]
    others = [reading(shuffled(series, rng)).regimes[WARMUP_BARS:] for _ in range(SHUFFLES)]
    ahead = forward_bps(series, HORIZON)[WARMUP_BARS:]
    return RegimeCheck(
        lasting=tuple(_lasting(number, kinds, others, ahead) for number in range(len(REGIMES))),
        matrix=transitions(kinds),
        changes_a_hundred=changes_a_hundred(kinds),
        changes_a_hundred_shuffled=float(np.mean([changes_a_hundred(other) for other in others])),
    )


def shuffled(series: CandleSeries, rng: np.random.Generator) -> CandleSeries:
    """Return the same bars in another order, chained one to the other: the same moves, and nothing that lasts."""
    before = np.concatenate([series.open[:1], series.close[:-1]])
    order = rng.permutation(len(series))
    steps = np.log(series.close / before)[order]
    close = before[0] * np.exp(np.cumsum(steps))
    from_ = np.concatenate([before[:1], close[:-1]])
    open_, high, low = (from_ * (column / before)[order] for column in (series.open, series.high, series.low))
    volume = series.volume[order]
    return CandleSeries(
        series.venue, series.symbol, series.timeframe, series.opened_at, open_, high, low, close, volume
    )


def runs(kinds: Ints) -> tuple[Ints, Ints]:
    """Return which regime each unbroken run is, and how many bars it has."""
    if len(kinds) == 0:
        return kinds, kinds
    starts = np.concatenate([[0], np.flatnonzero(np.diff(kinds)) + 1])
    return kinds[starts], np.diff(np.concatenate([starts, [len(kinds)]]))


def mean_length(kinds: Ints, number: int) -> float:
    """Return how many bars a regime lasts on average; 0 where it never was."""
    which, lengths = runs(kinds)
    own = lengths[which == number]
    return float(own.mean()) if len(own) else 0.0


def transitions(kinds: Ints) -> Floats:
    """Return what the bar after each regime was, as shares of a row; a row of zeros for a regime that never was."""
    count = len(REGIMES)
    pairs = np.bincount(kinds[:-1] * count + kinds[1:], minlength=count * count).reshape(count, count)
    total = pairs.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(pairs, total, out=np.zeros((count, count)), where=total > 0)
    return shares


def changes_a_hundred(kinds: Ints) -> float:
    """Return how often the regime changes in a hundred bars."""
    return 100 * float(np.count_nonzero(np.diff(kinds))) / max(len(kinds) - 1, 1)


def _lasting(number: int, kinds: Ints, others: list[Ints], ahead: Floats) -> Lasting:
    length = mean_length(kinds, number)
    shuffled_lengths = [mean_length(other, number) for other in others]
    return Lasting(
        regime=REGIMES[number],
        share=float(np.mean(kinds == number)) if len(kinds) else 0.0,
        length=length,
        length_shuffled=float(np.mean(shuffled_lengths)),
        is_sure=length > max(shuffled_lengths),
        followed=followed(ahead[(kinds == number) & np.isfinite(ahead)], HORIZON, float(np.nanstd(ahead))),
    )
