"""What a strategy's params plan to buy in one deal, and what that can lose at most."""

from decimal import ROUND_UP, Decimal
from typing import Any

from bots.strategies.base import PlannedLeg, WorstCase
from bots.strategies.common import HUNDRED, percent_of

CENT = Decimal("0.01")


class PlansOneEntry:
    """A strategy whose deals have one entry, of ``position_pct`` % of the capital. A ladder of its own replaces ``ladder``."""

    def ladder(self, params: dict[str, Any], capital_usd: Decimal) -> tuple[PlannedLeg, ...]:
        """Return every entry that one deal can come to make, in their order."""
        return (PlannedLeg("entry", percent_of(capital_usd, params["position_pct"])),)

    def worst_case(self, params: dict[str, Any], capital_usd: Decimal) -> WorstCase:
        """Return what one deal can lose at most: all that it bought."""
        spent_usd = sum((leg.notional_usd for leg in self.ladder(params, capital_usd)), Decimal(0))
        return worst_case(spent_usd, params.get("stop_loss_pct", Decimal(0)))

    def worst_case_usd(self, params: dict[str, Any], capital_usd: Decimal) -> Decimal:
        """Return what one deal can lose at most, in USD before fees."""
        return self.worst_case(params, capital_usd).loss_usd


def worst_case(spent_usd: Decimal, stop_loss_pct: Decimal) -> WorstCase:
    """Return what can be lost of ``spent_usd``; a stop loss of 0 is none. It bounds nothing: a price can jump past it."""
    all_of_it = f"One deal can lose up to {_usd(spent_usd)}, if the price goes to zero"
    if not stop_loss_pct:
        return WorstCase(spent_usd, None, f"{all_of_it}; it has no stop loss.")
    at_stop_usd = percent_of(spent_usd, stop_loss_pct)
    sentence = (
        f"{all_of_it}; about {_usd(at_stop_usd)} if its stop loss of {stop_loss_pct.normalize():f} % sells it all, "
        "and more if the price jumps past that."
    )
    return WorstCase(spent_usd, at_stop_usd, sentence)


def falling_ladder(sizes: list[tuple[str, Decimal, Decimal]]) -> tuple[PlannedLeg, ...]:
    """Return the legs of ``(name, value in USD, % below the average price so far)``, with how far the price has then fallen."""
    legs, price, cost, quantity = [], Decimal(1), Decimal(0), Decimal(0)
    for name, notional_usd, below_average_pct in sizes:
        if quantity:
            price = cost / quantity * (1 - below_average_pct / HUNDRED)
        legs.append(PlannedLeg(name, notional_usd, (1 - price) * HUNDRED))
        cost, quantity = cost + notional_usd, quantity + notional_usd / price
    return tuple(legs)


def _usd(amount: Decimal) -> str:
    return f"{amount.quantize(CENT, rounding=ROUND_UP)} USD"
