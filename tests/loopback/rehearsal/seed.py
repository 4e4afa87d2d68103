"""Make the rehearsal's first bots: on paper, at both venues. A program of its own, run in the console's environment."""

import sys
from decimal import Decimal
from typing import Any

#: Name, venue, symbol, strategy, parameters, and whether Alpaca's own paper account fills it.
SEEDS: tuple[tuple[str, str, str, str, dict[str, Any], bool], ...] = (
    ("Bitcoin rehearsal", "kraken", "BTC/USD", "smart_dca", {}, False),
    ("Ether rehearsal", "kraken", "ETH/USD", "smart_dca", {}, False),
    ("Apple rehearsal", "alpaca", "AAPL", "smart_dca", {}, False),
    ("Microsoft on Alpaca paper", "alpaca", "MSFT", "smart_dca", {}, True),
)
ACTOR = "rehearsal"
#: Purchases from 24 to 50 USD: none is above what a bot may buy for while its first live orders are kept small.
CAPITAL_USD = Decimal(300)
PAPER_EQUITY_USD = Decimal(10_000)
POLL_SECONDS = 2


def seed() -> int:
    """Migrate, and make and start the bots when there are none at all; return how many were made."""
    from django.core.management import call_command

    from audit.log import joined_unit
    from bots import manager
    from bots.models import Bot, PaperBroker

    call_command("migrate", interactive=False, verbosity=0)
    if Bot.objects.exists():
        return 0
    with joined_unit():
        for name, venue, symbol, strategy, params, at_venue in SEEDS:
            new = manager.NewBot(
                name=name,
                venue=venue,
                symbol=symbol,
                strategy=strategy,
                capital_usd=CAPITAL_USD,
                params=params,
                poll_seconds=POLL_SECONDS,
                paper_equity_usd=PAPER_EQUITY_USD,
                paper_broker=PaperBroker.VENUE if at_venue else PaperBroker.BUILT_IN,
            )
            manager.start(manager.create(new, actor=ACTOR).pk, actor=ACTOR)
    return len(SEEDS)


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingops.settings")
    django.setup()
    sys.stdout.write(f"Made {made} bots for the rehearsal, on paper.\n" if (made := seed()) else "")
