"""A market that the autopilot scans, and its settings."""

from typing import Any

import pytest

from bots.autopilot import config
from bots.market_data import feeds
from bots.models import AutopilotConfig
from tests.bots.autopilot.market import SYMBOLS, MarketFeed
from tests.bots.builders import forget_process_memory
from tests.conftest import CommittedDatabase


@pytest.fixture
def market(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> MarketFeed:
    """Return the market of all recorded symbols, on a database of the test's own."""
    feed = MarketFeed()
    monkeypatch.setattr(feeds, "_REPLAY", feed)
    forget_process_memory()
    return feed


def switch_on(*symbols: str, **changes: Any) -> AutopilotConfig:
    """Switch the autopilot on over these symbols, or all, with settings that let it act at once."""
    wanted = {
        "enabled": True, "universe": {"replay": list(symbols or SYMBOLS)}, "slots": 4, "sector_slots": 4, "score_min": 80,
        "score_demote": 50, "cooldown_minutes": 60, **changes,
    }  # fmt: skip
    return config.change(wanted, actor="anna", reason="the test wants it")
