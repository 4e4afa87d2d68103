"""What is allowed, by the candles and by everything else. The layer can only take away."""

import itertools
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bots.intelligence import costs, layer
from bots.intelligence.reasons import ORDER, REMEDIES, Code, action_of, reason
from bots.intelligence.values import VERSION, Action, Regime
from bots.market_data.base import CandleSeries
from bots.strategies.indicators import prefix
from safety.intents import Level
from tests.bots.intelligence.builders import candles, changed, circumstances, part, quote, swinging, walk, without

CALM = candles(swinging(400))
WILD = candles(np.concatenate([walk(300, sigma=0.0005), walk(40, sigma=0.005)]))
D = Decimal
NAN = Decimal("NaN")
RANK = {Action.TRADE_ALLOWED: 0, Action.MANAGE_ONLY: 1, Action.NO_TRADE: 2}


def judged(series: CandleSeries = CALM, **changes: Any) -> tuple[Action, list[str]]:
    """Return what is allowed, and the codes of the reasons."""
    found = layer.assess(series, circumstances(**changes))
    return found.action, [one.code for one in found.reasons]


def test_an_ordinary_market_may_be_traded() -> None:
    assert judged() == (Action.TRADE_ALLOWED, [])


def test_an_assessment_says_what_it_was_made_of() -> None:
    found = layer.assess(CALM, circumstances(score_min=40))
    assert found.regime == Regime.RANGE
    assert D(0) < found.confidence <= 1
    assert set(found.parts) == {"trend", "momentum", "volatility", "liquidity", "drawdown", "data"}
    assert found.version == VERSION
    assert found.inputs["bars"] == 400
    assert found.inputs["last_opened_at"] == int(CALM.opened_at[-1])
    assert D(found.inputs["last_close"]) == D(repr(float(CALM.close[-1])))
    assert D(found.inputs["ask"]) == D("100.0100")
    assert found.inputs["score_min"] == 40
    assert found.inputs["level"] == "active"


def test_inputs_are_kept_as_texts_and_whole_numbers() -> None:
    for now_ in (circumstances(), circumstances(quote=None, quote_age_s=None, fee_rate=None, candle_age_s=None)):
        assert {type(one) for one in layer.assess(CALM, now_).inputs.values()} <= {str, int}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (Level.ACTIVE, (Action.TRADE_ALLOWED, [])),
        (Level.REDUCING, (Action.MANAGE_ONLY, ["REDUCE_ONLY"])),
        (Level.HALTED, (Action.NO_TRADE, ["TRADING_HALTED"])),
    ],
)
def test_the_trading_state_takes_away(level: Level, expected: tuple[Action, list[str]]) -> None:
    assert judged(level=level) == expected


@pytest.mark.parametrize(
    ("bid", "ask"),
    [("0", "100"), ("-1", "100"), ("100", "0"), ("NaN", "100"), ("100", "NaN"), ("100.01", "100"), ("1", "Infinity"),
     ("sNaN", "100")],
)  # fmt: skip
def test_without_a_sound_quote_nothing_is_traded(bid: str, ask: str) -> None:
    assert judged(quote=quote(bid, ask)) == (Action.NO_TRADE, ["INVALID_QUOTE", "COST_UNKNOWN"])


def test_without_any_quote_nothing_is_traded() -> None:
    assert judged(quote=None) == (Action.NO_TRADE, ["INVALID_QUOTE", "COST_UNKNOWN"])


def test_figures_too_large_to_reckon_with_allow_no_entry() -> None:
    huge = D("9E+999999")
    assert judged(quote=quote(str(huge), str(huge))) == (Action.MANAGE_ONLY, ["COST_UNKNOWN"])
    assert judged(candle_bar_s=huge, candle_periods_max=huge) == (Action.MANAGE_ONLY, ["STALE_CANDLES"])
    found = layer.assess(CALM, circumstances(quote_age_s=huge))
    assert [one.code for one in found.reasons] == ["STALE_QUOTE"]
    assert len(found.reasons[0].message) < 100


def test_how_old_something_is_stands_in_the_reason() -> None:
    found = layer.assess(CALM, circumstances(quote_age_s=D("12.50"), candle_age_s=D(-9)))
    assert [one.message for one in found.reasons] == [
        "The quote is 12.50 s old; 10 s is the most.",
        "The last candle is from the future: a clock is wrong.",
    ]


def test_a_quote_without_a_spread_is_sound() -> None:
    assert judged(quote=quote("100", "100")) == (Action.TRADE_ALLOWED, [])


STALE_QUOTE: list[dict[str, Decimal | None]] = [
    {"quote_age_s": D("10.001")}, {"quote_age_s": None}, {"quote_age_max_s": None}, {"quote_age_s": D("-2.001")},
    {"quote_age_s": NAN}, {"quote_age_max_s": NAN}, {"quote_age_s": D("Infinity")}, {"quote_age_max_s": D("Infinity")},
]  # fmt: skip
STALE_CANDLES: list[dict[str, Decimal | None]] = [
    {"candle_age_s": D("120.001")}, {"candle_age_s": None}, {"candle_bar_s": None}, {"candle_periods_max": None},
    {"candle_age_s": D("-2.001")}, {"candle_age_s": NAN}, {"candle_bar_s": NAN}, {"candle_periods_max": NAN},
]  # fmt: skip


