"""The rate limits that tests run under: wide ones, since a test asks in a second what a desk asks in minutes."""

import pytest

from bots.brokers import kraken_budget
from bots.brokers.budget import Limit
from bots.brokers.kraken_budget import Tier
from bots.models import KrakenTier

WIDE = Tier(Limit(1_000_000, 1), Limit(1_000_000, 1))
REAL = dict(kraken_budget.TIERS)


def widen(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Let Kraken's budget hold nothing back in this process; for one test when it is given its ``monkeypatch``."""
    for tier in KrakenTier:
        if monkeypatch is None:
            kraken_budget.TIERS[tier] = WIDE
        else:
            monkeypatch.setitem(kraken_budget.TIERS, tier, WIDE)


def restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test of the budget itself run under the limits that ship."""
    for tier, limits in REAL.items():
        monkeypatch.setitem(kraken_budget.TIERS, tier, limits)
