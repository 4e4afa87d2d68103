"""What a market scores, and by which of its parts."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bots.intelligence import layer, scoring
from bots.intelligence.candles import reading
from bots.intelligence.regime import Regimes
from bots.market_data.base import Floats
from tests.bots.intelligence.builders import candles, circumstances, part, quote, swinging, walk

NOTHING = dict.fromkeys(scoring.PARTS, 0)


def test_weights_make_a_hundred() -> None:
    assert sum(scoring.WEIGHTS.values()) == 100
    assert scoring.total(dict.fromkeys(scoring.PARTS, 100)) == 100
    assert scoring.total(NOTHING) == 0


@pytest.mark.parametrize("name", scoring.PARTS)
def test_each_part_counts_by_its_weight(name: str) -> None:
    assert scoring.total(NOTHING | {name: 100}) == scoring.WEIGHTS[name]


def test_halves_are_rounded_upward() -> None:
    assert scoring.total(NOTHING | {"data": 45}) == 5
    assert scoring.total(NOTHING | {"data": 44}) == 4


def score(closes: Floats, **changes: Any) -> int:
    return layer.assess(candles(closes, **changes), circumstances(float(closes[-1]))).score


def test_a_calm_rise_scores_more_than_a_range_and_that_more_than_a_fall() -> None:
    rise, fall = walk(400, drift=0.0006), walk(400, drift=-0.0006)
    assert score(rise) > score(swinging(400, swing=0.004)) + 10 > score(fall) + 20


def test_a_market_that_stands_still_scores_less_than_a_range() -> None:
    assert score(np.full(300, 100.0), height=0) < score(swinging(400, swing=0.004))


@pytest.mark.parametrize(("cost", "part"), [(0, 100), (50, 75), (100, 50), (200, 50)])
def test_liquidity_falls_with_the_cost_until_it_eats_the_usual_way(cost: float, part: int) -> None:
    assert scoring.liquidity(100.0, cost, 100.0) == part


@pytest.mark.parametrize("volume", [0.0, 40.0, 100.0])
def test_without_a_way_to_go_or_with_an_unknown_cost_half_of_liquidity_is_nothing(volume: float) -> None:
    assert scoring.liquidity(volume, 10.0, 0.0) == round(volume / 2)
    assert scoring.liquidity(volume, float("inf"), 100.0) == round(volume / 2)


def test_volume_that_is_not_known_is_neutral() -> None:
    assert set(reading(candles(walk(300), volume=0)).parts["liquidity"]) == {50.0}


def test_volume_that_dries_up_lowers_the_part() -> None:
    volume = np.concatenate([np.full(295, 10.0), np.full(5, 1.0)])
    assert reading(candles(walk(300), volume=volume)).part_values["liquidity"] == pytest.approx(10)


@pytest.mark.parametrize(("ratio", "part"), [(0.2, 100), (1.0, 100), (2.0, 50), (3.0, 0), (9.0, 0)])
def test_volatility_counts_against_what_is_usual(ratio: float, part: float) -> None:
    regimes = reading_with(ratio, volatility=0.001)
    assert scoring.calm(regimes)[0] == pytest.approx(part)


def test_no_volatility_at_all_scores_nothing() -> None:
    assert scoring.calm(reading_with(1.0, volatility=0.0))[0] == 0


def reading_with(ratio: float, volatility: float) -> Regimes:
    one = np.array([1.0])
    return Regimes(np.array([0]), one, one, one * volatility, one * ratio)


def test_a_spike_is_no_high_to_have_fallen_from() -> None:
    """Its two large moves still count a little as what chance does, each cut to six deviations."""
    steps = np.random.default_rng(1).normal(0.0001, 0.001, 300)
    steps[250] = steps[251] = 0
    without_spike = reading(candles(100 * np.exp(np.cumsum(steps)))).part_values["drawdown"]
    steps[250], steps[251] = 0.2, -0.2
    with_spike = reading(candles(100 * np.exp(np.cumsum(steps)))).part_values["drawdown"]
    assert 20 < without_spike < 80
    assert with_spike == pytest.approx(without_spike, abs=10)


@pytest.mark.parametrize(("half_spread_bps", "fee_rate"), [(0.5, 0.0), (1.0, 0.0001), (10.0, 0.004)])
def test_scores_over_the_bars_are_those_of_an_assessment_at_each(half_spread_bps: float, fee_rate: float) -> None:
    series = candles(walk(400, drift=0.0003))
    figures = layer.scores(series, half_spread_bps, fee_rate)
    for bar in range(260, 400, 20):
        half = Decimal(str(half_spread_bps)) / 10_000
        asked = quote(str(100 * (1 - half)), str(100 * (1 + half)))
        found = layer.assess(part(series, 0, bar + 1), circumstances(quote=asked, fee_rate=Decimal(str(fee_rate))))
        assert abs(found.score - figures[bar]) <= 1
