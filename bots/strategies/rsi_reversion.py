"""RSI reversion: buys when an oversold market turns up, sells when it has recovered."""

from decimal import Decimal
from typing import Any

import numpy as np

from bots.market_data.base import CandleSeries
from bots.strategies import indicators
from bots.strategies.base import CancelProposal, Proposal, StrategyView
from bots.strategies.common import (
    POSITION_PCT,
    SIGNAL_BARS,
    Flags,
    Scan,
    fresh_signal,
    guard_reason,
    has_open,
    market_entry,
    market_exit,
    percent_of,
    signal_age,
    stop_loss_param,
    take_profit_param,
    widened,
)
from bots.strategies.ladder import PlansOneEntry
from bots.strategies.schema import TIMEFRAME, CrossCheck, DecimalParam, IntegerParam, ParamSchema
from safety.intents import Side

WILDER_FADE = 10


def _oversold_below_exit(values: dict[str, Any]) -> str | None:
    oversold, leave = values["oversold_level"], values["exit_level"]
    return None if oversold < leave else f"oversold ({oversold}) must be below the exit level ({leave})"


class RsiReversion(PlansOneEntry):
    """Buys once when the RSI rises back through the oversold level; sells at the exit level, a stop or a goal."""

    key = "rsi_reversion"
    title = "RSI reversion"
    summary = (
        "Trades recoveries. Buys when the relative strength index comes back up through its oversold level and sells "
        "when it reaches the exit level. Earns in sideways markets; a long fall ends at the stop loss."
    )
    schema = ParamSchema(
        params=(
            TIMEFRAME,
            IntegerParam("rsi_bars", "RSI length", 14, 2, 200, "bars", "Over how many bars the RSI is smoothed."),
            DecimalParam(
                "oversold_level",
                "Oversold level",
                Decimal(30),
                Decimal(1),
                Decimal(60),
                "RSI points",
                "Buy when the RSI rises from below this level to it or above.",
            ),
            DecimalParam(
                "exit_level",
                "Exit level",
                Decimal(55),
                Decimal(20),
                Decimal(99),
                "RSI points",
                "Sell when the RSI closes at this level or above.",
            ),
            POSITION_PCT,
            stop_loss_param("4"),
            take_profit_param("0"),
        ),
        checks=(CrossCheck("oversold_level", _oversold_below_exit),),
    )

    def warmup_bars(self, params: dict[str, Any]) -> int:
        """Return the candles needed until Wilder's smoothing has forgotten where it began."""
        return int(params["rsi_bars"]) * WILDER_FADE + SIGNAL_BARS

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return the value in USD of the one entry."""
        return percent_of(capital_usd, params["position_pct"])

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        """Return the entry or the exit that is due, if any."""
        if view.position.quantity:
            reason = guard_reason(view) or self._recovered(view)
            return market_exit(view, reason) if reason else []
        if len(view.candles) < self.warmup_bars(view.params) or has_open(view, Side.BUY):
            return []
        return list(self._entry(view))

    def _entry(self, view: StrategyView) -> list[Proposal]:
        rsi = indicators.rsi(view.candles, view.params["rsi_bars"])
        ago = fresh_signal(view, _turns(view.candles, view.params))
        if ago is None or rsi[-1] >= float(view.params["exit_level"]):
            return []
        reason = f"The RSI rose back through {view.params['oversold_level']} {signal_age(ago)} and is {rsi[-1]:.1f}"
        return market_entry(view, self.largest_leg_usd(view.params, view.capital_usd), "entry", reason)

    def _recovered(self, view: StrategyView) -> str | None:
        if len(view.candles) < self.warmup_bars(view.params) or not _exit_bars(view.candles, view.params)[-1]:
            return None
        rsi = indicators.rsi(view.candles, view.params["rsi_bars"])
        return f"The RSI {rsi[-1]:.1f} has reached the exit level {view.params['exit_level']}"

    def next_bar(self, scan: Scan) -> int:
        """Return the first bar at which ``propose`` may have something to do."""
        if scan.average_price is None:
            return scan.next_flag(_entry_bars(scan.candles, scan.params))
        low, high = scan.guard_prices()
        leave = _exit_bars(scan.candles, scan.params)
        return scan.first(lambda w: leave[w] | (scan.bid[w] <= low) | (scan.bid[w] >= high))


def _turns(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    """Return where the RSI is at the oversold level or above and was below it one candle earlier."""

    def compute(series: CandleSeries) -> Flags:
        rsi, level = (indicators.rsi(series, params["rsi_bars"]), float(params["oversold_level"]))
        turned = np.zeros(len(series), dtype=np.bool_)
        turned[1:] = (rsi[:-1] < level) & (rsi[1:] >= level)
        return turned

    return indicators.remembered(candles, ("rsi.turn", params["rsi_bars"], params["oversold_level"]), compute)


def _exit_bars(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    def compute(series: CandleSeries) -> Flags:
        return indicators.rsi(series, params["rsi_bars"]) >= float(params["exit_level"])

    return indicators.remembered(candles, ("rsi.exit", params["rsi_bars"], params["exit_level"]), compute)


def _entry_bars(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    return indicators.remembered(
        candles,
        ("rsi.entry", params["rsi_bars"], params["oversold_level"]),
        lambda series: widened(_turns(series, params)),
    )