@pytest.mark.parametrize("changes", STALE_QUOTE)
def test_an_old_quote_or_one_of_unknown_age_allows_exits_only(changes: dict[str, Any]) -> None:
    assert judged(**changes) == (Action.MANAGE_ONLY, ["STALE_QUOTE"])


@pytest.mark.parametrize("changes", STALE_CANDLES)
def test_old_candles_or_those_of_unknown_age_allow_exits_only(changes: dict[str, Any]) -> None:
    assert judged(**changes) == (Action.MANAGE_ONLY, ["STALE_CANDLES"])


@pytest.mark.parametrize(
    "changes",
    [{"quote_age_s": D(10)}, {"quote_age_s": D(-2)}, {"candle_age_s": D(120)}, {"candle_age_s": D(-2)},
     {"candle_bar_s": D(10), "candle_age_s": D(20)}],
)  # fmt: skip
def test_figures_just_at_their_bound_pass(changes: dict[str, Any]) -> None:
    assert judged(**changes) == (Action.TRADE_ALLOWED, [])


def test_a_loss_that_was_reached_allows_exits_only_and_is_named() -> None:
    found = layer.assess(CALM, circumstances(losses="the daily loss of 3 %"))
    assert found.action == Action.MANAGE_ONLY
    assert [(one.code, one.message) for one in found.reasons] == [
        ("LOSS_LIMIT", "A loss limit is reached: the daily loss of 3 %.")
    ]


@pytest.mark.parametrize("fee_rate", [None, NAN, D("Infinity"), D("-0.01"), D(1), D("1E+999999")])
def test_without_a_fee_there_is_no_cost_and_no_entry(fee_rate: Decimal | None) -> None:
    found = layer.assess(CALM, circumstances(fee_rate=fee_rate))
    assert found.action == Action.MANAGE_ONLY
    assert found.cost_bps is None
    assert [one.code for one in found.reasons] == ["COST_UNKNOWN"]
    assert found.parts["liquidity"] <= 50


@pytest.mark.parametrize(("bars", "is_enough"), [(0, False), (1, False), (59, False), (60, True), (61, True)])
def test_history_has_to_be_sixty_bars(bars: int, is_enough: bool) -> None:
    action, codes = judged(part(CALM, 0, bars))
    assert (action == Action.TRADE_ALLOWED) is is_enough
    assert ("TOO_LITTLE_HISTORY" in codes) is not is_enough


def test_impossible_candles_are_no_history() -> None:
    sixty = changed(part(CALM, 0, 60), "close", 10, float("nan"))
    assert "TOO_LITTLE_HISTORY" in judged(sixty)[1]


def test_an_unknown_regime_alone_takes_nothing_away() -> None:
    series = part(CALM, 0, 61)
    found = layer.assess(series, circumstances())
    assert found.regime == Regime.UNKNOWN
    assert found.action == Action.TRADE_ALLOWED


def test_high_volatility_allows_exits_only() -> None:
    price = float(WILD.close[-1])
    found = layer.assess(WILD, circumstances(price))
    assert found.regime == Regime.HIGH_VOLATILITY
    assert found.confidence >= D("0.6")
    assert found.action == Action.MANAGE_ONLY
    assert "HIGH_VOLATILITY" in [one.code for one in found.reasons]


def test_a_trend_down_takes_nothing_away_by_itself() -> None:
    series = candles(walk(400, drift=-0.001))
    found = layer.assess(series, circumstances(float(series.close[-1])))
    assert found.regime == Regime.TREND_DOWN
    assert found.action == Action.TRADE_ALLOWED


@pytest.mark.parametrize(("series", "code"), [
    (changed(CALM, "close", -1, float("nan")), "BAD_CANDLES"),
    (without(CALM, range(395, 399)), "MISSING_CANDLES"),
    (changed(changed(CALM, "close", -1, 130.0), "high", -1, 131.0), "PRICE_OUTLIER"),
])  # fmt: skip
def test_bad_data_allow_exits_only(series: CandleSeries, code: str) -> None:
    assert judged(series) == (Action.MANAGE_ONLY, [code])


def test_data_that_are_poor_in_several_ways_allow_exits_only() -> None:
    """Not one of these is too much by itself: idle bars, holes of one or two bars, and impossible candles."""
    series = CALM
    for bar in range(302, 382, 2):
        series = changed(series, "volume", bar, 0.0)
    for bar in (310, 320, 330, 340):
        series = changed(series, "low", bar, 0.0)
    series = without(series, range(311, 395, 6))
    assert judged(series) == (Action.MANAGE_ONLY, ["POOR_DATA"])


@pytest.mark.parametrize(("more", "is_allowed"), [(-1, True), (0, True), (1, False)])
def test_entries_need_the_least_score_that_is_asked_for(more: int, is_allowed: bool) -> None:
    score = layer.assess(CALM, circumstances()).score
    expected = (Action.TRADE_ALLOWED, []) if is_allowed else (Action.MANAGE_ONLY, ["SCORE_BELOW_MIN"])
    assert judged(score_min=score + more) == expected


