"""The quick way to what every bar of a recording allows, which replays take, against the whole table and against live bots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.intelligence import candles as reader
from bots.intelligence import layer, quality, regime
from bots.intelligence.values import Action
from bots.intelligence.windows import Bools
from bots.market_data.base import CandleSeries, Floats
from bots.market_data.datasets import dataset, manifest
from tests.bots.intelligence.builders import (
    candles,
    changed,
    circumstances,
    markets,
    part,
    recorded,
    rubbish,
    walk,
    without,
)

FRAMES = [(symbol, frame) for symbol in manifest() for frame in dataset(symbol).timeframes()]
FEW = settings(max_examples=80, deadline=None)


@st.composite
def restless(draw: st.DrawFn) -> CandleSeries:
    """Return candles of a market that is quiet and wild by turns, with and without a direction afterwards."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bars = draw(st.integers(0, 1500))
    turns = np.cumsum(rng.random(bars) < draw(st.sampled_from([0.002, 0.01, 0.03])))
    sizes = rng.choice([1e-4, 4e-4, 2e-3, 8e-3], turns[-1] + 1 if bars else 1)[turns]
    drifts = rng.choice([-0.3, 0.0, 0.0, 0.3], turns[-1] + 1 if bars else 1)[turns]
    steps = (rng.standard_t(draw(st.sampled_from([2.5, 6.0])), bars) + drifts) * sizes
    return candles(100 * np.exp(np.cumsum(steps)), volume=rng.lognormal(0, 1, bars))


def by_table(series: CandleSeries) -> Bools:
    """Return what the whole table says, every figure of it computed."""
    return reader._entry_allowed_by(reader._compute(series))


def quickly(series: CandleSeries) -> Bools:
    """Return what replays go by, computed anew."""
    return reader._entry_allowed(series)


