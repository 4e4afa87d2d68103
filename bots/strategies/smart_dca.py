"""Smart DCA: a first buy, further buys as the price falls below the average cost, one sale at a profit."""

from decimal import Decimal
from typing import Any

import numpy as np

from bots.strategies import indicators
from bots.strategies.base import CancelProposal, OpenOrder, PlannedLeg, Proposal, StrategyView
from bots.strategies.common import (
    FLOAT_SLACK,
    HUNDRED,
    SPEND_PCT_MAX,
    Scan,
    change_pct,
    entry_quantity,
    guard_reason,
    has_open,
    market_entry,
    market_exit,
    percent_of,
    price_down_to_tick,
    stop_loss_param,
    take_profit_param,
)
from bots.strategies.ladder import PlansOneEntry, falling_ladder
from bots.strategies.schema import TIMEFRAME, BooleanParam, CrossCheck, DecimalParam, IntegerParam, ParamSchema
from safety.intents import OrderType, Side

STEP_PCT_MAX = Decimal(90)


def safety_size_pct(params: dict[str, Any], number: int) -> Decimal:
    """Return the planned size of safety order ``number`` (from 1) in % of the capital."""
    first: Decimal = params["safety_order_pct"]
    multiplier: Decimal = params["size_multiplier"]
    return first * multiplier ** (number - 1)


def safety_step_pct(params: dict[str, Any], number: int) -> Decimal:
    """Return how far below the average buy price, in %, safety order ``number`` (from 1) buys."""
    first: Decimal = params["step_pct"]
    multiplier: Decimal = params["step_multiplier"]
    return first * multiplier ** (number - 1)


def ladder_pct(params: dict[str, Any]) -> Decimal:
    """Return what the base order and every safety order cost together, in % of the capital."""
    sizes = (safety_size_pct(params, number) for number in range(1, params["safety_orders_max"] + 1))
    return sum(sizes, start=Decimal(params["base_order_pct"]))


def _ladder_fits(values: dict[str, Any]) -> str | None:
    total, spend = ladder_pct(values), values["max_spend_pct"]
    if total <= spend:
        return None
    return f"the base order and all safety orders together cost {total:.2f} % of the capital; max spend is {spend} %"


def _steps_end_above_zero(values: dict[str, Any]) -> str | None:
    deepest = safety_step_pct(values, max(values["safety_orders_max"], 1))
    if deepest <= STEP_PCT_MAX:
        return None
    return f"the last safety order would wait {deepest:.2f} % below the average; the most is {STEP_PCT_MAX} %"


def _stop_below_ladder(values: dict[str, Any]) -> str | None:
    stop, count = values["stop_loss_pct"], values["safety_orders_max"]
    deepest = safety_step_pct(values, count) if count else Decimal(0)
    if not stop or stop > deepest:
        return None
    return f"the stop loss ({stop} %) must be further away than the last safety order ({deepest:.2f} %)"


def _trailing_below_goal(values: dict[str, Any]) -> str | None:
    trailing, goal = values["trailing_pct"], values["take_profit_pct"]
    return None if trailing < goal else f"trailing ({trailing} %) must be smaller than take profit ({goal} %)"


