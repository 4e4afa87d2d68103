"""The first bots: on paper, on recorded market data, one of each strategy, so that a new console has something to show."""

from decimal import Decimal
from typing import Any

from audit.log import joined_unit
from bots import manager
from bots.manager import NewBot
from bots.models import Bot, Venue

ACTOR = "installation"
CAPITAL_USD = Decimal(1000)
PAPER_EQUITY_USD = Decimal(10_000)
SEEDS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("Bitcoin DCA", "BTC-PERP", "smart_dca", {}),
    ("Bitcoin breakout", "BTC-PERP", "breakout", {}),
    ("Bitcoin reversion", "BTC-PERP", "rsi_reversion", {}),
    ("S&P 500 trend", "SPX", "sma_cross", {}),
    ("SPY DCA", "SPY", "smart_dca", {}),
)


def seed_paper_bots() -> list[Bot]:
    """Make and start the first bots when there are none at all; return those that were made."""
    if Bot.objects.exists():
        return []
    # All or none: a first start that was cut off would else leave half of them for ever.
    with joined_unit():
        return [_seeded(*seed) for seed in SEEDS]


def _seeded(name: str, symbol: str, strategy: str, params: dict[str, Any]) -> Bot:
    new = NewBot(
        name=name,
        venue=Venue.REPLAY,
        symbol=symbol,
        strategy=strategy,
        capital_usd=CAPITAL_USD,
        params=params,
        poll_seconds=2,
        paper_equity_usd=PAPER_EQUITY_USD,
    )
    bot = manager.create(new, actor=ACTOR)
    return manager.start(bot.pk, actor=ACTOR)
