"""Orders, permits and markets for the broker's tests."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bots.brokers.base import FeeSchedule, MarketView
from bots.market_data.base import Traded
from safety.intents import InstrumentRules, OrderIntent, OrderType, Permit, Quote, Side

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FEES = FeeSchedule(maker=Decimal("0.0025"), taker=Decimal("0.004"))
RULES = InstrumentRules("replay", "TOY", "USD", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(1))


def order_of(side: Side = Side.BUY, quantity: str = "1", limit: str | None = None, **changes: Any) -> OrderIntent:
    """Return a paper order for TOY; with a limit it is a limit order."""
    intent = OrderIntent(
        client_order_id="abc-1",
        bot_id=1,
        venue="replay",
        symbol="TOY",
        side=side,
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=None if limit is None else Decimal(limit),
        reduce_only=False,
        is_live=False,
        created_at=NOW,
        leg="base",
        reason="a test",
        actor="tester",
    )
    return replace(intent, **changes)


def permit_of(order: OrderIntent, **changes: Any) -> Permit:
    """Return the permit for this order, or for a slightly different one."""
    permit = Permit(
        client_order_id=order.client_order_id,
        bot_id=order.bot_id,
        venue=order.venue,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        limit_price=order.limit_price,
        is_live=order.is_live,
        issued_at=NOW,
    )
    return replace(permit, **changes)


def traded_of(low: str, high: str, volume: str | None = None) -> Traded:
    """Return what was traded; no volume means that none is known."""
    return Traded(Decimal(low), Decimal(high), None if volume is None else Decimal(volume))


def view_of(bid: str = "99.99", ask: str = "100.01", traded: Traded | None = None) -> MarketView:
    """Return the market of TOY."""
    quote = Quote("replay", "TOY", Decimal(bid), Decimal(ask), NOW, "replay")
    return MarketView(now=NOW, quote=quote, rules=RULES, traded=traded)
