"""A strategy tried on the recorded candles: what it would have earned, what that cost, and what holding would have given."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np

from audit.decimals import decimal_text
from bots.brokers.fees import fees_for
from bots.brokers.paper import SLIPPAGE_BPS
from bots.market_data.base import CandleSeries, MarketDataError
from bots.market_data.datasets import VENUE, dataset
from bots.simulation import simulate
from bots.simulation_values import BASIS_POINTS, Conditions, SimulationResult, quote_ticks
from bots.strategies.base import Strategy
from bots.strategies.schema import TIMEFRAME_AUTO
from safety.intents import LimitSet

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Backtest:
    """What is tried: on which recording, with how much, between which moments (None: from its start, to its end)."""

    strategy: Strategy
    params: dict[str, Any]
    symbol: str
    capital_usd: Decimal
    equity_usd: Decimal
    limits: LimitSet
    since: datetime | None = None
    until: datetime | None = None
    with_intelligence: bool = True
    score_min: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it, in USD. ``pnl_usd`` is net of every cost, with what is still held valued at the last bid."""

    first_bar: datetime
    last_bar: datetime
    timeframe: str
    simulation: SimulationResult
    fees_usd: Decimal
    spread_and_slippage_usd: Decimal
    realised_pnl_usd: Decimal
    unrealised_pnl_usd: Decimal
    drawdown_max_usd: Decimal
    hold_pnl_usd: Decimal

    @property
    def pnl_usd(self) -> Decimal:
        """Return realised and unrealised P&L together."""
        return self.realised_pnl_usd + self.unrealised_pnl_usd


def recorded_series(symbol: str, timeframe: str, since: datetime | None, until: datetime | None) -> CandleSeries:
    """Return the recorded candles that opened in ``[since, until)``; ``auto`` is the recording's own timeframe.

    Raises MarketDataError for an unknown symbol or timeframe, or when no candle is left.
    """
    data = dataset(symbol)
    name = data.info.timeframe if timeframe == TIMEFRAME_AUTO else timeframe
    frame = data.frame(name)
    opened_at = data.opened_at[frame.first]
    begin = 0 if since is None else int(np.searchsorted(opened_at, since.timestamp(), side="left"))
    end = len(opened_at) if until is None else int(np.searchsorted(opened_at, until.timestamp(), side="left"))
    if begin >= end:
        raise MarketDataError(f"no {name} candle of {symbol} lies in that time: it has {_span(opened_at)}")
    part = slice(begin, end)
    columns = (frame.open[part], frame.high[part], frame.low[part], frame.close[part], frame.volume[part])
    return CandleSeries(VENUE, symbol, name, opened_at[part], *columns)


def run(test: Backtest) -> Report:
    """Run one backtest. ``test.params`` must be clean. Raises MarketDataError when there are no candles for it."""
    info = dataset(test.symbol).info
    candles = recorded_series(test.symbol, test.params["timeframe"], test.since, test.until)
    conditions = Conditions(
        capital_usd=test.capital_usd,
        equity_usd=test.equity_usd,
        rules=info.rules(),
        fees=fees_for(VENUE, test.symbol),
        limits=test.limits,
        half_spread_bps=info.half_spread_bps,
        with_intelligence=test.with_intelligence,
        score_min=test.score_min,
    )
    result = simulate(test.strategy, test.params, candles, conditions)
    return Report(
        first_bar=_moment(candles.opened_at[0]),
        last_bar=_moment(candles.opened_at[-1]),
        timeframe=candles.timeframe,
        simulation=result,
        fees_usd=result.book.fees,
        spread_and_slippage_usd=sum((trade.cost_usd for trade in result.trades), Decimal(0)),
        realised_pnl_usd=result.book.realised_pnl,
        unrealised_pnl_usd=result.book.quantity * result.final_price - result.book.cost,
        drawdown_max_usd=_drawdown_max(result),
        hold_pnl_usd=hold_pnl(candles, conditions),
    )


def hold_pnl(candles: CandleSeries, conditions: Conditions) -> Decimal:
    """Return what the whole capital would have gained, bought at the first close and valued at the last bid.

    The purchase pays half the spread, slippage and the taker's fee out of the capital, as a strategy's would.
    """
    bids, asks = quote_ticks(candles, conditions.rules, conditions.half_spread_bps)
    bought_at = int(asks[0]) * conditions.rules.tick_size * (1 + SLIPPAGE_BPS / BASIS_POINTS)
    quantity = conditions.capital_usd / (bought_at * (1 + conditions.fees.taker))
    return quantity * int(bids[-1]) * conditions.rules.tick_size - conditions.capital_usd


def as_plain(test: Backtest, report: Report) -> dict[str, Any]:
    """Return the report as plain JSON values; money is text, to the cent."""
    result = report.simulation
    return {
        "strategy": test.strategy.key,
        "params": test.strategy.schema.plain(test.params),
        "symbol": test.symbol,
        "venue": VENUE,
        "timeframe": report.timeframe,
        "first_bar": _iso(report.first_bar),
        "last_bar": _iso(report.last_bar),
        "bars": result.bars,
        "capital_usd": decimal_text(test.capital_usd),
        "equity_usd": decimal_text(test.equity_usd),
        "trades": len(result.trades),
        "deals_closed": result.deals_closed,
        "deals_won": result.deals_won,
        "denials": dict(sorted(result.denials.items())),
        "intelligence": test.with_intelligence,
        "score_min": test.score_min,
        "entries_held_back": result.held_back,
        "fees_usd": cents(report.fees_usd),
        "spread_and_slippage_usd": cents(report.spread_and_slippage_usd),
        "realised_pnl_usd": cents(report.realised_pnl_usd),
        "unrealised_pnl_usd": cents(report.unrealised_pnl_usd),
        "pnl_usd": cents(report.pnl_usd),
        "pnl_pct_of_capital": cents(report.pnl_usd / test.capital_usd * 100),
        "drawdown_max_usd": cents(report.drawdown_max_usd),
        "hold_pnl_usd": cents(report.hold_pnl_usd),
        "hold_pnl_pct_of_capital": cents(report.hold_pnl_usd / test.capital_usd * 100),
    }


def cents(amount: Decimal) -> str:
    """Return an amount as text, rounded half-even to the cent."""
    # Adding 0 turns a negative zero into a plain one.
    return f"{amount.quantize(CENT, rounding=ROUND_HALF_EVEN) + 0:f}"


def _drawdown_max(result: SimulationResult) -> Decimal:
    """Return the deepest fall of the equity from its highest point before, in USD."""
    equity = result.equity_usd
    return Decimal(str((np.maximum.accumulate(equity) - equity).max()))


def _moment(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(int(epoch_s), UTC)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(opened_at: Any) -> str:
    return f"{_iso(_moment(opened_at[0]))} to {_iso(_moment(opened_at[-1]))}"