@pytest.mark.parametrize(("symbol", "timeframe"), FRAMES)
def test_both_ways_agree_on_every_bar_of_every_recording(symbol: str, timeframe: str) -> None:
    series = recorded(symbol, timeframe)
    np.testing.assert_array_equal(quickly(series), by_table(series))
    for start in range(1, len(series), len(series) // 7 + 1):
        tail = part(series, start, len(series))
        np.testing.assert_array_equal(quickly(tail), by_table(tail))


def test_recordings_have_bars_of_either_kind_to_agree_on() -> None:
    allowed = np.concatenate([by_table(recorded(*frame)) for frame in FRAMES])
    wild = sum(int(regime.high_volatility(quality.clean(recorded(*frame))).sum()) for frame in FRAMES)
    assert allowed.sum() > 50_000
    assert (~allowed).sum() > 1_000
    assert wild > 800


@FEW
@given(series=st.one_of(restless(), markets(), rubbish()))
def test_both_ways_agree_on_every_bar_of_any_candles(series: CandleSeries) -> None:
    np.testing.assert_array_equal(quickly(series), by_table(series))


@st.composite
def figures(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Return strengths and ratios that pass their thresholds often, and the same strengths with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bars, calm = draw(st.integers(1, 40)), draw(st.sampled_from([0.5, 0.8]))
    ways = np.array([-0.7, -0.6, -0.5, -0.4, -0.35, -0.2, 0.0, 0.3, 0.37, 0.45, 0.55, 0.65])
    few = rng.choice(ways, draw(st.integers(1, 5)))
    strength = few[np.cumsum(rng.random(bars) > calm) % len(few)]
    ratio = np.array([1.0, 2.5, 3.5, 1.5])[np.cumsum(rng.random(bars) > calm) % 4]
    place, (first, last) = np.arange(bars), sorted(rng.integers(0, bars + 1, 2).tolist())
    return strength, ratio, np.where((place >= first) & (place < last), np.nan, strength)


@settings(max_examples=300, deadline=None)
@given(drawn=figures(), warm_from=st.integers(0, 40))
def test_what_is_called_sure_is_so_whatever_is_not_known(drawn: tuple[Floats, Floats, Floats], warm_from: int) -> None:
    strength, ratio, known = drawn
    is_warm = np.arange(len(strength)) >= warm_from
    whole = regime._confirmed(regime._raw(strength, ratio), is_warm) == regime.HIGH_VOLATILITY
    called, is_sure = regime._called_wild(known, ratio, is_warm)
    if is_sure:
        np.testing.assert_array_equal(called, whole)
    np.testing.assert_array_equal(regime._called_wild(strength, ratio, is_warm)[0], whole)


NAN = float("nan")


@pytest.mark.parametrize(
    ("known", "is_sure"),
    [
        # After the wild bars come five of a range, which end what is called wild.
        ([0.2, 0.2, 0.2, 0.2, 0.2, NAN, NAN], True),
        ([0.2, 0.2, 0.2, 0.2, NAN, NAN, NAN], False),
        # Inside the thresholds what was before counts: there may have been a range, or a trend, or neither.
        ([0.45, 0.45, 0.45, 0.45, 0.45, 0.45, 0.45], False),
        ([0.38, 0.38, 0.38, 0.38, 0.38, 0.38, 0.38], False),
        ([0.2, 0.45, 0.45, 0.45, 0.45, NAN, NAN], True),
        ([0.65, 0.45, 0.45, 0.45, 0.45, NAN, NAN], True),
        ([-0.65, -0.45, -0.45, -0.45, -0.45, NAN, NAN], True),
    ],
)
def test_sure_is_what_does_not_hang_on_the_unknown(known: list[float], is_sure: bool) -> None:
    strength = np.array([NAN, NAN, NAN, *known])
    ratio = np.array([3.5] * 3 + [1.0] * len(known))
    assert regime._called_wild(strength, ratio, np.ones(len(ratio), dtype=np.bool_))[1] is is_sure


@pytest.mark.parametrize(("near_bars", "is_sure"), [(1, False), (regime.NEAR_BARS, True)])
def test_looking_too_near_is_noticed_and_made_up_for(
    monkeypatch: pytest.MonkeyPatch, near_bars: int, is_sure: bool
) -> None:
    monkeypatch.setattr(regime, "NEAR_BARS", near_bars)
    cleaned = quality.clean(recorded("BTC-PERP"))
    found = regime.regimes(cleaned)
    near = regime._near_ends(regime._wild(found.volatility_ratio))
    strength = regime.trend_strength(cleaned, at=near)
    assert regime._called_wild(strength, found.volatility_ratio, cleaned.age >= 60)[1] is is_sure
    np.testing.assert_array_equal(regime.high_volatility(cleaned), found.code == regime.HIGH_VOLATILITY)


CALM = candles(walk(400, sigma=0.0002))
JUMPED = candles(np.concatenate([walk(300, sigma=0.0002), 1.05 * walk(100, sigma=0.0002)]))
STILL = candles(np.full(400, 100.0), height=0.0)


@pytest.mark.parametrize(
    ("flag", "series"),
    [
        ("bad_candles", changed(CALM, "close", 300, float("nan"))),
        ("missing_candles", without(CALM, [300, 301, 302, 303])),
        ("price_outlier", JUMPED),
        ("poor_data", without(STILL, list(range(200, 300, 6)))),
    ],
)
def test_each_fault_of_the_data_keeps_entries_away_either_way(flag: str, series: CandleSeries) -> None:
    allowed, table = quickly(series), reader._compute(series)
    shut = np.flatnonzero(~allowed[reader.BARS_MIN :]) + reader.BARS_MIN
    found = {name: table[shut, reader._PLACES[name]].astype(bool) for name in reader._FLAGS}
    alone = found[flag] & ~np.any([found[name] for name in found if name != flag], axis=0)
    assert alone.any()
    np.testing.assert_array_equal(allowed, by_table(series))


@FEW
@given(series=st.one_of(restless(), markets(), rubbish()))
def test_scale_is_needed_for_large_moves_only(series: CandleSeries) -> None:
    cleaned = quality.clean(series)
    scale = quality.robust_scale(cleaned.returns)
    np.testing.assert_array_equal(cleaned.moderate, quality._moderate(cleaned.returns, scale))
    large = np.abs(cleaned.returns) > quality.MODERATE_FLOOR
    asked = quality.robust_scale(cleaned.returns, at=large)
    np.testing.assert_array_equal(asked, np.where(large, scale, np.nan))
    np.testing.assert_array_equal(quality._outliers(cleaned.returns, asked), quality._outliers(cleaned.returns, scale))


def test_a_running_bot_judges_as_the_replay_wherever_the_answer_changes() -> None:
    """The live layer sees 300 candles and computes every figure; the replay sees them all and computes what it needs."""
    series = recorded("BTC-PERP")
    allowed = layer.entry_allowed(series)
    changes = np.flatnonzero(np.diff(allowed[reader.WARMUP_BARS :])) + reader.WARMUP_BARS
    ends = {bar + by for bar in changes.tolist() for by in range(-2, 4)} | set(range(reader.WARMUP_BARS, 45_000, 499))
    assert len(ends) > 300
    for bar in sorted(end for end in ends if reader.WARMUP_BARS <= end < len(series)):
        seen = part(series, bar + 1 - reader.WARMUP_BARS, bar + 1)
        action = layer.assess(seen, circumstances(float(series.close[bar]))).action
        assert (action == Action.TRADE_ALLOWED) == allowed[bar], bar
