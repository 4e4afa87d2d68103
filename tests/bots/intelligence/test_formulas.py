"""Each formula against itself written out slowly, bar by bar."""

import math
import statistics

import numpy as np
import pytest

from bots.intelligence import quality, regime, scoring, windows
from bots.intelligence.quality import Cleaned
from bots.market_data.base import Floats
from tests.bots.intelligence.builders import candles, recorded, swinging, walk

SAMPLES = {
    "walk": candles(walk(420)),
    "trend": candles(walk(420, drift=0.0008)),
    "range": candles(swinging(420)),
    "fall": candles(walk(300, drift=-0.002, sigma=0.003)),
    "short": candles(walk(40)),
    "just enough for the index": candles(walk(28, drift=0.002)),
    "just too short for the index": candles(walk(27, drift=0.002)),
    "recorded": recorded("SPX", "5m"),
}
BARS = (0, 1, 5, 19, 20, 35, 59, 60, 90, 150, 199, 200, 260, 299)


@pytest.fixture(params=list(SAMPLES), ids=list(SAMPLES))
def cleaned(request: pytest.FixtureRequest) -> Cleaned:
    return quality.clean(SAMPLES[request.param])


def some(cleaned: Cleaned) -> list[int]:
    """Return the bars to look at: some early ones, some at the edges of windows, and the last."""
    count = len(cleaned.close)
    return sorted({bar for bar in BARS if bar < count} | {count - 1})


def last(figures: Floats, bar: int, bars: int) -> list[float]:
    """Return the last ``bars`` figures up to ``bar``, or what there is of them."""
    return [float(figure) for figure in figures[max(0, bar - bars + 1) : bar + 1]]


def test_prices_become_logarithms_over_the_first_close() -> None:
    series = SAMPLES["walk"]
    cleaned = quality.clean(series)
    for bar in some(cleaned):
        assert cleaned.close[bar] == pytest.approx(math.log(series.close[bar] / series.close[0]), abs=1e-12)
        assert cleaned.high[bar] == pytest.approx(math.log(series.high[bar] / series.close[0]), abs=1e-12)
        assert cleaned.low[bar] == pytest.approx(math.log(series.low[bar] / series.close[0]), abs=1e-12)


def test_efficiency_is_the_change_by_the_way(cleaned: Cleaned) -> None:
    figures = regime.efficiency(cleaned)
    for bar in some(cleaned):
        start = max(0, bar - 30)
        way = sum(abs(cleaned.close[i] - cleaned.close[i - 1]) for i in range(start + 1, bar + 1))
        expected = (cleaned.close[bar] - cleaned.close[start]) / way if way else 0.0
        assert figures[bar] == pytest.approx(expected, abs=1e-9)


def test_fit_is_the_share_that_a_straight_line_explains(cleaned: Cleaned) -> None:
    figures = regime.fit(cleaned.close)
    for bar in some(cleaned):
        if bar < 59:
            assert figures[bar] == 0
            continue
        closes = last(cleaned.close, bar, 60)
        share = statistics.correlation(range(60), closes) ** 2
        rises = statistics.linear_regression(range(60), closes).slope > 0
        assert figures[bar] == pytest.approx(share if rises else -share, abs=1e-9)


def test_directional_index_is_wilders(cleaned: Cleaned) -> None:
    figures = regime.directional_index(cleaned)
    expected = slow_adx(cleaned, 14)
    for bar in some(cleaned):
        assert figures[bar] == pytest.approx(expected[bar], abs=1e-6)


def slow_adx(cleaned: Cleaned, bars: int) -> list[float]:
    """Return Wilder's index as his book has it: smoothed sums, and to begin with the mean of the first ``bars`` indices."""
    count = len(cleaned.close)
    plus, minus, ranges = [0.0], [0.0], [0.0]
    for i in range(1, count):
        up, down = cleaned.high[i] - cleaned.high[i - 1], cleaned.low[i - 1] - cleaned.low[i]
        plus.append(up if up > down and up > 0 else 0.0)
        minus.append(down if down > up and down > 0 else 0.0)
        highs = cleaned.high[i] - cleaned.low[i], abs(cleaned.high[i] - cleaned.close[i - 1])
        ranges.append(max(*highs, abs(cleaned.low[i] - cleaned.close[i - 1])))
    out = [0.0] * count
    if count < 2 * bars:
        return out
    sums = [sum(column[1:bars]) for column in (plus, minus, ranges)]
    found: list[float] = []
    smooth = 0.0
    for i in range(bars, count):
        sums = [s - s / bars + column[i] for s, column in zip(sums, (plus, minus, ranges), strict=True)]
        rise, fall = sums[0] / sums[2], sums[1] / sums[2]
        found.append(100 * abs(rise - fall) / (rise + fall))
        if len(found) >= bars:
            smooth = (smooth * (bars - 1) + found[-1]) / bars if len(found) > bars else sum(found) / bars
            out[i] = smooth if rise > fall else -smooth
    return out


