"""The strategy of the bots that the fault tests kill: in when flat, out when not, in sizes that differ from tick to tick."""

from decimal import Decimal
from typing import Any

from bots.strategies.base import CancelProposal, PlannedLeg, Proposal, StrategyView
from bots.strategies.ladder import PlansOneEntry
from bots.strategies.schema import TIMEFRAME, ParamSchema
from safety.intents import OrderType, Side


class Churn(PlansOneEntry):
    """In when flat, out when not."""

    key = "fault_churn"
    title = "Churn"
    summary = "In when flat, out when not."
    schema = ParamSchema((TIMEFRAME,))

    def warmup_bars(self, params: dict[str, Any]) -> int:
        return 1

    def largest_leg_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        return capital_usd

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        return (PlannedLeg("base", capital_usd),)

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        held = view.position.quantity
        if held:
            return [Proposal(Side.SELL, OrderType.MARKET, held, "exit", "out", reduce_only=True)]
        # No two entries are equal, or the second would be a duplicate of the first.
        lots = 100 + view.now.microsecond // 2000 + view.now.second % 10
        return [Proposal(Side.BUY, OrderType.MARKET, lots * view.rules.lot_size, "base", "in")]


class VenueChurn(Churn):
    """The same for a real venue, whose least order is far above its lot: about 30 USD at a price of 100."""

    key = "fault_venue_churn"

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        held = view.position.quantity
        if held:
            return [Proposal(Side.SELL, OrderType.MARKET, held, "exit", "out", reduce_only=True)]
        lots = 3000 + view.now.microsecond // 1000
        return [Proposal(Side.BUY, OrderType.MARKET, Decimal(lots).scaleb(-4), "base", "in")]


class Restless(VenueChurn):
    """In and out at a real venue by orders at the market and by orders that rest, some of which it takes back."""

    key = "fault_restless"

    def propose(self, view: StrategyView) -> list[Proposal | CancelProposal]:
        chance = view.now.microsecond // 100 % 4
        if view.open_orders:
            return [CancelProposal(one.client_order_id, "enough") for one in view.open_orders] if chance == 0 else []
        if view.position.quantity or chance < 2:
            return super().propose(view)
        below, tick = view.quote.bid * Decimal("0.995"), view.rules.tick_size
        lots = Decimal(3000 + view.now.microsecond // 1000).scaleb(-4)
        return [Proposal(Side.BUY, OrderType.LIMIT, lots, "base", "in", (below / tick).to_integral_value() * tick)]
