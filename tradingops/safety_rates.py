"""How much of the venues' rate limits is used, by whom, and what the venues said of our keys: a panel of the Safety page."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bots.brokers import budget, kraken_budget
from bots.brokers.access import NONCE_REFUSALS_MIN, NONCE_STREAK_FOR
from bots.brokers.alpaca_budget import LIMIT as ALPACA
from bots.brokers.budget import SHARES_PCT, Limit, Purpose, Used
from bots.models import KrakenTier, RateCounter, VenueAccess
from bots.workers.database_time import database_time

KRAKEN = "kraken"
SYMBOLS_SHOWN = 3
HOUR = timedelta(hours=1)
#: The purposes in words, the most pressing first.
WORDS = {
    Purpose.CANCELS: "cancels",
    Purpose.EXITS: "exits",
    Purpose.ORDERS: "entries",
    Purpose.LOOK_UPS: "look-ups of orders",
    Purpose.BACKGROUND: "background: balances, lists, checks",
}


@dataclass(frozen=True, slots=True)
class RateBar:
    """One counter as a bar: what it counts, and how full it is. ``is_full`` for whatever is not pressing."""

    what: str
    used: Used

    @property
    def percent(self) -> int:
        """Return how full it is, from 0 to 100."""
        return min(100, int(100 * self.used.used / self.used.limit.size))

    @property
    def is_background_full(self) -> bool:
        """Return whether background questions have to wait."""
        return self.used.used * 100 >= self.used.limit.size * SHARES_PCT[Purpose.BACKGROUND]

    @property
    def text(self) -> str:
        """Return the figures."""
        limit = self.used.limit
        return f"{self.used.used:.1f} of {limit.size}, falls by {limit.per_s:.2f} a second"


@dataclass(frozen=True, slots=True)
class AccountRates:
    """One account: its bars, who spent how much in the hour that began at ``hour``, and its venue's complaints."""

    account: str
    tier: str
    bars: list[RateBar] = field(default_factory=list)
    hour: datetime | None = None
    spent: list[tuple[str, int]] = field(default_factory=list)
    held_back: int = 0
    access: VenueAccess | None = None
    is_shared: bool = False

    @property
    def reserved(self) -> str:
        """Return what is kept back for whom."""
        kept = 100 - SHARES_PCT[Purpose.BACKGROUND]
        return f"{kept} % is kept for look-ups, orders and cancels; a cancel comes first"


def rates(now: datetime) -> list[AccountRates]:
    """Return how every account that ever asked a venue stands, in two queries."""
    accesses = {one.account: one for one in VenueAccess.objects.all()}
    counters = list(RateCounter.objects.annotate(at=database_time()).order_by("account", "scope"))
    names = sorted({one.account for one in counters} | set(accesses))
    return [_account(name, counters, accesses.get(name), now) for name in names]


def _account(name: str, counters: Iterable[RateCounter], access: VenueAccess | None, now: datetime) -> AccountRates:
    tier = KrakenTier(access.tier) if name == KRAKEN and access is not None else KrakenTier.STARTER
    requests, engine = (kraken_budget.TIERS[tier].requests, kraken_budget.TIERS[tier].engine)
    whole = requests if name == KRAKEN else ALPACA
    own = [one for one in counters if one.account == name]
    found = [_used(one, whole if not one.scope else engine) for one in own]
    all_requests = next((one for one in found if not one.scope), None)
    bars = [RateBar("Requests", all_requests)] if all_requests is not None else []
    symbols = sorted((one for one in found if one.scope and one.used > 0), key=lambda one: -one.used)
    bars += [RateBar(f"Orders and cancels in {one.scope}", one) for one in symbols[:SYMBOLS_SHOWN]]
    is_this_hour = all_requests is not None and timedelta(0) <= now - all_requests.hour < HOUR
    return AccountRates(
        account=name,
        tier=tier.label if name == KRAKEN else "",
        bars=bars,
        hour=all_requests.hour if all_requests is not None and is_this_hour else None,
        spent=_spent(all_requests) if all_requests is not None and is_this_hour else [],
        held_back=sum(one.held_back for one in found if timedelta(0) <= now - one.hour < HOUR),
        access=access,
        is_shared=_is_shared(access, now),
    )


def _used(counter: RateCounter, limit: Limit) -> Used:
    return budget.used(counter, limit, counter.at)  # type: ignore[attr-defined]


def _spent(used: Used) -> list[tuple[str, int]]:
    return [(word, used.spent[purpose]) for purpose, word in WORDS.items() if used.spent[purpose]]


def _is_shared(access: VenueAccess | None, now: datetime) -> bool:
    """Return whether something else uses the key: the venue goes on refusing our requests' numbers."""
    if access is None or access.nonce_refused_at is None:
        return False
    return access.nonce_refusals >= NONCE_REFUSALS_MIN and now - access.nonce_refused_at < NONCE_STREAK_FOR
