"""Breakout: buys a close above the recent high, leaves below the recent low or when an ATR stop is hit.

The channel is Richard Donchian's (1960): the highest high and the lowest low of the bars before. The stop trails the
highest bid since the entry by a multiple of Wilder's average true range.
"""

from decimal import Decimal
from typing import Any

import numpy as np

from bots.market_data.base import CandleSeries, Floats
from bots.strategies import indicators
from bots.strategies.base import CancelProposal, Proposal, StrategyView
from bots.strategies.common import (
    FLOAT_SLACK,
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


def _exit_not_above_entry(values: dict[str, Any]) -> str | None:
    leave, enter = values["exit_bars"], values["entry_bars"]
    return (
        None
        if leave <= enter
        else f"the exit channel ({leave} bars) must not be longer than the entry one ({enter} bars)"
    )


class Breakout(PlansOneEntry):
    """Buys once on a close above the channel; sells below the exit channel, at the ATR stop, a stop or a goal."""

    key = "breakout"
    title = "Breakout"
    summary = (
        "Follows strength. Buys when a candle closes above the highest high of the bars before it and sells on a close "
        "below the recent low, or when the bid falls some average true ranges below its best since the entry."
    )
    schema = ParamSchema(
        params=(
            TIMEFRAME,
            IntegerParam(
                "entry_bars",
                "Entry channel",
                30,
                2,
                1000,
                "bars",
                "Buy on a close above the highest high of so many bars.",
            ),
            IntegerParam(
                "exit_bars",
                "Exit channel",
                15,
                2,
                1000,
                "bars",
                "Sell on a close below the lowest low of so many bars.",
            ),
            IntegerParam(
                "atr_bars", "ATR length", 14, 2, 200, "bars", "Over how many bars the average true range is smoothed."
            ),
            DecimalParam(
                "atr_multiple",
                "ATR stop",
                Decimal(3),
                Decimal(0),
                Decimal(20),
                "x ATR",
                "Sell when the bid is this many average true ranges below its best since the entry; 0 switches it off.",
            ),
            POSITION_PCT,
            stop_loss_param("5"),
            take_profit_param("0"),
        ),
        checks=(CrossCheck("exit_bars", _exit_not_above_entry),),
    )

    def warmup_bars(self, params: dict[str, Any]) -> int:
        """Return the candles needed: a channel before each candle that may hold a signal, and a settled true range."""
        return max(int(params["entry_bars"]), int(params["atr_bars"]) * WILDER_FADE) + SIGNAL_BARS

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return the value in USD of the one entry."""
        return percent_of(capital_usd, params["position_pct"])

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        """Return the entry or the exit that is due, if any."""
        if view.position.quantity:
            reason = guard_reason(view) or self._left(view)
            return market_exit(view, reason) if reason else []
        if len(view.candles) < self.warmup_bars(view.params) or has_open(view, Side.BUY):
            return []
        return list(self._entry(view))

    def _entry(self, view: StrategyView) -> list[Proposal]:
        ago = fresh_signal(view, _breakouts(view.candles, view.params))
        bars = view.params["entry_bars"]
        if ago is None:
            return []
        close, level = (view.candles.close[-1 - ago], indicators.highest(view.candles, bars)[-2 - ago])
        if view.candles.close[-1] <= level:
            return []
        reason = (
            f"The close {close:.8g} {signal_age(ago)} is above {level:.8g}, the highest of the {bars} bars before it"
        )
        return market_entry(view, self.largest_leg_usd(view.params, view.capital_usd), "entry", reason)

    def _left(self, view: StrategyView) -> str | None:
        if len(view.candles) < self.warmup_bars(view.params):
            return None
        if _breakdowns(view.candles, view.params)[-1]:
            bars = view.params["exit_bars"]
            level = indicators.lowest(view.candles, bars)[-2]
            return (
                f"The close {view.candles.close[-1]:.8g} is below {level:.8g}, the lowest of the {bars} bars before it"
            )
        return self._atr_stop(view)

    def _atr_stop(self, view: StrategyView) -> str | None:
        multiple = view.params["atr_multiple"]
        atr = Decimal(str(indicators.atr(view.candles, view.params["atr_bars"])[-1]))
        if not multiple or not atr.is_finite():
            return None
        bid = view.quote.bid
        stop = max(_peak(view), bid) - multiple * atr
        if bid > stop:
            return None
        distance = f"{multiple} x ATR {float(atr):.6g}"
        return f"ATR stop: the bid {bid} is at or below {float(stop):.8g}, {distance} under its best since the entry"

    def next_bar(self, scan: Scan) -> int:
        """Return the first bar at which ``propose`` may have something to do."""
        if scan.average_price is None:
            return scan.next_flag(_entry_bars(scan.candles, scan.params))
        low, high = scan.guard_prices()
        breakdowns = _breakdowns(scan.candles, scan.params)
        distance = indicators.atr(scan.candles, scan.params["atr_bars"]) * float(scan.params["atr_multiple"])
        has_stop = bool(scan.params["atr_multiple"])
        peak = max(scan.peak_price, scan.average_price)

        def flagged(window: slice) -> Flags:
            nonlocal peak
            bid = scan.bid[window]
            flags: Flags = breakdowns[window] | (bid <= low) | (bid >= high)
            if has_stop:
                peaks = np.maximum(np.maximum.accumulate(bid), peak)
                flags |= bid <= (peaks - distance[window]) * (1 + FLOAT_SLACK)
                peak = float(peaks[-1])
            return flags

        return scan.first(flagged)


def _peak(view: StrategyView) -> Decimal:
    """Return the best bid since the entry; the average buy price where none is known."""
    average = view.position.average_price or view.quote.bid
    peak = view.deal.peak_price if view.deal is not None else None
    return average if peak is None else max(peak, average)


def _shifted(figures: Floats) -> Floats:
    """Return the figure of the candle before, NaN for the first."""
    before = np.empty_like(figures)
    before[:1] = np.nan
    before[1:] = figures[:-1]
    return before


def _breakouts(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    bars = params["entry_bars"]

    def compute(series: CandleSeries) -> Flags:
        return series.close > _shifted(indicators.highest(series, bars))

    return indicators.remembered(candles, ("breakout.up", bars), compute)


def _breakdowns(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    bars = params["exit_bars"]

    def compute(series: CandleSeries) -> Flags:
        return series.close < _shifted(indicators.lowest(series, bars))

    return indicators.remembered(candles, ("breakout.down", bars), compute)


def _entry_bars(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    return indicators.remembered(
        candles, ("breakout.entry", params["entry_bars"]), lambda series: widened(_breakouts(series, params))
    )
