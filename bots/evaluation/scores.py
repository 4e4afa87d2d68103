"""What followed a score: forward returns by score, and whether high scores were followed by more than low ones.

Figures are floats, good for judging and never used as money. Forward returns are in basis points of the close.
"""

from dataclasses import dataclass

import numpy as np

from bots.intelligence.layer import WARMUP_BARS
from bots.intelligence.windows import Bools, Ints
from bots.market_data.base import CandleSeries, Floats

BPS = 10_000.0
GROUPS = 10
#: In bars: from a few candles to about what a position is held for.
HORIZONS = (5, 20, 60, 240)
#: So many standard errors away from nothing is called a difference.
SURE_Z = 2.0
#: Fewer windows that don't overlap say little of how returns spread.
WINDOWS_MIN = 10


@dataclass(frozen=True, slots=True)
class Followed:
    """What followed some bars: how many they are, the mean forward return and its standard error, both in basis points.

    Windows of neighbouring bars overlap, and so say almost the same. The error counts only as many as don't:
    the bars by the horizon. A group of few windows is given the spread of all bars, its own being that of a single stretch.
    """

    bars: int
    mean_bps: float
    error_bps: float
    #: The mean size of the forward return, whichever way it went.
    size_bps: float


@dataclass(frozen=True, slots=True)
class Decile:
    """The bars whose score lies in one tenth of all, from the lowest score to the highest."""

    score_from: int
    score_to: int
    followed: Followed


@dataclass(frozen=True, slots=True)
class ScoreCheck:
    """One series at one horizon. ``rank_z`` is how many standard errors the rank correlation is away from none."""

    horizon: int
    deciles: tuple[Decile, ...]
    everything: Followed
    allowed: Followed
    held_back: Followed
    rank_correlation: float
    rank_z: float

    @property
    def gap_z(self) -> float:
        """Return by how many standard errors the highest tenth was followed by more than the lowest; 0 where nobody can say."""
        if len(self.deciles) < 2:
            return 0.0
        low, high = self.deciles[0].followed, self.deciles[-1].followed
        error = float(np.hypot(low.error_bps, high.error_bps))
        return (high.mean_bps - low.mean_bps) / error if error > 0 else 0.0


def forward_bps(series: CandleSeries, horizon: int) -> Floats:
    """Return for each bar what the close did over the next ``horizon`` bars, NaN where these are not all there."""
    ahead = np.full(len(series), np.nan)
    if len(series) > horizon:
        ahead[:-horizon] = (series.close[horizon:] / series.close[:-horizon] - 1) * BPS
    return ahead


def check_scores(series: CandleSeries, scores: Ints, allowed: Bools, horizon: int) -> ScoreCheck:
    """Return what followed the scores of one series at one horizon, without the bars of the warm-up."""
    ahead = forward_bps(series, horizon)
    is_used = np.isfinite(ahead)
    is_used[:WARMUP_BARS] = False
    ahead, score, may_enter = ahead[is_used], scores[is_used], allowed[is_used]
    correlation = rank_correlation(score, ahead)
    windows, spread_bps = len(ahead) / horizon, _spread_bps(ahead)
    return ScoreCheck(
        horizon=horizon,
        deciles=deciles(score, ahead, horizon),
        everything=followed(ahead, horizon),
        allowed=followed(ahead[may_enter], horizon, spread_bps),
        held_back=followed(ahead[~may_enter], horizon, spread_bps),
        rank_correlation=correlation,
        # The standard error of a rank correlation of n independent pairs that have nothing to do with each other.
        rank_z=correlation * np.sqrt(windows - 1) if windows > 1 else 0.0,
    )


def followed(ahead: Floats, horizon: int, spread_bps: float = 0.0) -> Followed:
    """Return the mean of these forward returns, with its standard error over windows that don't overlap.

    ``spread_bps`` is the standard deviation of all bars' returns.
    """
    count = len(ahead)
    if count == 0:
        return Followed(0, 0.0, 0.0, 0.0)
    windows = max(count / horizon, 1.0)
    own_bps = float(np.std(ahead))
    error = (own_bps if windows >= WINDOWS_MIN else max(own_bps, spread_bps)) / float(np.sqrt(windows))
    return Followed(count, float(np.mean(ahead)), error, float(np.mean(np.abs(ahead))))


def deciles(score: Ints, ahead: Floats, horizon: int) -> tuple[Decile, ...]:
    """Return what followed each tenth of the scores. Equal scores stay together, so a tenth can be larger or missing."""
    if len(score) == 0:
        return ()
    edges = np.unique(np.quantile(score, np.linspace(0, 1, GROUPS + 1)[1:-1], method="nearest"))
    group = np.searchsorted(edges, score, side="right")
    found, spread_bps = [], _spread_bps(ahead)
    for number in range(len(edges) + 1):
        is_in = group == number
        if is_in.any():
            inside = score[is_in]
            found.append(Decile(int(inside.min()), int(inside.max()), followed(ahead[is_in], horizon, spread_bps)))
    return tuple(found)


def rank_correlation(first: Ints, second: Floats) -> float:
    """Return Spearman's rank correlation, from -1 to 1; 0 where one of the two never changes. Equal figures share a rank."""
    if len(first) < 2:
        return 0.0
    one, other = _ranks(first), _ranks(second)
    spread = float(np.std(one) * np.std(other))
    return float(np.mean((one - one.mean()) * (other - other.mean())) / spread) if spread > 0 else 0.0


def _spread_bps(ahead: Floats) -> float:
    return float(np.std(ahead)) if len(ahead) else 0.0


def _ranks(figures: Ints | Floats) -> Floats:
    _, place, counts = np.unique(figures, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = ((last - counts + 1 + last) / 2)[place]
    return ranks