def test_a_least_score_of_nothing_stops_nothing() -> None:
    falling = candles(walk(400, drift=-0.003))
    assert judged(falling, price=float(falling.close[-1]), score_min=0)[0] == Action.TRADE_ALLOWED


def test_a_dearer_trade_scores_less() -> None:
    cheap, dear = (layer.assess(CALM, circumstances(fee_rate=rate)) for rate in (D(0), D("0.004")))
    assert cheap.cost_bps is not None
    assert dear.cost_bps == cheap.cost_bps + 80
    assert dear.score < cheap.score


def test_all_reasons_come_back_the_weightiest_first() -> None:
    action, codes = judged(
        candles(walk(30)), level=Level.HALTED, quote=None, quote_age_s=None, candle_age_s=None, losses="x",
        fee_rate=None, score_min=100,
    )  # fmt: skip
    assert action == Action.NO_TRADE
    assert codes == sorted(codes, key=ORDER.__getitem__)
    assert codes == ["TRADING_HALTED", "INVALID_QUOTE", "LOSS_LIMIT", "STALE_QUOTE", "STALE_CANDLES",
                     "TOO_LITTLE_HISTORY", "COST_UNKNOWN", "SCORE_BELOW_MIN"]  # fmt: skip


WORSE: list[dict[str, Any]] = [
    {"level": Level.REDUCING}, {"level": Level.HALTED}, {"quote": None}, {"quote": quote("0", "1")}, {"losses": "x"},
    {"score_min": 100}, {"fee_rate": None}, {"fee_rate": D("0.05")}, {"quote": quote("90", "110")},
    *STALE_QUOTE[:4], *STALE_CANDLES[:4],
]  # fmt: skip


@pytest.mark.parametrize("series", [CALM, WILD, part(CALM, 0, 20), changed(CALM, "close", -1, float("nan"))])
def test_worse_circumstances_never_allow_more(series: CandleSeries) -> None:
    base = circumstances(score_min=50)
    for one, two in itertools.combinations(WORSE, 2):
        little, much = replace(base, **one), replace(replace(base, **one), **two)
        before, after = (layer.assess(series, now_).action for now_ in (little, much))
        if not set(one) & set(two):
            assert RANK[after] >= RANK[before] >= RANK[layer.assess(series, base).action]


@pytest.mark.parametrize("code", list(Code))
def test_only_a_halt_and_a_missing_price_stop_exits(code: Code) -> None:
    stops = code in (Code.TRADING_HALTED, Code.INVALID_QUOTE)
    assert action_of([reason(code, "")]) == (Action.NO_TRADE if stops else Action.MANAGE_ONLY)


@pytest.mark.parametrize("code", list(Code))
def test_every_code_says_what_to_do(code: Code) -> None:
    assert REMEDIES[code].endswith(".")


def test_a_market_that_could_not_be_judged_allows_exits_only() -> None:
    found = layer.failed("The candles could not be read.")
    assert found.action == Action.MANAGE_ONLY
    assert found.regime == Regime.UNKNOWN
    assert [(one.code, one.message) for one in found.reasons] == [
        ("ASSESSMENT_FAILED", "The candles could not be read.")
    ]


def test_candles_are_read_once_per_series() -> None:
    assert layer.reading(CALM) is layer.reading(CALM)


def test_a_prefix_is_read_as_the_series_that_ends_there() -> None:
    for count in (0, 1, 59, 60, 250, 333):
        cut, alone = layer.reading(prefix(CALM, count)), layer.reading(part(CALM, 0, count))
        assert (cut.regime, cut.confidence, cut.reasons) == (alone.regime, alone.confidence, alone.reasons)
        assert cut.part_values == alone.part_values
        assert cut.inputs == alone.inputs


def test_entry_allowed_is_what_an_assessment_at_each_bar_says() -> None:
    series = changed(changed(WILD, "close", 120, float("nan")), "close", 200, 150.0)
    allowed = layer.entry_allowed(series)
    assert 0 < allowed.sum() < len(series)
    for bar in range(0, len(series), 3):
        found = layer.assess(part(series, 0, bar + 1), circumstances(float(series.close[bar]))).action
        assert allowed[bar] == (found == Action.TRADE_ALLOWED), bar


def cost(bid: str, ask: str, fee_rate: str, volatility: str) -> Decimal:
    return costs.round_trip_bps(quote(bid, ask), D(fee_rate), D(volatility))


def test_a_round_trip_costs_the_spread_two_fees_and_slippage() -> None:
    assert cost("100", "100", "0", "0") == 0
    assert cost("99.99", "100.01", "0", "0") == 2
    assert cost("100", "100", "0.004", "0") == 80
    assert cost("100", "100", "0", "0.001") == 2
    assert cost("99.99", "100.01", "0.004", "0.001") == 84


def test_costs_are_rounded_upward() -> None:
    assert cost("100", "100", "0.0000001", "0") == D("0.01")
    assert str(cost("99.99", "100.02", "0", "0")) == "3.00"
