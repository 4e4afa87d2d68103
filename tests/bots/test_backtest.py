"""The backtest command: honest figures from the recorded candles, and clear refusals."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from bots.backtest import Backtest, as_plain, cents, hold_pnl, recorded_series, run
from bots.brokers.base import FeeSchedule
from bots.market_data.base import MarketDataError
from bots.market_data.datasets import dataset
from bots.simulation_values import Conditions
from bots.strategies import registry
from safety.intents import LimitSet
from tests.bots.strategies.builders import RULES, series

LIMITS = LimitSet(notional_usd_max=Decimal(5000), notional_usd_min={"replay": Decimal(1)})
NO_FEES = FeeSchedule(Decimal(0), Decimal(0))


def command(*args: str) -> str:
    out = StringIO()
    call_command("backtest", *args, stdout=out)
    return out.getvalue()


def backtest(key: str, symbol: str, raw: dict[str, Any], **bounds: Any) -> Backtest:
    strategy = registry.get(key)
    return Backtest(strategy, strategy.schema.clean(raw), symbol, Decimal(250), Decimal(500), LIMITS, **bounds)


def test_command_prints_costs_denials_and_the_comparison() -> None:
    text = command("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "250")
    for part in (
        "sma_cross on recorded SPY 1d, capital 250 USD",
        "denials           none",
        "fees ",
        "spread, slippage",
    ):
        assert part in text
    assert "buy and hold" in text
    assert "not a promise" in text


def test_command_with_json_gives_what_the_report_holds() -> None:
    plain = json.loads(
        command("--strategy", "breakout", "--symbol", "SPY", "--capital", "250", "--equity", "500", "--json")
    )
    test = backtest("breakout", "SPY", {})
    assert plain == json.loads(json.dumps(as_plain(test, run(test))))
    assert plain["bars"] == dataset("SPY").info.rows
    assert plain["params"]["timeframe"] == "auto"


def test_pnl_is_what_the_account_gained() -> None:
    """Realised and unrealised P&L together are the change of the account, position at the last bid."""
    test = backtest("smart_dca", "BTC-PERP", {})
    report = run(test)
    book = report.simulation.book
    assert report.pnl_usd == book.cash_flow + book.quantity * report.simulation.final_price
    assert report.fees_usd == sum(trade.execution.fee for trade in report.simulation.trades)
    assert report.fees_usd > 0
    assert report.spread_and_slippage_usd > 0


def test_drawdown_is_the_deepest_fall_from_a_peak() -> None:
    report = run(backtest("sma_cross", "SPY", {}))
    equity = report.simulation.equity_usd
    deepest = max(float(equity[:i].max() - equity[i]) for i in range(1, len(equity)))
    assert float(report.drawdown_max_usd) == pytest.approx(deepest)


def test_buy_and_hold_by_hand() -> None:
    """100 USD at 100.02 (slippage of 2 basis points, no spread, no fee), worth 110 at the end."""
    conditions = Conditions(Decimal(100), Decimal(500), RULES, NO_FEES, LIMITS, Decimal(0))
    gained = hold_pnl(series([100.0, 90.0, 110.0]), conditions)
    assert gained == pytest.approx(Decimal(100) / Decimal("100.02") * 110 - 100)


def test_buy_and_hold_pays_the_fee_out_of_the_capital() -> None:
    free = Conditions(Decimal(100), Decimal(500), RULES, NO_FEES, LIMITS, Decimal(5))
    taxed = Conditions(Decimal(100), Decimal(500), RULES, FeeSchedule(Decimal(0), Decimal("0.004")), LIMITS, Decimal(5))
    candles = series([100.0, 100.0])
    assert hold_pnl(candles, taxed) < hold_pnl(candles, free) < 0
    assert hold_pnl(candles, taxed) + 100 == pytest.approx((hold_pnl(candles, free) + 100) / Decimal("1.004"))


def test_from_is_included_and_to_is_not() -> None:
    since, until = datetime(2012, 1, 3, tzinfo=UTC), datetime(2012, 1, 6, tzinfo=UTC)
    part = recorded_series("SPY", "auto", since, until)
    days = [datetime.fromtimestamp(int(at), UTC).day for at in part.opened_at]
    assert days == [3, 4, 5]


def test_the_whole_recording_without_bounds() -> None:
    whole = recorded_series("SPY", "auto", None, None)
    assert len(whole) == dataset("SPY").info.rows
    np.testing.assert_array_equal(whole.close, dataset("SPY").frame("1d").close)


def test_a_longer_timeframe_is_put_together_from_the_recording() -> None:
    minutes, hours = recorded_series("BTC-PERP", "1m", None, None), recorded_series("BTC-PERP", "1h", None, None)
    assert hours.timeframe == "1h"
    assert len(minutes) / 61 < len(hours) < len(minutes) / 59
    report = run(backtest("sma_cross", "BTC-PERP", {"timeframe": "1h"}))
    assert report.timeframe == "1h"
    assert report.simulation.bars == len(hours)


def test_command_honours_from_and_to() -> None:
    plain = json.loads(
        command("--strategy", "sma_cross", "--symbol", "SPY", "--from", "2012-01-03", "--to", "2012-06-01", "--json")
    )
    assert plain["first_bar"] == "2012-01-03T00:00:00Z"
    assert plain["last_bar"] == "2012-05-31T00:00:00Z"


def test_params_keep_their_decimals_exactly() -> None:
    plain = json.loads(
        command("--strategy", "sma_cross", "--symbol", "SPY", "--params", '{"stop_loss_pct": 0.1}', "--json")
    )
    assert plain["params"]["stop_loss_pct"] == "0.1"


def test_capital_changes_the_size_of_everything() -> None:
    small, large = (
        json.loads(command("--strategy", "sma_cross", "--symbol", "SPY", "--capital", capital, "--json"))
        for capital in ("100", "1000")
    )
    assert small["trades"] == large["trades"]
    assert Decimal(large["pnl_usd"]) == pytest.approx(10 * Decimal(small["pnl_usd"]), abs=Decimal("0.1"))
    assert large["equity_usd"] == "100000"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--strategy", "martingale", "--symbol", "SPY"), "unknown strategy 'martingale'; known: smart_dca"),
        (("--strategy", "sma_cross", "--symbol", "GME"), "GME"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--params", "{"), "--params is not JSON"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--params", "[1]"), "--params has to be a JSON object"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--params", '{"fast_bars": 99}'), "must be shorter"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--params", '{"stop_loss_pct": NaN}'), "stop_loss_pct"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--params", '{"timeframe": "1m"}'), "no 1m candles"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "0"), "--capital has to be above 0"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "NaN"), "--capital has to be above 0"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "many"), "--capital has to be an amount"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--equity", "-5"), "--equity has to be above 0"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--from", "monday"), "--from has to be a day"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--from", "2030-01-01"), "no 1d candle of SPY"),
        (("--strategy", "sma_cross", "--symbol", "SPY", "--from", "2012-02-01", "--to", "2012-01-01"), "no 1d candle"),
    ],
)
def test_command_refuses_what_it_cannot_run(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command(*args)


def test_denials_are_shown() -> None:
    plain = json.loads(command("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "100000", "--json"))
    assert plain["denials"]["NOTIONAL_ABOVE_MAX"] > 0
    assert plain["trades"] == 0
    text = command("--strategy", "sma_cross", "--symbol", "SPY", "--capital", "100000")
    assert f"NOTIONAL_ABOVE_MAX {plain['denials']['NOTIONAL_ABOVE_MAX']}" in text


def test_an_unknown_recording_is_refused() -> None:
    with pytest.raises(MarketDataError):
        recorded_series("GME", "auto", None, None)


@pytest.mark.parametrize(("amount", "text"), [("1.005", "1.00"), ("1.015", "1.02"), ("-0.001", "0.00"), ("3", "3.00")])
def test_cents_round_half_even(amount: str, text: str) -> None:
    assert cents(Decimal(amount)) == text
