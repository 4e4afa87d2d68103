"""Hand-made candles and views for the strategies' tests. Bars are one minute, the first opens at T0, prices are in USD."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from bots.market_data.base import CandleSeries
from bots.strategies.base import (
    CancelProposal,
    DealView,
    OpenOrder,
    PositionView,
    Proposal,
    Strategy,
    StrategyView,
)
from safety.intents import InstrumentRules, OrderType, Quote, Side

T0 = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BAR_S = 60
RULES = InstrumentRules(
    venue="replay",
    symbol="TEST",
    quote_currency="USD",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.0001"),
    quantity_min=Decimal("0.0001"),
    notional_min=Decimal(1),
)


def series(
    closes: Sequence[float],
    *,
    highs: Sequence[float] | None = None,
    lows: Sequence[float] | None = None,
    volume: float = 1e9,
) -> CandleSeries:
    """Return one-minute candles with these closes; each opens at the close before it."""
    close = np.array(closes, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(opened, close) if highs is None else np.array(highs, dtype=np.float64)
    low = np.minimum(opened, close) if lows is None else np.array(lows, dtype=np.float64)
    times = int(T0.timestamp()) + BAR_S * np.arange(len(close), dtype=np.int64)
    return CandleSeries("replay", "TEST", "1m", times, opened, high, low, close, np.full(len(close), volume))


def at(bars: float) -> datetime:
    """Return the moment that lies so many bars after T0: ``at(n)`` is when candle number n opens."""
    return T0 + timedelta(seconds=BAR_S * bars)


def quote(bid: str, ask: str | None = None, *, now: datetime = T0) -> Quote:
    """Return a quote; without ``ask`` there is no spread."""
    return Quote("replay", "TEST", Decimal(bid), Decimal(bid if ask is None else ask), now, "test")


def view(
    strategy: Strategy,
    candles: CandleSeries,
    *,
    bid: str | None = None,
    ask: str | None = None,
    capital: str = "1000",
    params: dict[str, Any] | None = None,
    position: PositionView | None = None,
    deal: DealView | None = None,
    open_orders: tuple[OpenOrder, ...] = (),
    rules: InstrumentRules = RULES,
) -> StrategyView:
    """Return what a strategy sees as the last candle closes; the quote is the last close where none is given."""
    now = at(len(candles))
    last = str(candles.close[-1]) if len(candles) else "100"
    return StrategyView(
        now=now,
        quote=quote(bid or last, ask or bid or last, now=now),
        candles=candles,
        rules=rules,
        capital_usd=Decimal(capital),
        params=strategy.schema.clean(params or {}),
        position=position or PositionView(),
        deal=deal,
        open_orders=open_orders,
    )


def held(quantity: str, average: str, *, entered: datetime = T0) -> PositionView:
    """Return a position bought at ``average``."""
    amount = Decimal(quantity)
    return PositionView(quantity=amount, cost=amount * Decimal(average), last_entry_at=entered)


def flat(*, entered: datetime | None = None, left: datetime | None = None) -> PositionView:
    """Return an empty position that was last traded at these moments."""
    return PositionView(last_entry_at=entered, last_exit_at=left)


def deal_of(position: PositionView, *, legs: int = 1, peak: str | None = None) -> DealView:
    """Return the open deal of a position that was all bought in it."""
    return DealView(
        opened_at=position.last_entry_at or T0,
        bought_quantity=position.quantity,
        bought_notional=position.cost,
        legs=legs,
        peak_price=None if peak is None else Decimal(peak),
    )


def resting(side: Side, leg: str, price: str | None = "95", *, order_id: str = "o1") -> OpenOrder:
    """Return an own order that has not ended; a limit order unless ``price`` is None."""
    type_ = OrderType.MARKET if price is None else OrderType.LIMIT
    return OpenOrder(order_id, side, type_, leg, Decimal("0.5"), None if price is None else Decimal(price))


def orders(answer: Sequence[Proposal | CancelProposal]) -> list[Proposal]:
    """Return the orders in an answer."""
    return [one for one in answer if isinstance(one, Proposal)]


def cancels(answer: Sequence[Proposal | CancelProposal]) -> list[str]:
    """Return the client order ids that an answer cancels."""
    return [one.client_order_id for one in answer if isinstance(one, CancelProposal)]


def only_order(answer: Sequence[Proposal | CancelProposal]) -> Proposal:
    """Return the one order of an answer that must hold nothing else."""
    assert len(answer) == 1, answer
    (order,) = orders(answer)
    return order


def with_lot(lot: str, **changes: Any) -> InstrumentRules:
    """Return the rules with another lot size."""
    return replace(RULES, lot_size=Decimal(lot), **changes)
