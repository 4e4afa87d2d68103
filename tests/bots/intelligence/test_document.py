"""docs/intelligence.md says what the layer does: every code, every threshold, and how often it keeps entries away."""

import re
from pathlib import Path

import numpy as np
import pytest

from bots.brokers.fees import fees_for
from bots.intelligence import candles as reader
from bots.intelligence import costs, quality, regime, scoring
from bots.intelligence.reasons import NO_TRADE, REMEDIES, Code, action_of, reason
from bots.intelligence.values import Action
from tests.bots.intelligence.builders import recorded

DOCUMENT = Path(__file__).parents[3] / "docs" / "intelligence.md"
TEXT = DOCUMENT.read_text("utf-8")
RECORDINGS = [("BTC-PERP", "1m"), ("BTC-PERP", "5m"), ("BTC-PERP", "15m"), ("SPX", "1m"), ("SPY", "1d"), ("AAPL", "1d")]


def rows(heading: str) -> dict[str, list[str]]:
    """Return the table below a heading, its rows by their first cell."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_code_is_documented_in_its_order_and_no_other() -> None:
    assert list(rows("Reasons")) == [code.value for code in Code]


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_documented_with_what_it_leaves_and_what_to_do(code: Code) -> None:
    leaves, when, remedy = rows("Reasons")[code.value]
    assert leaves == action_of([reason(code, "")]).name
    assert len(when) > 10
    assert remedy == REMEDIES[code]


def test_every_action_is_documented() -> None:
    assert list(rows("What is allowed")) == [action.name for action in Action]
    assert {code for code, cells in rows("Reasons").items() if cells[0] == "NO_TRADE"} == NO_TRADE


def test_weights_are_documented() -> None:
    assert {name: int(cells[0]) for name, cells in rows("Score").items()} == scoring.WEIGHTS


def test_thresholds_of_the_regimes_are_documented() -> None:
    found = rows("Regime")
    codes = {"unknown": 0, "range": 1, "trend up": 2, "trend down": 3, "high volatility": 4}
    assert {name: int(cells[2]) for name, cells in found.items()} == {
        name: regime.CONFIRM_BARS[code] for name, code in codes.items()
    }
    assert found["high volatility"][:2] == [f"ratio {regime.VOLATILITY_ENTER:g}", f"below {regime.VOLATILITY_LEAVE:g}"]
    assert found["trend up"][:2] == [f"strength {regime.TREND_ENTER:g}", f"below {regime.TREND_LEAVE:g}"]
    assert found["trend down"][:2] == [f"strength −{regime.TREND_ENTER:g}", f"above −{regime.TREND_LEAVE:g}"]
    assert found["range"][:2] == [f"strength within ±{regime.RANGE_ENTER:g}", f"beyond ±{regime.RANGE_LEAVE:g}"]


@pytest.mark.parametrize(
    "phrase",
    [
        f"fewer than {regime.BARS_MIN} sound candles",
        f"for {reader.WARMUP_BARS} candles at least",
        f"up to {regime.SLOW_BARS + regime.FAST_BARS} a trend",
        f"{regime.EFFICIENCY_BARS} bars by the sum of its steps",
        f"over {regime.ADX_BARS} bars, stretched from {regime.ADX_SPAN[0]:g} to {regime.ADX_SPAN[1]:g}",
        f"stretched from {regime.EFFICIENCY_SPAN[0]:g} to {regime.EFFICIENCY_SPAN[1]:g}",
        f"the last {regime.SLOPE_BARS} closes' variance",
        f"move of the last {regime.FAST_BARS} bars",
        f"median over the last {regime.SLOW_BARS} bars",
        f"counts for {quality.MODERATE_SIGMAS:g} robust standard deviations",
        f"more than {quality.OUTLIER_SIGMAS:g} robust standard deviations and by more than {100 * quality.OUTLIER_FLOOR:g} %",
        f"{quality.SIGMA_OF_MEDIAN} times the median size of the moves of the last {quality.SCALE_BARS} bars",
        f"{quality.PENALTY_UNSOUND:g} times the share of impossible candles, {quality.PENALTY_MISSING:g} times that of missing",
        f"and {quality.PENALTY_IDLE:g} times",
        f"over the last {quality.QUALITY_BARS} bars",
        f"below {100 * quality.QUALITY_MIN:g} of 100",
        f"one of the last {quality.UNSOUND_HOLD_BARS} candles is impossible",
        f"impossible, or more than {100 * quality.UNSOUND_SHARE_MAX:g} % of the last {quality.QUALITY_BARS} are",
        f"a hole of {quality.HOLE_BARS} bars or more among the last {quality.HOLE_HOLD_BARS}",
        f"or more than {100 * quality.MISSING_SHARE_MAX:g} % of the last {quality.QUALITY_BARS} are missing",
        f"one of the last {quality.JUMP_HOLD_BARS} bars jumped",
        f"one of the last {quality.SPIKE_HOLD_BARS} took such a jump back",
        f"One hole counts for {quality.HOLE_BARS_COUNTED} bars",
        f"from {quality.CLOSED_S_MIN // 3600} hours to a week",
        f"at least {100 * regime.HIGH_VOLATILITY_CONFIDENCE:g} % sure",
        f"the price usually goes in {scoring.COST_BARS} bars",
        f"the change over {scoring.MOMENTUM_BARS} bars",
        f"0 from {scoring.VOLATILITY_RATIO_MAX:g} times that on",
        f"the volume of the last {scoring.RECENT_BARS} bars by the median of the last {scoring.USUAL_BARS}",
        f"the highest close of {scoring.DRAWDOWN_BARS} bars",
    ],
)  # fmt: skip
def test_figures_of_the_text_are_those_of_the_code(phrase: str) -> None:
    assert phrase in " ".join(TEXT.split())


def test_slippage_is_the_tenth_that_is_documented() -> None:
    assert costs.SLIPPAGE_SHARE * 10 == 1
    assert "twice a tenth of a bar's volatility" in TEXT


def measured(symbol: str, timeframe: str) -> list[str]:
    """Return the row of a recording as the document has it."""
    read = reader.reading(recorded(symbol, timeframe))
    code, allowed = read.regimes[reader.WARMUP_BARS :], read.is_entry_allowed[reader.WARMUP_BARS :]
    shares = [f"{np.mean(code == one):.0%}".replace("%", " %") for one in (2, 3, 1, 4, 0)]
    lasts = len(code) / (np.count_nonzero(np.diff(code)) + 1)
    return [f"{len(code):,}", f"{100 * allowed.mean():.1f} %", *shares, f"{lasts:.0f}"]


@pytest.mark.parametrize(("symbol", "timeframe"), RECORDINGS)
def test_what_is_said_of_the_recordings_is_so(symbol: str, timeframe: str) -> None:
    assert rows("How often it keeps entries away")[f"{symbol} {timeframe}"] == measured(symbol, timeframe)


@pytest.mark.parametrize(("symbol", "timeframe"), RECORDINGS)
def test_ordinary_markets_may_be_traded_nearly_always(symbol: str, timeframe: str) -> None:
    allowed = reader.entry_allowed(recorded(symbol, timeframe))[reader.WARMUP_BARS :]
    assert allowed.mean() > 0.95


def test_what_is_allowed_in_bitcoin_changes_seldom() -> None:
    allowed = reader.entry_allowed(recorded("BTC-PERP"))[reader.WARMUP_BARS :]
    said = re.search(r"In the ([\d,]+) minutes of Bitcoin what is allowed changes (\d+) times", TEXT)
    assert said is not None
    assert said.groups() == (f"{len(allowed):,}", str(np.count_nonzero(np.diff(allowed))))


def test_what_is_said_of_krakens_fee_on_minute_candles_is_so() -> None:
    way_bps = scoring.usual_way_bps(reader.reading(recorded("BTC-PERP")).volatilities[reader.WARMUP_BARS :])
    taker = fees_for("kraken", "BTC/USD").taker
    share = np.mean(way_bps < 2 * float(taker) * scoring.BPS)
    said = (
        f"taker fee of {100 * taker:.2f} % a round trip costs more than an hour's usual way in {100 * share:.0f} % of"
    )
    assert said in " ".join(TEXT.split())
