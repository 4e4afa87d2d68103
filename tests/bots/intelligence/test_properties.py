"""What holds for every market: no look-ahead, no scale, and an answer for any figures."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.intelligence import candles as reader
from bots.intelligence import layer, quality, regime, scoring
from bots.intelligence.values import Action, Regime
from bots.market_data.base import CandleSeries
from safety.intents import Level
from tests.bots.intelligence.builders import circumstances, markets, part, recorded, rubbish, scaled

FEW = settings(max_examples=60, deadline=None)
RECORDED = ["SPX", "SPY", "AAPL"]


def table(series: CandleSeries) -> np.ndarray:
    """Return every figure that is read of the candles, bar by bar."""
    return reader._compute(series)


@FEW
@given(series=markets(), data=st.data())
def test_cutting_the_future_changes_no_past_figure(series: CandleSeries, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(series)))
    np.testing.assert_array_equal(table(part(series, 0, cut)), table(series)[:cut])


@FEW
@given(series=rubbish(), data=st.data())
def test_cutting_the_future_changes_no_past_figure_of_rubbish(series: CandleSeries, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(series)))
    np.testing.assert_array_equal(table(part(series, 0, cut)), table(series)[:cut])


@FEW
@given(series=markets(), data=st.data())
def test_another_future_changes_no_past_figure(series: CandleSeries, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(series)))
    other = scaled(series, 3.0)
    mixed = {
        name: np.concatenate([getattr(series, name)[:cut], getattr(other, name)[cut:]])
        for name in ("opened_at", "open", "high", "low", "close", "volume")
    }
    grown = CandleSeries(series.venue, series.symbol, series.timeframe, **mixed)
    np.testing.assert_array_equal(table(grown)[:cut], table(series)[:cut])


@pytest.mark.parametrize("symbol", RECORDED)
def test_no_figure_of_a_recording_knows_what_follows(symbol: str) -> None:
    series = recorded(symbol)
    whole = table(series)
    for cut in range(1, len(series), 97):
        np.testing.assert_array_equal(table(part(series, 0, cut)), whole[:cut])


@FEW
@given(series=markets(), factor=st.sampled_from([0.25, 8.0, 2.0**40, 2.0**-40]))
def test_the_unit_of_the_price_does_not_matter(series: CandleSeries, factor: float) -> None:
    np.testing.assert_allclose(table(scaled(series, factor)), table(series), rtol=1e-6, atol=1e-6)


@FEW
@given(series=markets(), factor=st.sampled_from([0.25, 8.0, 2.0**40, 2.0**-40]))
def test_the_unit_of_the_volume_does_not_matter(series: CandleSeries, factor: float) -> None:
    np.testing.assert_array_equal(table(scaled(series, 1.0, factor)), table(series))


@pytest.mark.parametrize("factor", [0.01, 0.3, 7.0, 1000.0])
@pytest.mark.parametrize("symbol", RECORDED)
def test_an_assessment_of_a_recording_is_the_same_in_any_unit(symbol: str, factor: float) -> None:
    series = recorded(symbol)
    for end in range(250, len(series), 331):
        one, other = part(series, end - 250, end), scaled(part(series, end - 250, end), factor, factor)
        price = float(one.close[-1])
        mine, theirs = layer.assess(one, circumstances(price)), layer.assess(other, circumstances(price * factor))
        assert (mine.action, mine.regime, mine.score, mine.parts) == (
            theirs.action,
            theirs.regime,
            theirs.score,
            theirs.parts,
        )


@pytest.mark.parametrize("symbol", RECORDED)
def test_a_bot_that_sees_the_warm_up_judges_as_a_replay_that_sees_everything(symbol: str) -> None:
    series = recorded(symbol)
    whole, allowed = layer.reading(series), layer.entry_allowed(series)
    for end in range(reader.WARMUP_BARS, len(series), 53):
        seen = layer.reading(part(series, end - reader.WARMUP_BARS, end))
        assert seen.regimes[-1] == whole.regimes[end - 1]
        assert (seen.reasons == ()) == allowed[end - 1]
        for name in scoring.PARTS:
            assert seen.part_values[name] == pytest.approx(whole.parts[name][end - 1], abs=0.01)


@settings(max_examples=200, deadline=None)
@given(series=rubbish(), level=st.sampled_from(Level), score_min=st.integers(0, 100))
def test_any_figures_at_all_have_an_answer(series: CandleSeries, level: Level, score_min: int) -> None:
    found = layer.assess(series, circumstances(level=level, score_min=score_min))
    assert 0 <= found.score <= 100
    assert all(0 <= one <= 100 for one in found.parts.values())
    assert 0 <= found.confidence <= 1
    assert np.isfinite(table(series)).all()
    assert (found.action == Action.TRADE_ALLOWED) == (not found.reasons)
    if not quality.clean(series).age[-1:].sum():
        assert found.regime == Regime.UNKNOWN
        assert found.action != Action.TRADE_ALLOWED


@FEW
@given(series=markets())
def test_figures_stay_in_their_bounds(series: CandleSeries) -> None:
    read = layer.reading(series)
    for figures in read.parts.values():
        assert ((figures >= 0) & (figures <= 100)).all()
    assert ((read.confidences >= 0) & (read.confidences <= 1)).all()
    assert (np.abs(regime.trend_strength(quality.clean(series))) <= 1 + 1e-12).all()
    assert (read.volatilities >= 0).all()


@FEW
@given(series=markets(), fee=st.decimals(0, 1, places=4), other=st.decimals(0, 1, places=4))
def test_a_higher_fee_never_scores_more(series: CandleSeries, fee: Decimal, other: Decimal) -> None:
    low, high = (layer.assess(series, circumstances(fee_rate=rate)).score for rate in sorted((fee, other)))
    assert high <= low


@FEW
@given(series=markets(bars_max=200), bar=st.integers(0, 199), column=st.sampled_from(["open", "high", "low", "close"]))
def test_a_candle_that_becomes_impossible_never_allows_what_was_not(
    series: CandleSeries, bar: int, column: str
) -> None:
    if bar >= len(series):
        return
    broken = getattr(series, column).copy()
    broken[bar] = math.nan
    columns = {name: getattr(series, name) for name in ("opened_at", "open", "high", "low", "close", "volume")}
    worse = CandleSeries(series.venue, series.symbol, series.timeframe, **columns | {column: broken})
    held = slice(bar, bar + quality.UNSOUND_HOLD_BARS)
    assert not layer.entry_allowed(worse)[held].any()
    assert (quality.clean(worse).quality <= quality.clean(series).quality + 0.05).all()
