"""CONTROLS.md: an ordinary small account trades with every strategy's defaults, and nothing it wants is denied.

Every control of the gate is asked, under the paper limits and under the live ones as they are out of the box. Off are only
DAILY_LOSS, DRAWDOWN and LOSING_STREAK: a bad month is a bad month.
"""

from dataclasses import replace
from datetime import UTC, datetime
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
from safety.controls import CONTROLS
from safety.controls.live import locks_required
from safety.intents import LimitSet, Lock, Side
from safety.limits import merge

EQUITY_USD = Decimal(500)
CAPITALS_USD = [Decimal(100), Decimal(250)]
KRAKEN_FLOOR = {"replay": Decimal(5)}
#: As a rehearsal of live would find them.
OPEN = tuple(Lock(one, True, "environment", "open") for one in locks_required("replay"))
BOOKS = ["paper", "live"]
STRATEGIES = [pytest.param(strategy, id=strategy.key) for strategy in registry.all()]


def limits_of(book: str) -> LimitSet:
    """Return the limits out of the box, with Kraken's floor, without those on losses."""
    limits = merge(None, None, is_live=book == "live")
    return replace(
        limits, notional_usd_min=KRAKEN_FLOOR, daily_loss_pct=None, drawdown_pct=None, losing_streak_max=None
    )


def replayed(
    strategy: Strategy,
    symbol: str,
    capital_usd: Decimal,
    book: str,
    limits: LimitSet | None = None,
    until: datetime | None = None,
) -> SimulationResult:
    info = dataset(symbol).info
    candles: CandleSeries = recorded_series(symbol, "auto", None, until)
    conditions = Conditions(
        capital_usd,
        EQUITY_USD,
        info.rules(),
        fees_for("replay", symbol),
        limits or limits_of(book),
        info.half_spread_bps,
        live_locks=OPEN if book == "live" else None,
        # What it takes away could hide a denial.
        with_intelligence=False,
    )
    return simulate(strategy, strategy.schema.defaults(), candles, conditions)


def entries_usd(result: SimulationResult) -> list[Decimal]:
    return [trade.execution.quantity * trade.execution.price for trade in result.trades if trade.side == Side.BUY]


@pytest.mark.parametrize("book", BOOKS)
@pytest.mark.parametrize("capital_usd", CAPITALS_USD)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_defaults_trade_a_recorded_month_of_minutes_without_a_denial(
    strategy: Strategy, capital_usd: Decimal, book: str
) -> None:
    result = replayed(strategy, "BTC-PERP", capital_usd, book)
    assert result.denials == {}
    assert result.deals_closed >= 10
    assert min(entries_usd(result)) >= 5
    # Also before the ramp is lifted, after ten live fills.
    assert max(entries_usd(result)) <= 50


@pytest.mark.parametrize("symbol", ["SPY", "AAPL"])
@pytest.mark.parametrize("capital_usd", CAPITALS_USD)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_defaults_trade_daily_stocks_without_a_denial(strategy: Strategy, capital_usd: Decimal, symbol: str) -> None:
    result = replayed(strategy, symbol, capital_usd, "live")
    assert result.denials == {}
    assert result.deals_closed >= 10
    assert min(entries_usd(result)) >= 5
    assert max(entries_usd(result)) <= 50


# That the absence of denials means something: with a limit below the defaults' sizes, each of these controls does deny.

TIGHT = [
    ("NOTIONAL_ABOVE_MAX", {"notional_usd_max": Decimal(5)}),
    ("NOTIONAL_BELOW_MIN", {"notional_usd_min": {"replay": Decimal(60)}}),
    ("SIZE_OUTLIER", {"size_outlier_multiple": Decimal("0.1")}),
    ("PRICE_COLLAR", {"collar_pct_major": Decimal("0.000001")}),
    ("REPEAT_THROTTLE", {"repeat_per_day": 1}),
    ("POSITION_MAX", {"position_equity_pct": Decimal(1), "position_floor_usd": Decimal(10)}),
    ("GROSS_EXPOSURE_MAX", {"gross_equity_pct": Decimal(1), "gross_floor_usd": Decimal(10)}),
    ("DAILY_LOSS", {"daily_loss_pct": Decimal("0.01")}),
    ("DRAWDOWN", {"drawdown_pct": Decimal("0.01")}),
    ("LOSING_STREAK", {"losing_streak_max": 1}),
    ("LIVE_RAMP", {"ramp_usd_max": Decimal(10)}),
]


@pytest.mark.parametrize(("code", "changes"), TIGHT, ids=[code for code, _ in TIGHT])
def test_the_test_can_fail(code: str, changes: dict[str, object]) -> None:
    limits = replace(limits_of("live"), **changes)  # type: ignore[arg-type]
    often, few_days = registry.get("sma_cross"), datetime(2022, 1, 4, tzinfo=UTC)
    assert code in CONTROLS
    assert code in replayed(often, "BTC-PERP", Decimal(250), "live", limits, few_days).denials


def test_live_is_judged_behind_its_locks() -> None:
    """A lock that is shut denies every order, entry or exit; and nothing trades then."""
    strategy, info = registry.get("breakout"), dataset("SPY").info
    shut = (*OPEN[:-1], replace(OPEN[-1], is_open=False))
    conditions = Conditions(
        Decimal(250), EQUITY_USD, info.rules(), fees_for("replay", "SPY"), limits_of("live"), live_locks=shut
    )
    candles = recorded_series("SPY", "auto", None, None)
    result = simulate(strategy, strategy.schema.defaults(), candles, conditions)
    assert set(result.denials) == {"LIVE_GATE_CLOSED"}
    assert result.trades == ()
