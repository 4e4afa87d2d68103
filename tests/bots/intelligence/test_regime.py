"""What a market is called, when it begins and ends to be called so, and how sure that is."""

import numpy as np
import pytest

from bots.intelligence import candles as reader
from bots.intelligence import regime
from bots.intelligence.quality import clean
from bots.intelligence.regime import HIGH_VOLATILITY, RANGE, TREND_DOWN, TREND_UP, UNKNOWN, regimes
from bots.intelligence.values import Regime
from bots.intelligence.windows import Ints
from bots.market_data.base import Floats
from tests.bots.intelligence.builders import candles, recorded, swinging, walk


def codes(closes: Floats) -> Ints:
    """Return the regime of each bar."""
    return regimes(clean(candles(closes))).code


def runs(code: Ints) -> list[tuple[int, int]]:
    """Return each stretch of one code as (code, bars)."""
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    return [(int(code[at]), int(end - at)) for at, end in zip(begins, [*begins[1:], len(code)], strict=True)]


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        (walk(400, drift=0.001), Regime.TREND_UP),
        (walk(400, drift=-0.001), Regime.TREND_DOWN),
        (swinging(400), Regime.RANGE),
        (np.concatenate([walk(300, sigma=0.0005), walk(40, sigma=0.005)]), Regime.HIGH_VOLATILITY),
        (walk(60, drift=0.001), Regime.UNKNOWN),
    ],
)
def test_plain_markets_are_called_by_their_name(closes: Floats, expected: Regime) -> None:
    assert reader.reading(candles(closes)).regime == expected


def test_the_same_market_upside_down_trends_the_other_way() -> None:
    up = codes(walk(500, drift=0.0006))
    down = codes(100 * 100 / walk(500, drift=0.0006))
    swapped = np.select([down == TREND_UP, down == TREND_DOWN], [TREND_DOWN, TREND_UP], down)
    assert (up == TREND_UP).any()
    assert np.array_equal(up, swapped)


def test_no_regime_is_named_before_sixty_bars_and_five_to_confirm() -> None:
    found = codes(walk(100, drift=0.003))
    assert (found[:63] == UNKNOWN).all()
    assert (found[63:] == TREND_UP).all()


def test_a_switch_goes_on_and_off_at_its_two_thresholds_and_holds_in_between() -> None:
    figure = np.array([0.1, 0.59, 0.6, 0.5, 0.4, 0.39, 0.5, 0.59, 0.7])
    switched = regime._switched(figure >= 0.6, figure < 0.4)
    assert switched.tolist() == [False, False, True, True, True, False, False, False, True]


def confirmed(shown: list[int]) -> list[int]:
    found: list[int] = regime._confirmed(np.array(shown), np.full(len(shown), True)).tolist()
    return found


@pytest.mark.parametrize(
    ("code", "bars"), [(UNKNOWN, 3), (RANGE, 5), (TREND_UP, 5), (TREND_DOWN, 5), (HIGH_VOLATILITY, 2)]
)
def test_a_regime_is_called_so_only_after_it_showed_for_some_bars(code: int, bars: int) -> None:
    before = TREND_UP if code == RANGE else RANGE
    start = [before] * 5
    assert confirmed(start + [code] * (bars - 1) + [before] * 3)[5:] == [before] * (bars + 2)
    assert confirmed(start + [code] * (bars + 1))[5:] == [before] * (bars - 1) + [code] * 2


def test_a_figure_that_trembles_about_its_threshold_changes_the_regime_seldom() -> None:
    rng = np.random.default_rng(7)
    calm = np.ones(2000)
    for level in (regime.TREND_ENTER, regime.TREND_LEAVE, regime.RANGE_ENTER, regime.RANGE_LEAVE):
        strength = level + rng.normal(0, 0.05, 2000)
        plain = (np.diff(strength >= level) != 0).sum()
        called = (np.diff(confirmed(regime._raw(strength, calm).tolist())) != 0).sum()
        assert plain > 900
        assert called <= plain / 10


