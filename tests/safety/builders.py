"""One sound situation, and how to change one thing about it at a time."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from safety import gate
from safety.controls.base import Situation, StateReading
from safety.intents import (
    Decision,
    Denial,
    Exposure,
    InstrumentRules,
    Level,
    LimitSet,
    Lock,
    OrderIntent,
    OrderType,
    Quote,
    ReadinessVerdict,
    Side,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
VENUE, SYMBOL = "kraken", "BTC/USD"
NAN, INFINITY = Decimal("NaN"), Decimal("Infinity")
#: Figures that no control may take for sound.
UNSOUND = (None, NAN, Decimal("sNaN"), INFINITY, -INFINITY)

QUOTE = Quote(venue=VENUE, symbol=SYMBOL, bid=Decimal(99), ask=Decimal(100), seen_at=NOW, source="test")
RULES = InstrumentRules(
    venue=VENUE,
    symbol=SYMBOL,
    quote_currency="USD",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    quantity_min=Decimal("0.01"),
    notional_min=Decimal("0.5"),
)
#: What a live order at Kraken needs open.
LOCK_IDS = ("ALLOW_LIVE_TRADING", "DRY_RUN", "KEYS", "DATABASE_STAMP")


def locks(*shut: str, ids: tuple[str, ...] = LOCK_IDS) -> tuple[Lock, ...]:
    """Return the locks, open but for those named."""
    return tuple(Lock(one, one not in shut, "environment", f"{one} is as it is.") for one in ids)


def ago(seconds: float | str) -> datetime:
    """Return the moment so many seconds before now; a negative figure lies in the future."""
    return NOW - timedelta(microseconds=int(Decimal(seconds) * 1_000_000))


#: A purchase of 2 for 200 USD, which every control lets pass.
INTENT: dict[str, Any] = {
    "client_order_id": "t-1",
    "bot_id": 7,
    "venue": VENUE,
    "symbol": SYMBOL,
    "side": Side.BUY,
    "type": OrderType.MARKET,
    "quantity": Decimal(2),
    "limit_price": None,
    "reduce_only": False,
    "is_live": False,
    "created_at": NOW,
    "leg": "base",
    "reason": "a test",
    "actor": "bot:7",
    "is_flatten": False,
}
#: 5 are held, 1 of them is on offer: 4 can be sold.
EXPOSURE: dict[str, Any] = {
    "quote": QUOTE,
    "rules": RULES,
    "quote_age_max_s": Decimal(10),
    "allowed_symbols": frozenset({(VENUE, SYMBOL)}),
    "capital_usd": Decimal(1_000),
    "bot_committed_usd": Decimal(500),
    "cash_free_usd": Decimal(10_000),
    "fee_rate": Decimal("0.004"),
    "position_quantity": Decimal(5),
    "pending_exit_quantity": Decimal(1),
    "open_orders_bot": 1,
    "open_orders_account": 1,
    "sent_last_minute_bot": 0,
    "sent_last_minute_account": 0,
    "is_duplicate": False,
    "entries_held": "",
    "market_status": "open",
    "candle_age_s": Decimal(30),
    "candle_bar_s": Decimal(60),
    "is_major": True,
    "opposite_prices": (),
    "unknown_on_symbol": 0,
    "reconciliation_open": (),
    "recent_notionals_usd": (Decimal(100),) * 10,
    "planned_leg_usd": Decimal(150),
    "live_fills": 10,
    "losing_streak": 0,
    "last_loss_at": ago(60),
    "reject_streak": 0,
    "equity_usd": Decimal(10_000),
    "symbol_exposure_usd": Decimal(500),
    "gross_exposure_usd": Decimal(1_000),
    "day_start_equity_usd": Decimal(10_000),
    "peak_equity_usd": Decimal(10_000),
    "executions_today": 0,
    "account_flags": (),
    "locks": locks(),
    "readiness": ReadinessVerdict(ago(60)),
}
#: What is asked of live orders alone.
LIVE_ONLY = frozenset({"live_fills", "executions_today", "account_flags", "locks", "readiness"})
#: What is looked at only when something else is so: the last loss, after too many of them.
ONLY_AT_TIMES = frozenset({"last_loss_at"})
LIMITS: dict[str, Any] = {"notional_usd_max": Decimal(5_000), "notional_usd_min": {VENUE: Decimal(5)}}
#: What turns the purchase into a live one: worth just what 2 % of the equity allow.
LIVE: dict[str, Any] = {"is_live": True, "notional_usd_max": Decimal(250), "notional_equity_pct": Decimal(2)}
#: What turns the purchase into an exit: a sale of 2 of the 4 that are free.
EXIT: dict[str, Any] = {"side": Side.SELL, "leg": "exit"}


def situation(
    *,
    level: Level = Level.ACTIVE,
    state_reasons: tuple[str, ...] = (),
    is_flattening: bool = False,
    **changes: Any,
) -> Situation:
    """Return the sound situation with ``changes``, each by the name of its field in intent, exposure or limits."""
    parts = [_changed(dict(whole), changes) for whole in (INTENT, EXPOSURE, LIMITS)]
    limit_names = {one.name for one in fields(LimitSet)}
    parts[2] |= {name: changes.pop(name) for name in list(changes) if name in limit_names}
    if changes:
        raise TypeError(f"no such field: {', '.join(changes)}")
    state = StateReading(level, state_reasons, is_flattening)
    return Situation(OrderIntent(**parts[0]), Exposure(**parts[1]), LimitSet(**parts[2]), state, NOW)


def _changed(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return whole | {name: changes.pop(name) for name in list(changes) if name in whole}


def decide(s: Situation) -> Decision:
    """Return what the gate decides."""
    return gate.evaluate(s.intent, s.exposure, s.limits, s.state, now=s.now)


def denials(**changes: Any) -> dict[str, Denial]:
    """Return the gate's denials of the sound situation with ``changes``, by code."""
    return {denial.code: denial for denial in decide(situation(**changes)).denials}


def codes(**changes: Any) -> tuple[str, ...]:
    """Return the codes of the gate's denials of the sound situation with ``changes``."""
    return decide(situation(**changes)).codes
