"""The pre-trade controls, in the order in which their reasons are shown. All are evaluated for every order."""

from safety.controls import live, loss, market, pace, price, size, state
from safety.controls.base import Control

CONTROLS: dict[str, Control] = {
    "LIVE_GATE_CLOSED": live.live_gate_closed,
    "KILL_SWITCH": state.kill_switch,
    "INVALID_MARKET_DATA": market.invalid_market_data,
    "SYMBOL_NOT_ALLOWED": market.symbol_not_allowed,
    "NOTIONAL_ABOVE_MAX": size.notional_above_max,
    "NOTIONAL_BELOW_MIN": market.notional_below_min,
    "SIZE_OUTLIER": size.size_outlier,
    "PRICE_COLLAR": price.price_collar,
    "STALE_MARKET_DATA": market.stale_market_data,
    "DUPLICATE_ORDER": pace.duplicate_order,
    "ENTRIES_HELD": state.entries_held,
    "RATE_LIMIT": pace.rate_limit,
    "REPEAT_THROTTLE": pace.repeat_throttle,
    "OPEN_ORDERS_MAX": pace.open_orders_max,
    "POSITION_MAX": size.position_max,
    "GROSS_EXPOSURE_MAX": size.gross_exposure_max,
    "BOT_CAPITAL_EXCEEDED": size.bot_capital_exceeded,
    "DAILY_LOSS": loss.daily_loss,
    "DRAWDOWN": loss.drawdown,
    "LOSING_STREAK": loss.losing_streak,
    "ERROR_STREAK": loss.error_streak,
    "INSUFFICIENT_FUNDS": size.insufficient_funds,
    "INSTRUMENT_RULES": market.instrument_rules,
    "SELF_MATCH": price.self_match,
    "MARKET_CLOSED": market.market_closed,
    "INTENT_EXPIRED": state.intent_expired,
    "ACCOUNT_BLOCKED": live.account_blocked,
    "RECONCILIATION_OPEN": state.reconciliation_open,
    "READINESS": live.readiness,
    "LIVE_RAMP": live.live_ramp,
}