def test_volatility_that_trembles_about_its_threshold_changes_the_regime_seldom() -> None:
    ratio = regime.VOLATILITY_ENTER + np.random.default_rng(8).normal(0, 0.3, 2000)
    called = (np.diff(confirmed(regime._raw(np.zeros(2000), ratio).tolist())) != 0).sum()
    assert called <= 5


@pytest.mark.parametrize("symbol", ["BTC-PERP", "SPX", "SPY", "AAPL"])
def test_regimes_of_recorded_markets_last(symbol: str) -> None:
    """A regime lasts 25 bars or more in the mean, and none but the first is shorter than what confirms the next."""
    lengths = [length for _, length in runs(reader.reading(recorded(symbol)).regimes)]
    assert np.mean(lengths) > 25
    assert min(lengths[1:-1]) >= 2


def test_a_single_bar_makes_no_high_volatility() -> None:
    steps = np.random.default_rng(1).normal(0, 0.0005, 400)
    steps[300] = 0.05
    assert HIGH_VOLATILITY not in codes(100 * np.exp(np.cumsum(steps)))


def test_high_volatility_passes_when_the_market_is_calm_again() -> None:
    closes = np.exp(np.cumsum(np.concatenate([np.diff(np.log(walk(300, sigma=0.0005))),
                                              np.random.default_rng(2).normal(0, 0.004, 40),
                                              np.random.default_rng(3).normal(0, 0.0005, 100)])))  # fmt: skip
    found = codes(100 * closes)
    assert HIGH_VOLATILITY in found[300:345]
    assert HIGH_VOLATILITY not in found[-60:]


def test_high_volatility_is_sure_enough_to_keep_entries_away_however_short_the_history() -> None:
    for start in (90, 300):
        closes = np.concatenate([walk(start, sigma=0.0005), walk(30, sigma=0.006)])
        found = regimes(clean(candles(closes)))
        wild = found.code == HIGH_VOLATILITY
        assert wild.any()
        assert (found.confidence[wild] >= 0.6).all()


def test_a_short_history_makes_a_trend_less_sure() -> None:
    closes = walk(400, drift=0.001)
    long, short = (regimes(clean(candles(one))) for one in (closes, closes[-100:]))
    assert long.code[-1] == short.code[-1] == TREND_UP
    assert short.confidence[-1] == pytest.approx(long.confidence[-1] * 100 / 220, rel=0.05)


@pytest.mark.parametrize(("strength", "sure"), [(0.4, 0.0), (0.7, 0.5), (1.0, 1.0), (-0.7, 0.5)])
def test_a_trend_is_as_sure_as_it_is_far_from_its_end(strength: float, sure: float) -> None:
    code = np.array([TREND_UP if strength > 0 else TREND_DOWN])
    found = regime._confidence(code, np.array([strength]), np.ones(1), np.array([500]))
    assert found[0] == pytest.approx(sure)


@pytest.mark.parametrize(("strength", "sure"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (-0.25, 0.5)])
def test_a_range_is_as_sure_as_it_is_far_from_a_trend(strength: float, sure: float) -> None:
    found = regime._confidence(np.array([RANGE]), np.array([strength]), np.ones(1), np.array([500]))
    assert found[0] == pytest.approx(sure)


@pytest.mark.parametrize(("ratio", "sure"), [(2.0, 0.6), (3.0, 0.6), (4.5, 0.8), (6.0, 1.0), (9.0, 1.0)])
def test_high_volatility_is_sure_by_how_high_it_is(ratio: float, sure: float) -> None:
    found = regime._confidence(np.array([HIGH_VOLATILITY]), np.zeros(1), np.array([ratio]), np.array([60]))
    assert found[0] == pytest.approx(sure)


def test_a_market_that_stands_still_is_a_range_without_a_trend() -> None:
    found = regimes(clean(candles(np.full(300, 100.0), height=0)))
    assert (found.strength == 0).all()
    assert found.code[-1] == RANGE
    assert found.volatility[-1] == 0
    assert found.volatility_ratio[-1] == 1
