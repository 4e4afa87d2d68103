"""What followed a score: figures checked by hand, errors that do not count one stretch many times, and no false praise."""

from itertools import pairwise

import numpy as np
import pytest

from bots.evaluation.scores import (
    BPS,
    check_scores,
    deciles,
    followed,
    forward_bps,
    rank_correlation,
)
from bots.intelligence.layer import WARMUP_BARS
from tests.bots.strategies.builders import series

BARS = 4000


def walk(seed: int = 1, bars: int = BARS) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.001, bars)
    return np.asarray(100 * np.exp(np.cumsum(steps)), dtype=np.float64)


def test_forward_return_is_what_the_close_did_and_unknown_at_the_end() -> None:
    ahead = forward_bps(series([100, 101, 99, 102]), 2)
    assert ahead[:2] == pytest.approx([-0.01 * BPS, (102 / 101 - 1) * BPS])
    assert np.isnan(ahead[2:]).all()
    assert np.isnan(forward_bps(series([100, 101]), 2)).all()


def test_mean_and_error_by_hand() -> None:
    found = followed(np.array([1.0, 3.0] * 50), 5)
    assert (found.bars, found.mean_bps, found.size_bps) == (100, 2.0, 2.0)
    # 100 bars are 20 windows of 5 that don't overlap.
    assert found.error_bps == pytest.approx(1 / np.sqrt(20))
    assert followed(np.array([]), 5).bars == 0


@pytest.mark.parametrize(("bars", "error"), [(49, 9 / np.sqrt(9.8)), (50, 1 / np.sqrt(10))])
def test_group_of_few_windows_has_the_spread_of_all(bars: int, error: float) -> None:
    ahead = np.where(np.arange(bars) % 2, 1.0, -1.0)
    assert followed(ahead, 5, spread_bps=9.0).error_bps == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize("slope", [1, -1])
def test_score_that_knows_the_future_is_found_out_either_way(slope: int) -> None:
    candles = series(list(walk()))
    ahead = np.nan_to_num(forward_bps(candles, 20))
    score = np.clip(50 + slope * ahead, 0, 100).astype(np.int64)
    found = check_scores(candles, score, np.ones(BARS, dtype=np.bool_), 20)
    assert found.rank_correlation * slope > 0.9
    assert found.rank_z * slope > 10
    assert found.gap_z * slope > 5


def test_score_that_knows_nothing_is_seldom_called_sure() -> None:
    sure = 0
    for seed in range(40):
        noise = np.random.default_rng(1000 + seed).integers(0, 101, BARS // 20).repeat(20)
        found = check_scores(series(list(walk(seed))), noise, np.ones(BARS, dtype=np.bool_), 20)
        sure += abs(found.rank_z) >= 2
    # One in twenty by chance: 2 of 40 are expected, and more than 7 would come about once in a thousand times.
    assert sure <= 7


def test_warm_up_is_left_out() -> None:
    candles = series(list(walk()))
    may_enter = np.zeros(BARS, dtype=np.bool_)
    may_enter[:WARMUP_BARS] = True
    found = check_scores(candles, np.zeros(BARS, dtype=np.int64), may_enter, 5)
    assert (found.allowed.bars, found.held_back.bars) == (0, BARS - WARMUP_BARS - 5)


def test_deciles_hold_every_bar_once_and_equal_scores_stay_together() -> None:
    score = np.random.default_rng(3).integers(0, 101, 5000)
    found = deciles(score, score.astype(np.float64), 1)
    assert len(found) == 10
    assert sum(one.followed.bars for one in found) == 5000
    assert all(low.score_to < high.score_from for low, high in pairwise(found))
    assert [one.followed.mean_bps for one in found] == sorted(one.followed.mean_bps for one in found)
    [single] = deciles(np.full(100, 7), np.ones(100), 1)
    assert (single.score_from, single.score_to, single.followed.bars) == (7, 7, 100)
    assert deciles(np.array([], dtype=np.int64), np.array([]), 1) == ()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 25, 90], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 2, 2, 3], 1.0),
        ([5, 5, 5], [1, 2, 3], 0.0),
        ([1], [1], 0.0),
        # By hand: ranks 1 2 3 4 5 against 2 1 4 3 5, so 1 - 6 * 4 / (5 * 24).
        ([1, 2, 3, 4, 5], [20, 10, 40, 30, 50], 0.8),
    ],
)
def test_rank_correlation(first: list[int], second: list[float], expected: float) -> None:
    found = rank_correlation(np.array(first, dtype=np.int64), np.array(second, dtype=np.float64))
    assert found == pytest.approx(expected)
