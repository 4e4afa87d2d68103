"""CONTROLS.md: an ordinary small account trades with every strategy's defaults, and nothing it wants is denied."""

from decimal import Decimal

import pytest

from bots.backtest import recorded_series
from bots.brokers.fees import fees_for
from bots.market_data.base import CandleSeries
from bots.market_data.datasets import dataset
from bots.simulation import simulate
from bots.simulation_values import Conditions, SimulationResult
from bots.strategies import registry
from bots.strategies.base import Strategy
from safety.intents import LimitSet, Side
from safety.limits import merge

EQUITY_USD = Decimal(500)
CAPITALS_USD = [Decimal(100), Decimal(250)]
KRAKEN_FLOOR = {"replay": Decimal(5)}
PAPER = LimitSet(notional_usd_max=Decimal(5000), notional_usd_min=KRAKEN_FLOOR)
LIVE_NOTIONAL = LimitSet(notional_usd_max=Decimal(125), notional_usd_min=KRAKEN_FLOOR)
LIVE_RAMP = LimitSet(notional_usd_max=Decimal(50), notional_usd_min=KRAKEN_FLOOR)
STRATEGIES = [pytest.param(strategy, id=strategy.key) for strategy in registry.all()]


def replayed(strategy: Strategy, symbol: str, capital_usd: Decimal, limits: LimitSet) -> SimulationResult:
    info = dataset(symbol).info
    candles: CandleSeries = recorded_series(symbol, "auto", None, None)
    conditions = Conditions(
        capital_usd, EQUITY_USD, info.rules(), fees_for("replay", symbol), limits, info.half_spread_bps
    )
    return simulate(strategy, strategy.schema.defaults(), candles, conditions)


def entries_usd(result: SimulationResult) -> list[Decimal]:
    return [trade.execution.quantity * trade.execution.price for trade in result.trades if trade.side == Side.BUY]


@pytest.mark.parametrize("limits", [PAPER, LIVE_NOTIONAL, LIVE_RAMP], ids=["paper", "live", "live-ramp"])
@pytest.mark.parametrize("capital_usd", CAPITALS_USD)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_defaults_trade_a_recorded_month_of_minutes_without_a_denial(
    strategy: Strategy, capital_usd: Decimal, limits: LimitSet
) -> None:
    result = replayed(strategy, "BTC-PERP", capital_usd, limits)
    assert result.denials == {}
    assert result.deals_closed >= 10
    assert min(entries_usd(result)) >= 5
    assert max(entries_usd(result)) <= 50


@pytest.mark.parametrize("symbol", ["SPY", "AAPL"])
@pytest.mark.parametrize("capital_usd", CAPITALS_USD)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_defaults_trade_daily_stocks_without_a_denial(strategy: Strategy, capital_usd: Decimal, symbol: str) -> None:
    result = replayed(strategy, symbol, capital_usd, LIVE_RAMP)
    assert result.denials == {}
    assert result.deals_closed >= 10
    assert min(entries_usd(result)) >= 5
    assert max(entries_usd(result)) <= 50


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_limits_that_are_set_out_of_the_box_deny_nothing(strategy: Strategy) -> None:
    for is_live in (False, True):
        assert replayed(strategy, "BTC-PERP", Decimal(250), merge(None, None, is_live=is_live)).denials == {}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_test_can_fail(strategy: Strategy) -> None:
    """With a limit below the defaults' size, denials do come, so that their absence above means something."""
    tight = LimitSet(notional_usd_max=Decimal(5), notional_usd_min=KRAKEN_FLOOR)
    assert "NOTIONAL_ABOVE_MAX" in replayed(strategy, "SPY", Decimal(250), tight).denials
