"""What is found wrong with candles, and for how long it keeps entries away."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bots.intelligence import quality
from bots.intelligence.quality import clean
from bots.intelligence.windows import Bools
from bots.market_data.base import CandleSeries
from tests.bots.intelligence.builders import (
    candles,
    changed,
    part,
    recorded,
    swinging,
    walk,
    without,
)

CALM = candles(walk(300))


def bars_of(flags: Bools) -> list[int]:
    """Return the bars at which a flag is set."""
    return [int(bar) for bar in np.flatnonzero(flags)]


def test_ordinary_candles_are_of_full_quality() -> None:
    found = clean(CALM)
    assert (found.quality == 1).all()
    assert not (found.has_bad_candles | found.has_gaps | found.has_outliers).any()


@pytest.mark.parametrize(
    ("column", "figure"),
    [
        ("close", math.nan), ("open", math.inf), ("high", -math.inf), ("low", 0.0), ("close", -1.0),
        ("volume", math.nan), ("volume", -1.0), ("high", 1.0), ("low", 1e6),
    ],
)  # fmt: skip
def test_an_impossible_candle_keeps_entries_away_for_five_bars(column: str, figure: float) -> None:
    found = clean(changed(CALM, column, 200, figure))
    assert bars_of(found.has_bad_candles) == list(range(200, 205))
    assert found.quality[199] == 1
    assert found.quality[200] == pytest.approx(1 - 4 / 100)


def test_a_high_at_the_close_and_a_low_at_the_open_are_possible() -> None:
    bar = changed(CALM, "high", 200, float(max(CALM.open[200], CALM.close[200])))
    assert not clean(bar).has_bad_candles.any()


def test_a_candle_out_of_order_is_an_impossible_one() -> None:
    early = changed(CALM, "opened_at", 200, float(CALM.opened_at[199] - 1))
    assert 200 in bars_of(clean(early).has_bad_candles)


def test_two_candles_of_one_second_are_possible() -> None:
    """A recording that plays fast has several."""
    assert not clean(replace(CALM, opened_at=CALM.opened_at // 300)).has_bad_candles.any()


@pytest.mark.parametrize(("count", "is_too_many"), [(5, False), (6, True)])
def test_many_impossible_candles_keep_entries_away_for_longer(count: int, is_too_many: bool) -> None:
    series = CALM
    for bar in range(150, 150 + count):
        series = changed(series, "close", bar, math.nan)
    assert bool(clean(series).has_bad_candles[200]) is is_too_many


def test_an_impossible_candle_is_replaced_by_the_close_before() -> None:
    found = clean(changed(CALM, "close", 200, math.nan))
    assert found.close[200] == found.close[199] == found.high[200] == found.low[200]
    assert found.returns[200] == 0
    assert found.age[-1] == 299


def test_impossible_candles_at_the_start_do_not_count_as_history() -> None:
    series = CALM
    for bar in range(10):
        series = changed(series, "open", bar, math.nan)
    found = clean(series)
    assert found.age[9] == 0
    assert found.age[10] == 1
    assert found.returns[10] == 0


@pytest.mark.parametrize(("missing", "is_hole"), [(2, False), (3, True), (4, True)])
def test_a_hole_of_three_bars_keeps_entries_away_for_five(missing: int, is_hole: bool) -> None:
    found = clean(without(CALM, range(200, 200 + missing)))
    assert bars_of(found.has_gaps) == (list(range(200, 205)) if is_hole else [])
    assert found.quality[200] == pytest.approx(1 - 2 * missing / (100 + missing))


@pytest.mark.parametrize(("kept", "is_too_many"), [(5, False), (4, True)])
def test_many_small_holes_keep_entries_away(kept: int, is_too_many: bool) -> None:
    """Where every fifth bar is missing, one in five that should have come is not there; that is just allowed."""
    found = clean(without(candles(walk(500)), range(0, 500, kept)))
    assert bool(found.has_gaps[-1]) is is_too_many


def test_a_long_outage_weighs_no_more_than_a_bounded_hole() -> None:
    day = without(candles(swinging(2000)), range(200, 1900))
    assert clean(day).quality[200] == pytest.approx(1 - 2 * 20 / 120)
    assert not clean(day).has_gaps[205:].any()


def session_series(hours_apart: int, venue: str = "alpaca") -> CandleSeries:
    """Return minute candles with a night of so many hours before bar 150."""
    times = CALM.opened_at.copy()
    times[150:] += hours_apart * 3600
    return replace(CALM, opened_at=times, venue=venue)


@pytest.mark.parametrize(
    ("hours", "venue", "is_hole"),
    [(11, "alpaca", True), (12, "alpaca", False), (89, "alpaca", False), (167, "alpaca", False), (168, "alpaca", True),
     (17, "replay", False), (17, "kraken", True)],
)  # fmt: skip
def test_closed_nights_are_no_holes_where_the_market_keeps_hours(hours: int, venue: str, is_hole: bool) -> None:
    assert bool(clean(session_series(hours, venue)).has_gaps[150]) is is_hole


def test_a_recording_that_plays_fast_has_no_holes() -> None:
    quick = replace(CALM, opened_at=CALM.opened_at[0] + 2 * np.arange(len(CALM)), venue="replay")
    assert not quality.missing_bars(quick).any()


def test_holes_in_a_timeframe_that_is_not_known_are_not_judged() -> None:
    assert not quality.missing_bars(without(candles(walk(60), timeframe="7x"), range(20, 40))).any()


@pytest.mark.parametrize("symbol", ["BTC-PERP", "SPX", "SPY", "AAPL"])
def test_recordings_have_no_holes_and_no_impossible_candles(symbol: str) -> None:
    """Nights, weekends and holidays are among them."""
    found = clean(recorded(symbol))
    assert not found.has_gaps.any()
    assert not found.has_bad_candles.any()


def jumped(size: float, *, back: float = 0.0, sigma: float = 0.001) -> CandleSeries:
    """Return a walk whose price jumps by ``size`` (logarithm) at bar 200, and takes the share ``back`` back with the next."""
    steps = np.random.default_rng(1).normal(0, sigma, 300)
    steps[200], steps[201] = size, -size * back
    return candles(100 * np.exp(np.cumsum(steps)))


def test_a_jump_keeps_entries_away_until_a_bar_has_confirmed_it() -> None:
    assert bars_of(clean(jumped(0.05)).has_outliers) == [200, 201]


def test_a_spike_that_is_taken_back_keeps_entries_away_for_longer() -> None:
    assert bars_of(clean(jumped(0.05, back=1.0)).has_outliers) == [200, 201, 202, 203, 204, 205]


@pytest.mark.parametrize(("back", "until"), [(0.74, 203), (0.76, 206)])
def test_a_spike_is_what_is_taken_back_by_three_quarters(back: float, until: int) -> None:
    assert bars_of(clean(jumped(0.05, back=back)).has_outliers) == list(range(200, until))


@pytest.mark.parametrize(("sigmas", "is_out"), [(14.9, False), (15.1, True)])
def test_an_outlier_is_beyond_fifteen_robust_deviations(sigmas: float, is_out: bool) -> None:
    scale = float(quality.robust_scale(clean(jumped(0.0)).returns)[200])
    assert bool(clean(jumped(sigmas * scale)).has_outliers[200]) is is_out


@pytest.mark.parametrize(("size", "is_out"), [(0.0049, False), (0.0051, True)])
def test_a_move_of_half_a_percent_is_never_out_of_line(size: float, is_out: bool) -> None:
    assert bool(clean(jumped(size, sigma=1e-6)).has_outliers[200]) is is_out


def test_the_first_intraday_bar_after_a_night_may_jump() -> None:
    times = jumped(0.05).opened_at.copy()
    times[200:] += 17 * 3600
    night = replace(jumped(0.05), opened_at=times, venue="alpaca")
    assert not clean(night).has_outliers.any()
    assert clean(replace(night, venue="kraken")).has_outliers.any()


def test_one_bar_counts_for_six_deviations_of_volatility_at_most() -> None:
    found = clean(jumped(0.05))
    scale = float(quality.robust_scale(found.returns)[200])
    assert found.moderate[200] == pytest.approx(6 * scale)
    assert found.moderate[199] == pytest.approx(abs(found.returns[199]))


def test_bars_in_which_nothing_happened_lower_the_quality_and_stop_nothing() -> None:
    still = clean(candles(np.full(200, 100.0), height=0))
    assert still.quality[-1] == pytest.approx(0.7)
    assert not (still.has_bad_candles | still.has_gaps | still.has_outliers).any()


def test_bars_without_volume_are_idle_only_where_there_ever_was_any() -> None:
    assert clean(candles(walk(200), volume=0)).quality[-1] == 1
    every_other = np.tile([5.0, 0.0], 100)
    assert clean(candles(walk(200), volume=every_other)).quality[-1] == pytest.approx(1 - 0.3 / 2)


def test_no_candles_are_cleaned_to_none() -> None:
    found = clean(part(CALM, 0, 0))
    assert len(found.close) == len(found.quality) == len(found.has_gaps) == 0


def test_a_calm_range_is_not_full_of_outliers() -> None:
    assert not clean(candles(swinging(500))).has_outliers.any()
