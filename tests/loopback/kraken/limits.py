"""Kraken's limits on requests: a counter for the key, and one per symbol for orders and cancels. Off unless set."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.loopback.kraken.ledger import Refused


@dataclass(frozen=True)
class Tier:
    """What an account of this tier may ask: how high its counters may stand, and by how much they fall in a second."""

    counter_max: float
    decay: float
    engine_max: float
    engine_decay: float


TIERS: Mapping[str, Tier] = {
    "starter": Tier(15, 0.33, 60, 1),
    "intermediate": Tier(20, 0.5, 125, 2.34),
    "pro": Tier(20, 1, 180, 3.75),
}
#: What counts on the key's counter, where it is not 1; orders and cancels count at the engine instead.
COSTS: Mapping[str, float] = {"Ledgers": 2, "TradesHistory": 2, "AddOrder": 0, "CancelOrder": 0}
#: What the cancel of an order adds that is younger than so many seconds.
CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))


class Counter:
    """A counter that falls by itself, never below 0."""

    def __init__(self) -> None:
        self._stands = 0.0
        self._at = time.monotonic()

    def read(self, decay: float) -> float:
        now = time.monotonic()
        self._stands, self._at = max(0.0, self._stands - decay * (now - self._at)), now
        return self._stands

    def add(self, cost: float, decay: float, highest: float) -> bool:
        """Count something, unless the counter would then stand too high."""
        if self.read(decay) + cost > highest:
            return False
        self._stands += cost
        return True

    def fill(self, to: float) -> None:
        self._stands, self._at = to, time.monotonic()


class Limits:
    """The counters of one account. Without a tier nothing is limited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tier: Tier | None = None
        self._key = Counter()
        self._pairs: dict[str, Counter] = {}

    def set_tier(self, tier: str | None, counter: float = 0) -> None:
        """Limit from now on as this tier is limited, with the key's counter where it is said to stand; None: not at all."""
        with self._lock:
            self._tier = None if tier is None else TIERS[tier]
            self._key, self._pairs = Counter(), {}
            self._key.fill(counter)

    def counter(self) -> float:
        """Return where the key's counter stands."""
        with self._lock:
            return 0.0 if self._tier is None else self._key.read(self._tier.decay)

    def count_request(self, endpoint: str) -> None:
        """Count a private request. Raises Refused."""
        with self._lock:
            tier, cost = self._tier, COSTS.get(endpoint, 1)
            if tier and cost and not self._key.add(cost, tier.decay, tier.counter_max):
                raise Refused("EAPI:Rate limit exceeded")

    def count_order(self, pair: str) -> None:
        """Count an order that is to be placed. Raises Refused."""
        self._count_at_engine(pair, 1)

    def count_cancel(self, pair: str, age_s: float) -> None:
        """Count a cancel: the younger the order, the more. It is never refused, as at Kraken; it fills the counter only."""
        cost = next((cost for younger_s, cost in CANCEL_COSTS if age_s < younger_s), 0)
        with self._lock:
            if self._tier:
                one = self._pairs.setdefault(pair, Counter())
                one.fill(min(self._tier.engine_max, one.read(self._tier.engine_decay) + cost))

    def _count_at_engine(self, pair: str, cost: float) -> None:
        with self._lock:
            tier = self._tier
            if tier and not self._pairs.setdefault(pair, Counter()).add(cost, tier.engine_decay, tier.engine_max):
                raise Refused("EOrder:Rate limit exceeded")
