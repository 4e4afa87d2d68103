"""SMA cross: long while a fast average of the closes is above a slow one."""

from decimal import Decimal
from typing import Any

import numpy as np

from bots.market_data.base import CandleSeries, Floats
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
from bots.strategies.schema import TIMEFRAME, ChoiceParam, CrossCheck, IntegerParam, ParamSchema
from safety.intents import Side

# Averages closer than this share of the price count as equal: rounding noise on a flat market is not a cross.
EQUAL_SHARE = 1e-9
EMA_FADE = 5


def _fast_below_slow(values: dict[str, Any]) -> str | None:
    fast, slow = values["fast_bars"], values["slow_bars"]
    return None if fast < slow else f"the fast average ({fast} bars) must be shorter than the slow one ({slow} bars)"


class SmaCross(PlansOneEntry):
    """Buys once when the fast average crosses above the slow one; sells when it is below, or at a stop or a goal."""

    key = "sma_cross"
    title = "SMA cross"
    summary = (
        "Follows trends. Buys when the fast moving average of the closes crosses above the slow one and sells when it "
        "is below again. Earns in long moves and gives back a little at each false start in a sideways market."
    )
    schema = ParamSchema(
        params=(
            TIMEFRAME,
            ChoiceParam(
                "average",
                "Average",
                "simple",
                {"simple": "Simple", "exponential": "Exponential"},
                "Simple weighs each bar the same; exponential weighs recent bars more.",
            ),
            IntegerParam("fast_bars", "Fast average", 20, 2, 250, "bars", "Length of the fast average."),
            IntegerParam("slow_bars", "Slow average", 50, 3, 500, "bars", "Length of the slow average."),
            POSITION_PCT,
            stop_loss_param("3"),
            take_profit_param("0"),
        ),
        checks=(CrossCheck("fast_bars", _fast_below_slow),),
    )

    def warmup_bars(self, params: dict[str, Any]) -> int:
        """Return the candles needed: settled averages at each candle that may hold a signal and at the one before."""
        fade = EMA_FADE if params["average"] == "exponential" else 1
        return int(params["slow_bars"]) * fade + SIGNAL_BARS

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return the value in USD of the one entry."""
        return percent_of(capital_usd, params["position_pct"])

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        """Return the entry or the exit that is due, if any."""
        if view.position.quantity:
            reason = guard_reason(view) or self._crossed_back(view)
            return market_exit(view, reason) if reason else []
        if len(view.candles) < self.warmup_bars(view.params) or has_open(view, Side.BUY):
            return []
        return list(self._entry(view))

    def _entry(self, view: StrategyView) -> list[Proposal]:
        above = _above(view.candles, view.params)
        ago = fresh_signal(view, _crossings(view.candles, view.params))
        if ago is None or not above[-1]:
            return []
        fast, slow = _averages(view.candles, view.params)
        reason = (
            f"The {view.params['fast_bars']}-bar average {fast[-1]:.8g} crossed above "
            f"the {view.params['slow_bars']}-bar average {slow[-1]:.8g} {signal_age(ago)}"
        )
        return market_entry(view, self.largest_leg_usd(view.params, view.capital_usd), "entry", reason)

    def _crossed_back(self, view: StrategyView) -> str | None:
        if len(view.candles) < self.warmup_bars(view.params) or not _below(view.candles, view.params)[-1]:
            return None
        fast, slow = _averages(view.candles, view.params)
        return (
            f"The {view.params['fast_bars']}-bar average {fast[-1]:.8g} is below the {view.params['slow_bars']}-bar "
            f"average {slow[-1]:.8g}"
        )

    def next_bar(self, scan: Scan) -> int:
        """Return the first bar at which ``propose`` may have something to do."""
        if scan.average_price is None:
            return scan.next_flag(_entry_bars(scan.candles, scan.params))
        low, high = scan.guard_prices()
        below = _below(scan.candles, scan.params)
        return scan.first(lambda w: below[w] | (scan.bid[w] <= low) | (scan.bid[w] >= high))


def _key(params: dict[str, Any]) -> tuple[object, ...]:
    return params["average"], params["fast_bars"], params["slow_bars"]


def _averages(candles: CandleSeries, params: dict[str, Any]) -> tuple[Floats, Floats]:
    average = indicators.ema if params["average"] == "exponential" else indicators.sma
    return average(candles, params["fast_bars"]), average(candles, params["slow_bars"])


def _gap_share(candles: CandleSeries, params: dict[str, Any]) -> Floats:
    def compute(series: CandleSeries) -> Floats:
        fast, slow = _averages(series, params)
        return (fast - slow) / series.close

    return indicators.remembered(candles, ("sma_cross.gap", *_key(params)), compute)


def _above(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    def compute(series: CandleSeries) -> Flags:
        return _gap_share(series, params) > EQUAL_SHARE

    return indicators.remembered(candles, ("sma_cross.above", *_key(params)), compute)


def _below(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    def compute(series: CandleSeries) -> Flags:
        return _gap_share(series, params) < -EQUAL_SHARE

    return indicators.remembered(candles, ("sma_cross.below", *_key(params)), compute)


def _crossings(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    """Return where the fast average is above and was not, one candle earlier, while both were known."""

    def compute(series: CandleSeries) -> Flags:
        above, known = _above(series, params), ~np.isnan(_gap_share(series, params))
        crossed = np.zeros(len(series), dtype=np.bool_)
        crossed[1:] = above[1:] & ~above[:-1] & known[:-1]
        return crossed

    return indicators.remembered(candles, ("sma_cross.up", *_key(params)), compute)


def _entry_bars(candles: CandleSeries, params: dict[str, Any]) -> Flags:
    return indicators.remembered(
        candles, ("sma_cross.entry", *_key(params)), lambda series: widened(_crossings(series, params))
    )
