"""What a replay takes and gives: its conditions, its trades, its result, and what is open while it runs."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bots.books import Book
from bots.brokers.base import Execution, FeeSchedule
from bots.intelligence import layer
from bots.market_data.base import CandleSeries, Floats
from bots.strategies.base import DealView, OpenOrder
from bots.strategies.common import Scan
from safety.intents import InstrumentRules, LimitSet, Lock, OrderIntent, Side

BASIS_POINTS = Decimal(10_000)
# A bar's close comes as a float; a thousandth of a millionth of a tick is its noise, not the market.
TICK_NOISE = 1e-9


@runtime_checkable
class Scanning(Protocol):
    """A strategy that can say at which bar it may act next. It may name a bar too many, never one too few."""

    def next_bar(self, scan: Scan) -> int:
        """Return the first bar from ``scan.start`` at which ``propose`` may answer, or the number of bars."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a replay runs under. Money in USD; ``half_spread_bps`` in basis points of the close.

    ``with_intelligence``: entries wait where the candles would make the intelligence layer hold a running bot's back, and where
    the market's score is below ``score_min``. With
    ``live_locks`` the controls judge every order as a live one behind these locks, with a readiness run that found nothing: a
    rehearsal of live limits. The orders themselves stay what they are, filled in memory.
    """

    capital_usd: Decimal
    equity_usd: Decimal
    rules: InstrumentRules
    fees: FeeSchedule
    limits: LimitSet
    half_spread_bps: Decimal = Decimal(1)
    live_locks: tuple[Lock, ...] | None = None
    with_intelligence: bool = True
    score_min: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution: ``bar`` is the index of the candle at whose close it happened, ``cost_usd`` its spread and slippage."""

    bar: int
    side: Side
    leg: str
    reason: str
    execution: Execution
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What a replay gave. ``equity_usd`` has one figure per bar, as floats for charts; ``book`` is exact.

    ``held_back`` counts the entries that were wanted and that the intelligence layer took away, one a bar and leg.
    """

    bars: int
    trades: tuple[Trade, ...]
    denials: dict[str, int]
    equity_usd: Floats
    book: Book
    deals_closed: int
    deals_won: int
    final_price: Decimal
    held_back: int = 0


@dataclass(slots=True)
class OpenDeal:
    """The open deal as it grows. ``peak_ticks`` is the best bid at a close since it opened, 0 before there was one."""

    opened_at: datetime
    pnl_before: Decimal
    bought_quantity: Decimal = Decimal(0)
    bought_notional: Decimal = Decimal(0)
    legs: int = 0
    peak_ticks: int = 0

    def view(self, tick_size: Decimal) -> DealView:
        """Return the deal as a strategy sees it."""
        peak = self.peak_ticks * tick_size if self.peak_ticks else None
        return DealView(self.opened_at, self.bought_quantity, self.bought_notional, self.legs, peak)


@dataclass(slots=True)
class OpenSimulated:
    """An order that rests: what the broker needs, and how much of it is left."""

    intent: OrderIntent
    remaining: Decimal
    fills: int = 0
    filled_notional: Decimal = Decimal(0)

    def view(self) -> OpenOrder:
        """Return the order as a strategy sees it."""
        intent = self.intent
        return OpenOrder(
            intent.client_order_id, intent.side, intent.type, intent.leg, self.remaining, intent.limit_price
        )


def entries_open(candles: CandleSeries, conditions: Conditions) -> NDArray[np.bool_] | None:
    """Return for each bar whether the intelligence layer lets entries through; None where it is not asked."""
    if not conditions.with_intelligence:
        return None
    if not conditions.score_min:
        return layer.entry_allowed(candles)
    # Scores take every figure that a reading holds, so it costs nothing more.
    scores = layer.scores(candles, float(conditions.half_spread_bps), float(conditions.fees.taker))
    return layer.reading(candles).is_entry_allowed & (scores >= conditions.score_min)


def quote_ticks(
    candles: CandleSeries, rules: InstrumentRules, half_spread_bps: Decimal
) -> tuple[NDArray[np.int64], ...]:
    """Return bid and ask at each close in whole ticks, half a spread away and rounded outward."""
    closes, half = candles.close / float(rules.tick_size), float(half_spread_bps / BASIS_POINTS)
    bids = np.floor(closes * (1 - half) + TICK_NOISE).astype(np.int64)
    asks = np.ceil(closes * (1 + half) - TICK_NOISE).astype(np.int64)
    return np.maximum(bids, 1), np.maximum(asks, 1)