class SmartDca(PlansOneEntry):
    """One deal at a time: base order, safety orders below the average cost, take profit with optional trailing."""

    key = "smart_dca"
    title = "Smart DCA"
    summary = (
        "Buys a little, buys more each time the price falls a further step below the average cost, and sells everything "
        "at a profit above the average. Earns in markets that swing; a fall beyond the last safety order is held, or "
        "ended by the stop loss."
    )
    schema = ParamSchema(
        params=(
            TIMEFRAME,
            DecimalParam(
                "base_order_pct",
                "Base order",
                Decimal(8),
                Decimal("0.1"),
                SPEND_PCT_MAX,
                "% of capital",
                "Size of the first buy of a deal.",
            ),
            DecimalParam(
                "safety_order_pct",
                "First safety order",
                Decimal(8),
                Decimal("0.1"),
                SPEND_PCT_MAX,
                "% of capital",
                "Size of the first safety order.",
            ),
            IntegerParam(
                "safety_orders_max", "Safety orders", 5, 0, 25, "orders", "The most safety orders in one deal."
            ),
            DecimalParam(
                "size_multiplier",
                "Size multiplier",
                Decimal("1.2"),
                Decimal("0.5"),
                Decimal(3),
                "x",
                "Each safety order is this many times as large as the one before.",
            ),
            DecimalParam(
                "step_pct",
                "First step",
                Decimal(1),
                Decimal("0.05"),
                Decimal(50),
                "%",
                "How far the price must fall below the average buy price for the first safety order.",
            ),
            DecimalParam(
                "step_multiplier",
                "Step multiplier",
                Decimal("1.3"),
                Decimal("0.5"),
                Decimal(5),
                "x",
                "Each further step is this many times as long as the one before.",
            ),
            take_profit_param("1.5", minimum="0.05"),
            DecimalParam(
                "trailing_pct",
                "Trailing",
                Decimal(0),
                Decimal(0),
                Decimal(50),
                "%",
                "Once take profit is reached, follow the best bid of the deal and sell when it falls back this far; "
                "0 sells at once. Never sells for less than take profit less this figure.",
            ),
            stop_loss_param("6"),
            IntegerParam(
                "trend_bars",
                "Trend filter",
                0,
                0,
                1000,
                "bars",
                "Start a deal only when the last close is above the simple average of so many closes; "
                "0 and 1 switch it off.",
            ),
            DecimalParam(
                "max_spend_pct",
                "Max spend",
                Decimal(90),
                Decimal("0.1"),
                SPEND_PCT_MAX,
                "% of capital",
                "The most that one deal may cost, before fees.",
            ),
            IntegerParam(
                "cooldown_bars",
                "Cooldown",
                2,
                0,
                1000,
                "bars",
                "So many candles must open and close after a deal before the next one starts.",
            ),
            BooleanParam(
                "resting_orders",
                "Resting safety orders",
                False,
                "Place the next safety order as a limit order in the market, instead of buying at market when its "
                "price is reached.",
            ),
        ),
        checks=(
            CrossCheck("max_spend_pct", _ladder_fits),
            CrossCheck("step_multiplier", _steps_end_above_zero),
            CrossCheck("stop_loss_pct", _stop_below_ladder),
            CrossCheck("trailing_pct", _trailing_below_goal),
        ),
    )

    def warmup_bars(self, params: dict[str, Any]) -> int:
        """Return the candles needed: one, the trend filter's, or those of the cooldown, which are counted."""
        return max(int(params["trend_bars"]), int(params["cooldown_bars"]), 1)

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return the value in USD of the largest of the base order and the safety orders."""
        count = params["safety_orders_max"]
        ends = [safety_size_pct(params, number) for number in {1, count} if count]
        return percent_of(capital_usd, max([params["base_order_pct"], *ends]))

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        """Return the base order and every safety order."""
        legs = [("base", percent_of(capital_usd, params["base_order_pct"]), Decimal(0))]
        for number in range(1, params["safety_orders_max"] + 1):
            size_usd = percent_of(capital_usd, safety_size_pct(params, number))
            legs.append((f"so{number}", size_usd, safety_step_pct(params, number)))
        return falling_ladder(legs)

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        """Return the next step of the deal, if one is due."""
        if not view.position.quantity:
            return _without_resting(view, "The deal is over") or list(self._base_order(view))
        reason = _stop_or_goal(view)
        if reason is not None:
            return market_exit(view, reason)
        return list(self._safety_order(view))

    def _base_order(self, view: StrategyView) -> list[Proposal]:
        if len(view.candles) < self.warmup_bars(view.params) or has_open(view, Side.BUY):
            return []
        if _cooling_down(view) or not _trend_allows(view):
            return []
        reason = "Base order: no deal is open"
        if view.params["trend_bars"] > 1:
            reason += (
                f" and the close {view.candles.close[-1]:.8g} is above its {view.params['trend_bars']}-bar average"
            )
        return market_entry(view, percent_of(view.capital_usd, view.params["base_order_pct"]), "base", reason)

    def _safety_order(self, view: StrategyView) -> list[Proposal]:
        number = max(view.deal.legs if view.deal is not None else 1, 1)
        average = view.position.average_price
        if average is None or number > view.params["safety_orders_max"] or view.open_orders:
            return []
        amount = _affordable(view, number)
        trigger = average * (1 - safety_step_pct(view.params, number) / HUNDRED)
        if view.params["resting_orders"]:
            return _resting_safety_order(view, number, amount, trigger)
        if view.quote.ask > trigger:
            return []
        fall = -change_pct(view.quote.ask, average)
        reason = (
            f"Price fell {fall:.2f} % below the average buy price: "
            f"safety order {number} of {view.params['safety_orders_max']}"
        )
        return market_entry(view, amount, f"so{number}", reason)

    def next_bar(self, scan: Scan) -> int:
        """Return the first bar at which ``propose`` may have something to do."""
        params = scan.params
        if scan.average_price is None:
            return scan.start if scan.has_open_orders else self._next_deal_bar(scan)
        number = max(scan.legs, 1)
        has_step = number <= params["safety_orders_max"] and not scan.has_open_orders
        if has_step and params["resting_orders"]:
            return scan.start
        step = float(safety_step_pct(params, number)) if has_step else 100.0
        low, high = scan.guard_prices()
        high *= 1 - float(params["trailing_pct"]) / 100
        buy = scan.average_price * (1 - step / 100) * (1 + FLOAT_SLACK)
        return scan.first(lambda w: (scan.bid[w] <= low) | (scan.bid[w] >= high) | (scan.ask[w] <= buy))

    def _next_deal_bar(self, scan: Scan) -> int:
        bars = scan.params["trend_bars"]
        if bars < 2:
            return scan.start
        average, close = indicators.sma(scan.candles, bars), scan.candles.close
        return scan.first(lambda w: close[w] > average[w])


def _stop_or_goal(view: StrategyView) -> str | None:
    """Return why the whole position is to be sold now, or None."""
    trailing = view.params["trailing_pct"]
    if not trailing:
        return guard_reason(view)
    average, bid = view.position.average_price, view.quote.bid
    if average is None:
        return None
    goal = average * (1 + view.params["take_profit_pct"] / HUNDRED)
    if bid < goal * (1 - trailing / HUNDRED):
        return guard_reason(view)
    peak = max(bid, view.deal.peak_price or bid) if view.deal is not None else bid
    # A bid above the floor that is this far below the best means that the best was at the goal or above.
    if bid > peak * (1 - trailing / HUNDRED):
        return None
    return (
        f"Trailing take profit: the bid is {-change_pct(bid, peak):.2f} % below its best, {peak}, "
        f"and {change_pct(bid, average):.2f} % above the average buy price"
    )


def _without_resting(view: StrategyView, reason: str) -> list[Proposal | CancelProposal]:
    """Return cancels for safety orders that still rest in the market."""
    return [CancelProposal(order.client_order_id, reason) for order in view.open_orders if _is_resting_safety(order)]


def _is_resting_safety(order: OpenOrder) -> bool:
    return order.side == Side.BUY and order.type == OrderType.LIMIT and order.leg.startswith("so")


def _cooling_down(view: StrategyView) -> bool:
    """Return whether fewer than ``cooldown_bars`` candles have opened, and closed, since the last exit."""
    cooldown, left_at = view.params["cooldown_bars"], view.position.last_exit_at
    if not cooldown or left_at is None:
        return False
    opened_at = view.candles.opened_at
    since = len(opened_at) - int(np.searchsorted(opened_at, left_at.timestamp(), side="left"))
    return since < int(cooldown)


def _trend_allows(view: StrategyView) -> bool:
    bars = view.params["trend_bars"]
    return bars < 2 or bool(view.candles.close[-1] > indicators.sma(view.candles, bars)[-1])


def _affordable(view: StrategyView, number: int) -> Decimal:
    """Return the planned size in USD of a safety order, cut to what is left of max spend; never below 0."""
    planned = percent_of(view.capital_usd, safety_size_pct(view.params, number))
    left = percent_of(view.capital_usd, view.params["max_spend_pct"]) - view.position.cost
    return max(min(planned, left), Decimal(0))


def _resting_safety_order(view: StrategyView, number: int, amount: Decimal, trigger: Decimal) -> list[Proposal]:
    price = price_down_to_tick(trigger, view.rules)
    quantity = entry_quantity(amount, price, view.rules) if price else Decimal(0)
    if not quantity:
        return []
    reason = (
        f"Safety order {number} of {view.params['safety_orders_max']} waits "
        f"{safety_step_pct(view.params, number):.2f} % below the average buy price"
    )
    return [Proposal(Side.BUY, OrderType.LIMIT, quantity, f"so{number}", reason, limit_price=price)]
