"""The pre-trade controls, in the order in which their reasons are shown. All are evaluated for every order."""

from safety.controls import market, pace, size, state
from safety.controls.base import Control

CONTROLS: dict[str, Control] = {
    "LIVE_GATE_CLOSED": state.live_gate_closed,
    "KILL_SWITCH": state.kill_switch,
    "INVALID_MARKET_DATA": market.invalid_market_data,
    "SYMBOL_NOT_ALLOWED": market.symbol_not_allowed,
    "NOTIONAL_ABOVE_MAX": size.notional_above_max,
    "NOTIONAL_BELOW_MIN": market.notional_below_min,
    "STALE_MARKET_DATA": market.stale_market_data,
    "DUPLICATE_ORDER": pace.duplicate_order,
    "ENTRIES_HELD": state.entries_held,
    "RATE_LIMIT": pace.rate_limit,
    "OPEN_ORDERS_MAX": pace.open_orders_max,
    "BOT_CAPITAL_EXCEEDED": size.bot_capital_exceeded,
    "INSUFFICIENT_FUNDS": size.insufficient_funds,
    "INSTRUMENT_RULES": market.instrument_rules,
    "INTENT_EXPIRED": state.intent_expired,
}
