"""What Kraken counts, as its documentation says: the requests of an account, and for each symbol its orders and cancels.

Which limit holds depends on how far the account is verified; a person says so in the console, and the smallest is assumed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bots.brokers import budget
from bots.brokers.budget import Limit, Purpose
from bots.instant import Instant
from bots.models import KrakenTier, VenueAccess


@dataclass(frozen=True, slots=True)
class Tier:
    """The limits of one tier: on requests, and on what the engine counts for each symbol."""

    requests: Limit
    engine: Limit


#: Kraken writes how much falls off in a second: 0.33, 0.5 and 1; at the engine 1, 2.34 and 3.75. Rounded to be slower.
TIERS = {
    KrakenTier.STARTER: Tier(Limit(15, 3_031), Limit(60, 1_000)),
    KrakenTier.INTERMEDIATE: Tier(Limit(20, 2_000), Limit(125, 428)),
    KrakenTier.PRO: Tier(Limit(20, 1_000), Limit(180, 267)),
}
#: What a request counts; any other counts 1. Orders and cancels are counted by the engine instead.
COSTS = {
    "post_addorder": 0,
    "post_cancelorder": 0,
    "post_tradeshistory": 2,
    "post_querytrades": 2,
    "post_ledgers": 2,
    "post_queryledgers": 2,
}
ADD_COST = 1
#: What the cancel of an order counts at the engine while the order is younger than so many seconds.
CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))
#: An order reached the engine later than it was made here; until then its cancel counts more.
ON_ITS_WAY = timedelta(seconds=5)
#: How long a tier that was read is taken for granted, in seconds.
TIER_KEPT_S = 15


@dataclass(frozen=True, slots=True)
class EngineCall:
    """An order, or a cancel, of one symbol: what Kraken's engine counts."""

    symbol: str
    cost: int = ADD_COST
    is_cancel: bool = False


def cancel_of(symbol: str, made_at: datetime, now: datetime) -> EngineCall:
    """Return the cancel of an order that was made then. The younger the order, the more it counts."""
    age_s = (now - made_at - ON_ITS_WAY).total_seconds()
    cost = next((cost for below_s, cost in CANCEL_COSTS if age_s < below_s), 0)
    return EngineCall(symbol, cost, is_cancel=True)


class KrakenBudget:
    """The budget of one account at Kraken."""

    def __init__(self, account: str) -> None:
        self.account = account
        self._known: tuple[Instant, Tier] | None = None

    def take(self, method: str, purpose: Purpose, engine: EngineCall | None = None) -> int:
        """Count a request that is about to leave, and return 0; or return how long to wait, in ms. Raises django.db.Error.

        A cancel is always let through: it is counted, and Kraken has the last word.
        """
        tier, wait_ms = self.tier(), 0
        if engine is not None:
            wait_ms = budget.take(
                self.account, engine.symbol, tier.engine, engine.cost, purpose, always=engine.is_cancel
            )
        cost = COSTS.get(method, 1)
        if wait_ms or not cost:
            return wait_ms
        return budget.take(self.account, "", tier.requests, cost, purpose)

    def has_room(self, method: str, *, share_pct: int) -> bool:
        """Return whether a request fits now into so much of the counter of all requests. Raises django.db.Error."""
        cost, limit = COSTS.get(method, 1), self.tier().requests
        return budget.has_room(self.account, "", limit, cost, share_pct=share_pct)

    def refused(self, engine: EngineCall | None = None) -> None:
        """Let a counter be full, since Kraken says so: the engine's for this symbol, or that of all requests."""
        tier = self.tier()
        if engine is None:
            budget.fill(self.account, "", tier.requests)
        else:
            budget.fill(self.account, engine.symbol, tier.engine)

    def note_held_back(self, engine: EngineCall | None = None) -> None:
        """Count that something was not asked. Raises django.db.Error."""
        budget.note_held_back(self.account, "" if engine is None else engine.symbol)

    def tier(self) -> Tier:
        """Return the tier that a person chose, as read at most ``TIER_KEPT_S`` ago. Raises django.db.Error."""
        if self._known is None or self._known[0].elapsed_s() > TIER_KEPT_S:
            self._known = (Instant(), tier_of(self.account))
        return self._known[1]


def tier_of(account: str) -> Tier:
    """Return the tier of an account; the smallest where none was chosen. Raises django.db.Error."""
    chosen = VenueAccess.objects.filter(account=account).values_list("tier", flat=True).first()
    return TIERS[KrakenTier(chosen)] if chosen in TIERS else TIERS[KrakenTier.STARTER]
