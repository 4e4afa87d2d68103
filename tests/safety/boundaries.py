"""Each control of the account, the bot's luck, the market and live trading: what lets it pass and what makes it deny.

Each case is a control's code, what is changed about the sound situation, and whether that code denies.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from safety.intents import Lock, OrderType, ReadinessVerdict
from tests.safety.builders import EXIT, LIVE, QUOTE, ago, locks

D = Decimal
Case = tuple[str, dict[str, Any], bool]


def bid_at(price: str) -> dict[str, Any]:
    return {"type": OrderType.LIMIT, "limit_price": D(price)}


def market(bid: str, ask: str, **changes: Any) -> dict[str, Any]:
    return {"quote": replace(QUOTE, bid=D(bid), ask=D(ask), **changes)}


def ready(seconds: float | str, *blockers: str) -> dict[str, Any]:
    return LIVE | {"readiness": ReadinessVerdict(ago(seconds), blockers)}


def recent(*figures: str | int) -> dict[str, Any]:
    return {"recent_notionals_usd": tuple(map(D, figures))}


SIZE: list[Case] = [
    # 2 % of 10,000 USD are the 200 USD of the order.
    ("NOTIONAL_ABOVE_MAX", LIVE, False),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"equity_usd": D("10000.01")}, False),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"equity_usd": D("9999.99")}, True),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"equity_usd": None}, True),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"quantity": D("1.25"), "equity_usd": D(300)}, False),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"quantity": D("1.251"), "equity_usd": D(300)}, True),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"quantity": D("2.5"), "equity_usd": D(1_000_000)}, False),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"quantity": D("2.501"), "equity_usd": D(1_000_000)}, True),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"notional_usd_max": None, "equity_usd": D("9999.99")}, True),
    ("NOTIONAL_ABOVE_MAX", LIVE | {"notional_equity_pct": None, "equity_usd": D(1)}, False),
    ("NOTIONAL_ABOVE_MAX", LIVE | EXIT | {"equity_usd": None}, False),
    # Five times the larger of the usual 100 and the planned 150 USD.
    ("SIZE_OUTLIER", {"planned_leg_usd": D("40.01")} | recent(*[40] * 10), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(40)} | recent(*[40] * 10), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": D("39.99")} | recent(*["39.99"] * 10), True),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(1)} | recent(*[1] * 5, *[40] * 6), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(1)} | recent(*[1] * 6, *[40] * 5), True),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(1)} | recent(*["39.9"] * 5, *["40.1"] * 5), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(1)} | recent(*["39.9"] * 5, *["40.09"] * 5), True),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(1)} | recent(*[1] * 9), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": None} | recent(*[1] * 9), False),
    ("SIZE_OUTLIER", {"planned_leg_usd": None} | recent(*[1_000] * 10), True),
    ("SIZE_OUTLIER", recent(), False),
    ("SIZE_OUTLIER", recent(*[100] * 11, "NaN"), True),
    ("SIZE_OUTLIER", recent(*[100] * 11, "Infinity"), True),
    ("SIZE_OUTLIER", recent(*[100] * 11, "-1"), True),
    ("SIZE_OUTLIER", {"recent_notionals_usd": (D(100), None)}, True),
    ("SIZE_OUTLIER", {"recent_notionals_usd": [D(100)] * 10}, True),
    ("SIZE_OUTLIER", {"planned_leg_usd": D(0), "size_outlier_multiple": None} | recent(*[0] * 10), False),
    ("SIZE_OUTLIER", EXIT | {"planned_leg_usd": D(1)} | recent(*[1] * 10), False),
    # 10 % of 10,000 USD, 200 USD of which are the order.
    ("POSITION_MAX", {"symbol_exposure_usd": D("799.99")}, False),
    ("POSITION_MAX", {"symbol_exposure_usd": D(800)}, False),
    ("POSITION_MAX", {"symbol_exposure_usd": D("800.01")}, True),
    ("POSITION_MAX", {"symbol_exposure_usd": D("800.0000000000000000000000000001")}, True),
    ("POSITION_MAX", {"symbol_exposure_usd": D(100), "equity_usd": D(500)}, False),
    ("POSITION_MAX", {"symbol_exposure_usd": D("100.01"), "equity_usd": D(500)}, True),
    ("POSITION_MAX", {"symbol_exposure_usd": D(9_000), "position_equity_pct": None}, False),
    ("POSITION_MAX", EXIT | {"symbol_exposure_usd": D(9_000)}, False),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D("4799.99")}, False),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D(4_800)}, False),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D("4800.01")}, True),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D(300), "equity_usd": D(500)}, False),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D("300.01"), "equity_usd": D(500)}, True),
    # Leverage 1: below 500 USD the floor is the whole account and no more.
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D(200), "equity_usd": D(400)}, False),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D("200.01"), "equity_usd": D(400)}, True),
    ("GROSS_EXPOSURE_MAX", {"gross_exposure_usd": D(9_000), "gross_equity_pct": None}, False),
    ("GROSS_EXPOSURE_MAX", EXIT | {"gross_exposure_usd": D(9_000)}, False),
]
LOSSES: list[Case] = [
    # 3 % of 10,000 USD. At the limit the loss is one that may not be.
    ("DAILY_LOSS", {"equity_usd": D("9700.01")}, False),
    ("DAILY_LOSS", {"equity_usd": D(9_700)}, True),
    ("DAILY_LOSS", {"equity_usd": D("9699.99")}, True),
    ("DAILY_LOSS", {"equity_usd": D(10_500)}, False),
    ("DAILY_LOSS", {"equity_usd": D(0), "day_start_equity_usd": D(0)}, True),
    ("DAILY_LOSS", {"equity_usd": D(1_000), "daily_loss_pct": None}, False),
    ("DAILY_LOSS", EXIT | {"equity_usd": D(1_000)}, False),
    ("DRAWDOWN", {"equity_usd": D("9000.01")}, False),
    ("DRAWDOWN", {"equity_usd": D(9_000)}, True),
    ("DRAWDOWN", {"equity_usd": D("8999.99")}, True),
    ("DRAWDOWN", {"peak_equity_usd": D("11111.11")}, False),
    ("DRAWDOWN", {"peak_equity_usd": D("11111.12")}, True),
    ("DRAWDOWN", {"equity_usd": D(12_000)}, False),
    ("DRAWDOWN", {"equity_usd": D(1_000), "drawdown_pct": None}, False),
    ("DRAWDOWN", EXIT | {"equity_usd": D(1_000)}, False),
    ("LOSING_STREAK", {"losing_streak": 4}, False),
    ("LOSING_STREAK", {"losing_streak": 5}, True),
    ("LOSING_STREAK", {"losing_streak": 6}, True),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": ago("14399.999")}, True),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": ago(14_400)}, False),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": ago("14400.001")}, False),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": ago(-60)}, True),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": None}, True),
    ("LOSING_STREAK", {"losing_streak": 5, "last_loss_at": ago(60).replace(tzinfo=None)}, True),
    ("LOSING_STREAK", {"losing_streak": 4, "last_loss_at": None}, False),
    ("LOSING_STREAK", {"losing_streak": 9, "losing_streak_max": None}, False),
    ("LOSING_STREAK", EXIT | {"losing_streak": 5}, False),
    ("ERROR_STREAK", {"reject_streak": 4}, False),
    ("ERROR_STREAK", {"reject_streak": 5}, True),
    ("ERROR_STREAK", {"reject_streak": 6}, True),
    ("ERROR_STREAK", {"unknown_on_symbol": 1}, True),
    ("ERROR_STREAK", {"reject_streak": 9, "unknown_on_symbol": 1, "reject_streak_max": None}, False),
    ("ERROR_STREAK", EXIT | {"reject_streak": 5, "unknown_on_symbol": 1}, False),
    ("RECONCILIATION_OPEN", {"reconciliation_open": ()}, False),
    ("RECONCILIATION_OPEN", {"reconciliation_open": ("2 are missing at the venue",)}, True),
    ("RECONCILIATION_OPEN", {"reconciliation_open": []}, True),
    ("RECONCILIATION_OPEN", {"unknown_on_symbol": 1}, True),
    ("RECONCILIATION_OPEN", EXIT | {"reconciliation_open": ("x",), "unknown_on_symbol": 1}, False),
]
MARKET: list[Case] = [
    # The mid is 99.5: a major's purchase may be 101.49 at most, and no less than 69.65.
    ("PRICE_COLLAR", bid_at("101.4"), False),
    ("PRICE_COLLAR", bid_at("101.49"), False),
    ("PRICE_COLLAR", bid_at("101.5"), True),
    ("PRICE_COLLAR", bid_at("69.7"), False),
    ("PRICE_COLLAR", bid_at("69.65"), False),
    ("PRICE_COLLAR", bid_at("69.6"), True),
    ("PRICE_COLLAR", {"is_major": False} | bid_at("104.475"), False),
    ("PRICE_COLLAR", {"is_major": False} | bid_at("104.476"), True),
    ("PRICE_COLLAR", EXIT | bid_at("97.51"), False),
    ("PRICE_COLLAR", EXIT | bid_at("97.5"), True),
    ("PRICE_COLLAR", EXIT | {"is_major": False} | bid_at("94.525"), False),
    ("PRICE_COLLAR", EXIT | {"is_major": False} | bid_at("94.524"), True),
    ("PRICE_COLLAR", EXIT | bid_at("129.35"), False),
    ("PRICE_COLLAR", EXIT | bid_at("129.36"), True),
    # A market order is judged at the far side: 102 is 2 % above the mid of 98 and 102.
    ("PRICE_COLLAR", market("98", "102"), False),
    ("PRICE_COLLAR", market("97.99", "102.01"), True),
    ("PRICE_COLLAR", EXIT | market("98", "102"), False),
    ("PRICE_COLLAR", EXIT | market("97.99", "102.01"), True),
    # Entries need a fresh mid; exits take the last sound one.
    ("PRICE_COLLAR", market("99", "100", seen_at=ago(10)), False),
    ("PRICE_COLLAR", market("99", "100", seen_at=ago("10.001")), True),
    ("PRICE_COLLAR", market("99", "100", seen_at=ago(-2)), False),
    ("PRICE_COLLAR", market("99", "100", seen_at=ago("-2.001")), True),
    ("PRICE_COLLAR", EXIT | market("99", "100", seen_at=ago(86_400)), False),
    ("PRICE_COLLAR", EXIT | {"quote_age_max_s": None}, False),
    ("PRICE_COLLAR", {"quote_age_s_max": None} | market("99", "100", seen_at=ago(10)), False),
    ("PRICE_COLLAR", {"quote_age_s_max": None} | market("99", "100", seen_at=ago(11)), True),
    ("PRICE_COLLAR", EXIT | market("100", "99"), True),
    ("PRICE_COLLAR", {"is_major": 1}, True),
    ("PRICE_COLLAR", {"collar_pct_major": None, "collar_passive_pct": None} | bid_at("500"), False),
    ("STALE_MARKET_DATA", {"candle_age_s": D("119.999")}, False),
    ("STALE_MARKET_DATA", {"candle_age_s": D(120)}, False),
    ("STALE_MARKET_DATA", {"candle_age_s": D("120.001")}, True),
    ("STALE_MARKET_DATA", {"candle_age_s": D(0), "candle_bar_s": D(0)}, False),
    ("STALE_MARKET_DATA", {"candle_age_s": D("0.001"), "candle_bar_s": D(0)}, True),
    ("STALE_MARKET_DATA", {"candle_age_s": D(180), "candle_periods_max": D(3)}, False),
    ("STALE_MARKET_DATA", {"candle_age_s": D(9_999), "candle_periods_max": None}, False),
    ("STALE_MARKET_DATA", {"quote_age_s_max": None} | market("99", "100", seen_at=ago(9_999)), False),
    ("STALE_MARKET_DATA", {"quote_age_s_max": None, "candle_age_s": D(121)}, True),
    ("STALE_MARKET_DATA", EXIT | {"candle_age_s": D(9_999)}, False),
    # The purchase is judged at the offer, 100; the sale at the bid, 99.
    ("SELF_MATCH", {"opposite_prices": (D("100.1"), D(101))}, False),
    ("SELF_MATCH", {"opposite_prices": (D(101), D(100))}, True),
    ("SELF_MATCH", {"opposite_prices": (D("99.9"),)}, True),
    ("SELF_MATCH", {"opposite_prices": (D(100),)} | bid_at("99.9"), False),
    ("SELF_MATCH", {"opposite_prices": (D(100),)} | bid_at("100"), True),
    ("SELF_MATCH", {"opposite_prices": (None,)}, True),
    ("SELF_MATCH", {"opposite_prices": (D(200), None)} | bid_at("70"), True),
    ("SELF_MATCH", {"opposite_prices": (D(200), D("NaN"))}, True),
    ("SELF_MATCH", {"opposite_prices": (D(200), D("Infinity"))}, True),
    ("SELF_MATCH", {"opposite_prices": (D(200), D(-1))}, True),
    ("SELF_MATCH", {"opposite_prices": [D(200)]}, True),
    ("SELF_MATCH", EXIT | {"opposite_prices": (D("98.9"), D(1))}, False),
    ("SELF_MATCH", EXIT | {"opposite_prices": (D(99),)}, True),
    ("SELF_MATCH", EXIT | {"opposite_prices": (None,)}, True),
    ("SELF_MATCH", EXIT | bid_at("110") | {"opposite_prices": (D(109),)}, False),
    ("SELF_MATCH", EXIT | bid_at("110") | {"opposite_prices": (D(110),)}, True),
    ("MARKET_CLOSED", {"market_status": "open"}, False),
    ("MARKET_CLOSED", {"market_status": "closed"}, True),
    ("MARKET_CLOSED", {"market_status": "cancel_only"}, True),
    ("MARKET_CLOSED", {"market_status": "post_only"}, True),
    ("MARKET_CLOSED", {"market_status": "OPEN"}, True),
    ("MARKET_CLOSED", {"market_status": ""}, True),
    ("MARKET_CLOSED", EXIT | {"market_status": "closed"}, False),
    ("MARKET_CLOSED", EXIT | {"market_status": None}, False),
]
LIVE_CASES: list[Case] = [
    ("LIVE_GATE_CLOSED", {"locks": None}, False),
    ("LIVE_GATE_CLOSED", LIVE, False),
    ("LIVE_GATE_CLOSED", LIVE | EXIT, False),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": None}, True),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": ()}, True),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": locks("KEYS")}, True),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": locks()[:-1]}, True),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": (*locks(), Lock("ANOTHER", False, "", ""))}, True),
    ("LIVE_GATE_CLOSED", LIVE | {"locks": (*locks()[:-1], Lock("DATABASE_STAMP", 1, "", ""))}, True),  # type: ignore[arg-type]
    ("LIVE_GATE_CLOSED", LIVE | EXIT | {"locks": locks("DRY_RUN"), "reduce_only": True}, True),
    ("LIVE_GATE_CLOSED", {"is_live": None, "locks": None}, True),
    ("ACCOUNT_BLOCKED", {"account_flags": ("trading_blocked",)}, False),
    ("ACCOUNT_BLOCKED", LIVE, False),
    ("ACCOUNT_BLOCKED", LIVE | {"account_flags": ("trading_blocked",)}, True),
    ("ACCOUNT_BLOCKED", LIVE | {"account_flags": None}, True),
    ("ACCOUNT_BLOCKED", LIVE | {"account_flags": []}, True),
    ("ACCOUNT_BLOCKED", LIVE | EXIT | {"account_flags": ("trading_blocked",)}, True),
    ("READINESS", {"readiness": None}, False),
    ("READINESS", ready("86399.999"), False),
    ("READINESS", ready(86_400), False),
    ("READINESS", ready("86400.001"), True),
    ("READINESS", ready(-2), False),
    ("READINESS", ready("-2.001"), True),
    ("READINESS", ready(60, "clock_skew"), True),
    ("READINESS", LIVE | {"readiness": ReadinessVerdict()}, True),
    ("READINESS", LIVE | {"readiness": None}, True),
    ("READINESS", LIVE | EXIT | {"readiness": None}, False),
    ("LIVE_RAMP", LIVE | {"live_fills": 10}, False),
    ("LIVE_RAMP", LIVE | {"live_fills": 9}, True),
    ("LIVE_RAMP", LIVE | {"live_fills": 0, "quantity": D("0.5")}, False),
    ("LIVE_RAMP", LIVE | {"live_fills": 9, "quantity": D("0.501")}, True),
    ("LIVE_RAMP", LIVE | {"live_fills": 0, "ramp_usd_max": None}, False),
    ("LIVE_RAMP", {"live_fills": 0}, False),
    ("LIVE_RAMP", LIVE | EXIT | {"live_fills": 0}, False),
    ("REPEAT_THROTTLE", LIVE | {"executions_today": 59}, False),
    ("REPEAT_THROTTLE", LIVE | {"executions_today": 60}, True),
    ("REPEAT_THROTTLE", LIVE | {"executions_today": 61}, True),
    ("REPEAT_THROTTLE", LIVE | {"executions_today": 99, "repeat_per_day": None}, False),
    ("REPEAT_THROTTLE", {"executions_today": 99}, False),
    ("REPEAT_THROTTLE", LIVE | EXIT | {"executions_today": 99}, False),
]
#: What each of these controls has to know of an entry, so that it denies without it.
ENTRY_INPUTS: dict[str, tuple[str, ...]] = {
    "SIZE_OUTLIER": ("quote", "quantity", "recent_notionals_usd", "planned_leg_usd"),
    "PRICE_COLLAR": ("quote", "quote_age_max_s", "is_major"),
    "POSITION_MAX": ("quote", "quantity", "symbol_exposure_usd", "equity_usd", "position_floor_usd"),
    "GROSS_EXPOSURE_MAX": ("quote", "quantity", "gross_exposure_usd", "equity_usd", "gross_floor_usd"),
    "DAILY_LOSS": ("equity_usd", "day_start_equity_usd"),
    "DRAWDOWN": ("equity_usd", "peak_equity_usd"),
    "LOSING_STREAK": ("losing_streak",),
    "ERROR_STREAK": ("reject_streak", "unknown_on_symbol"),
    "SELF_MATCH": ("opposite_prices",),
    "MARKET_CLOSED": ("market_status",),
    "RECONCILIATION_OPEN": ("reconciliation_open", "unknown_on_symbol"),
}
#: What they have to know of a live entry besides; then what of a live exit.
LIVE_INPUTS: dict[str, tuple[str, ...]] = {
    "LIVE_GATE_CLOSED": ("locks",),
    "NOTIONAL_ABOVE_MAX": ("equity_usd", "notional_floor_usd"),
    "ACCOUNT_BLOCKED": ("account_flags",),
    "READINESS": ("readiness", "readiness_age_h_max"),
    "LIVE_RAMP": ("live_fills", "ramp_fills"),
    "REPEAT_THROTTLE": ("executions_today",),
}
EXIT_INPUTS: dict[str, tuple[str, ...]] = {
    "PRICE_COLLAR": ("quote", "is_major"),
    "SELF_MATCH": ("opposite_prices",),
}
LIVE_EXIT_INPUTS: dict[str, tuple[str, ...]] = {
    "LIVE_GATE_CLOSED": ("locks",),
    "ACCOUNT_BLOCKED": ("account_flags",),
}