def test_strength_is_the_mean_of_the_three_stretched_measures(cleaned: Cleaned) -> None:
    figures = regime.trend_strength(cleaned)
    straight, directed, share = regime.efficiency(cleaned), regime.directional_index(cleaned), regime.fit(cleaned.close)
    for bar in some(cleaned):
        one = math.copysign(min(1, max(0, (abs(straight[bar]) - 0.15) / 0.35)), straight[bar])
        two = math.copysign(min(1, max(0, (abs(directed[bar]) - 15) / 25)), directed[bar])
        expected = 0.0 if bar < 59 else (share[bar] + one + two) / 3
        assert figures[bar] == pytest.approx(expected, abs=1e-9)


def test_robust_scale_is_the_median_move_before_the_bar(cleaned: Cleaned) -> None:
    figures = quality.robust_scale(cleaned.returns)
    for bar in some(cleaned):
        known = sorted(abs(cleaned.returns[i]) for i in range(bar - 1, max(0, bar - 91), -3) if i >= 1)
        if len(known) < 10:
            assert math.isnan(figures[bar])
        else:
            assert figures[bar] == pytest.approx(1.4826 * known[(len(known) - 1) // 2], abs=1e-12)


def test_volatility_is_the_root_of_the_mean_square(cleaned: Cleaned) -> None:
    figures = regime.realised_volatility(cleaned.moderate)
    for bar in some(cleaned):
        squares = [figure**2 for figure in last(cleaned.moderate, bar, 20)]
        assert figures[bar] == pytest.approx(math.sqrt(sum(squares) / len(squares)), abs=1e-12)


def test_volatility_ratio_is_by_its_own_median(cleaned: Cleaned) -> None:
    volatility = regime.realised_volatility(cleaned.moderate)
    figures = regime.volatility_ratio(volatility)
    for bar in some(cleaned):
        seen = sorted(volatility[i] for i in range(bar, max(-1, bar - 200), -5))
        usual = seen[(len(seen) - 1) // 2]
        expected = max(volatility[bar], 1e-4) / max(usual, 1e-4) if len(seen) >= 8 else 1.0
        assert figures[bar] == pytest.approx(expected, abs=1e-9)


def test_momentum_is_the_change_by_chance(cleaned: Cleaned) -> None:
    figures = scoring.momentum(cleaned)
    for bar in some(cleaned):
        chance = math.sqrt(sum(figure**2 for figure in last(cleaned.moderate, bar, 60)))
        z = (cleaned.close[bar] - cleaned.close[max(0, bar - 60)]) / chance if chance else 0.0
        assert figures[bar] == pytest.approx(50 + 50 * math.tanh(z / 2), abs=1e-6)


def test_nearness_to_high_is_the_fall_by_chance(cleaned: Cleaned) -> None:
    figures = scoring.nearness_to_high(cleaned)
    closes = [float(figure) for figure in cleaned.close]
    middles = [statistics.median(closes[max(0, i - 2) : i + 1] if i >= 2 else [closes[0]] * 2 + closes[i : i + 1])
               for i in range(len(closes))]  # fmt: skip
    for bar in some(cleaned):
        chance = math.sqrt(sum(move**2 for move in last(cleaned.moderate, bar, 200)))
        fall = max(0.0, max(middles[max(0, bar - 199) : bar + 1]) - closes[bar])
        expected = 100 * min(1, max(0, 1 - fall / chance / 2)) if chance else 100
        assert figures[bar] == pytest.approx(expected, abs=1e-6)


def test_busyness_is_the_recent_volume_by_the_usual() -> None:
    volume = np.random.default_rng(3).lognormal(2, 1, 320)
    figures = scoring.busyness(volume)
    for bar in (0, 1, 3, 4, 10, 199, 200, 319):
        recent = last(volume, bar, 5)
        usual = sorted(volume[i] for i in range(bar, max(-1, bar - 200), -5))
        expected = 100 * min(1.0, sum(recent) / len(recent) / usual[(len(usual) - 1) // 2])
        assert figures[bar] == pytest.approx(expected, abs=1e-9)


def test_windows_larger_than_a_block_are_the_same() -> None:
    figures = np.random.default_rng(4).normal(size=2 * windows.BLOCK_BARS + 17)
    summed, middle = windows.trailing_sum(figures, 30), windows.trailing_median(figures, 30, step=3)
    for bar in (windows.BLOCK_BARS - 1, windows.BLOCK_BARS, windows.BLOCK_BARS + 1, len(figures) - 1):
        assert summed[bar] == pytest.approx(sum(last(figures, bar, 30)), abs=1e-12)
        assert middle[bar] == sorted(figures[bar - 27 : bar + 1 : 3])[4]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_windows_are_the_same_to_the_last_digit_whoever_else_asks(share: float) -> None:
    rng = np.random.default_rng(6)
    figures = rng.normal(size=2 * windows.BLOCK_BARS + 17)
    at = rng.random(len(figures)) < share
    for bars, step in ((30, 3), (200, 5), (20, 1)):
        middle = windows.trailing_median(figures, bars, step=step)
        asked = windows.trailing_median(figures, bars, step=step, at=at)
        np.testing.assert_array_equal(asked, np.where(at, middle, np.nan))
        summed = windows.trailing_sum(figures, bars, at=at)
        np.testing.assert_array_equal(summed, np.where(at, windows.trailing_sum(figures, bars), np.nan))
