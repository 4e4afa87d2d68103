"""How long regimes last, by hand; and the shuffled market, which has the same moves and nothing that lasts."""

import numpy as np
import pytest

from bots.backtest import recorded_series
from bots.evaluation.check import last_bars
from bots.evaluation.regimes import changes_a_hundred, check_regimes, mean_length, runs, shuffled, transitions
from bots.intelligence.regime import REGIMES

KINDS = np.array([1, 1, 1, 2, 2, 1, 3, 3, 3, 3], dtype=np.int64)


def test_runs_and_their_mean_length_by_hand() -> None:
    which, lengths = runs(KINDS)
    assert (which.tolist(), lengths.tolist()) == ([1, 2, 1, 3], [3, 2, 1, 4])
    assert [mean_length(KINDS, number) for number in (1, 2, 3, 4)] == [2.0, 2.0, 4.0, 0.0]
    assert runs(KINDS[:0])[1].tolist() == []


def test_transitions_are_shares_of_each_row() -> None:
    matrix = transitions(KINDS)
    assert matrix[1].tolist() == [0, 0.5, 0.25, 0.25, 0]
    assert matrix[2].tolist() == [0, 0.5, 0.5, 0, 0]
    assert matrix[4].sum() == 0
    assert changes_a_hundred(KINDS) == pytest.approx(100 * 3 / 9)


def test_shuffled_market_has_the_same_bars_in_another_order() -> None:
    whole = last_bars(recorded_series("BTC-PERP", "1m", None, None), 3000)
    other = shuffled(whole, np.random.default_rng(5))
    assert other.close[-1] == pytest.approx(whole.close[-1])
    assert not np.allclose(other.close[100:2900], whole.close[100:2900])
    assert np.sort(other.high / other.low) == pytest.approx(np.sort(whole.high / whole.low))
    assert (other.high >= np.maximum(other.open, other.close) * (1 - 1e-12)).all()
    assert (other.low <= np.minimum(other.open, other.close) * (1 + 1e-12)).all()
    assert sorted(other.volume) == sorted(whole.volume)


def test_trend_that_lasts_is_seen_to_last_longer_than_shuffled() -> None:
    quiet = np.random.default_rng(7).normal(0, 0.0005, 6000)
    drift = np.repeat(np.tile([0.0008, -0.0008], 10), 300)
    close = 100 * np.exp(np.cumsum(quiet + drift))
    from tests.bots.strategies.builders import series

    found = check_regimes(series(list(close)))
    by_name = {one.regime.value: one for one in found.lasting}
    assert by_name["trend_up"].is_sure
    assert by_name["trend_up"].length > 2 * by_name["trend_up"].length_shuffled
    # It was built so that a trend went on: the check has to say so.
    assert by_name["trend_up"].followed.mean_bps > 0 > by_name["trend_down"].followed.mean_bps
    assert sum(one.share for one in found.lasting) == pytest.approx(1)
    assert len(found.lasting) == len(REGIMES)
    assert found.changes_a_hundred < found.changes_a_hundred_shuffled
