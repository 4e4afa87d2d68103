"""What a strategy is: a pure function from what it sees to what it proposes, with a schema for its params."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from bots.market_data.base import CandleSeries
from bots.strategies.schema import ParamSchema
from safety.intents import InstrumentRules, OrderType, Quote, Side


@dataclass(frozen=True, slots=True)
class PositionView:
    """What the bot holds now: quantity in base units, ``cost`` without fees in the quote currency."""

    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    last_entry_at: datetime | None = None
    last_exit_at: datetime | None = None

    @property
    def average_price(self) -> Decimal | None:
        """Return the average cost of one unit, or None when flat."""
        return self.cost / self.quantity if self.quantity else None


@dataclass(frozen=True, slots=True)
class DealView:
    """The open deal: what it bought so far, in how many entry legs, and the highest bid since it opened."""

    opened_at: datetime
    bought_quantity: Decimal
    bought_notional: Decimal
    legs: int
    peak_price: Decimal | None


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One of the bot's own orders that has not ended."""

    client_order_id: str
    side: Side
    type: OrderType
    leg: str
    remaining_quantity: Decimal
    limit_price: Decimal | None


@dataclass(frozen=True, slots=True)
class StrategyView:
    """Everything that a strategy may look at. ``position`` leaves out dust that is below the venue's minimum."""

    now: datetime
    quote: Quote
    candles: CandleSeries
    rules: InstrumentRules
    capital_usd: Decimal
    params: dict[str, Any]
    position: PositionView = field(default_factory=PositionView)
    deal: DealView | None = None
    open_orders: tuple[OpenOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """An order that a strategy would like. ``leg`` is unique within a tick; ``reason`` is a sentence for people."""

    side: Side
    type: OrderType
    quantity: Decimal
    leg: str
    reason: str
    limit_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class CancelProposal:
    """A resting order that a strategy wants gone."""

    client_order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedLeg:
    """One planned entry of a deal: its value in USD, and how far the price is then below the first entry's, in %."""

    name: str
    notional_usd: Decimal
    below_pct: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class WorstCase:
    """What one deal can lose at most, in USD before fees; ``at_stop_usd`` is None without a stop loss."""

    loss_usd: Decimal
    at_stop_usd: Decimal | None
    sentence: str


class Strategy(Protocol):
    """One way of trading. Instances hold no state: what must be remembered is in the position and the deal."""

    key: str
    title: str
    summary: str
    schema: ParamSchema

    def warmup_bars(self, params: dict[str, Any]) -> int:
        """Return how many closed candles are needed before the strategy can judge."""
        ...

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        """Return what to do now; an empty list means: leave everything as it is."""
        ...

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return the value in USD of the largest single entry that these params can lead to."""
        ...

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        """Return every entry that one deal can come to make, in their order."""
        ...

    def worst_case(self, params: dict[str, Any], capital_usd: Decimal) -> WorstCase:
        """Return what one deal can lose at most."""
        ...

    def worst_case_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return what one deal can lose at most, in USD before fees."""
        ...
