"""What the trading benchmarks share: many bots, and the leases to tick them."""

from decimal import Decimal

from bots import manager
from bots.manager import NewBot
from bots.models import Bot
from bots.workers.leases import SHARD_COUNT, LeaseHolder, shard_lease
from safety.models import RiskLimits

STRATEGIES = ("smart_dca", "sma_cross", "rsi_reversion", "breakout")
SYMBOLS = ("BTC-PERP", "SPX", "SPY", "AAPL")


def make_bots(count: int, poll_seconds: int = 5) -> list[Bot]:
    """Make and start ``count`` paper bots, each with one symbol, spread over strategies and symbols."""
    have = Bot.objects.count()
    for number in range(have, count):
        new = NewBot(
            name=f"bench {number}",
            venue="replay",
            symbol=SYMBOLS[number // len(STRATEGIES) % len(SYMBOLS)],
            strategy=STRATEGIES[number % len(STRATEGIES)],
            capital_usd=Decimal(1000),
            params={},
            poll_seconds=poll_seconds,
        )
        manager.start(manager.create(new, actor="bench").pk, actor="bench")
    return list(Bot.objects.order_by("pk")[:count])


def unlimited_rate() -> None:
    """Lift the limits on the pace of orders: what is measured is the pipeline, not the limit."""
    RiskLimits.objects.filter(scope="global").update(rate_per_minute_bot=10**6, rate_per_minute_account=10**6)


def all_leases(holder: str = "bench") -> LeaseHolder:
    """Return a holder of every shard's lease."""
    leases = LeaseHolder(holder, ttl_s=3600)
    leases.claim([shard_lease(shard) for shard in range(SHARD_COUNT)], SHARD_COUNT)
    return leases
