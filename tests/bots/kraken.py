"""A Kraken whose market stands where the test put it, for bots that can go live. Orders can't reach it: it is a feed only."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings

from bots.market_data import feeds
from bots.market_data.base import UnknownSymbolError
from bots.models import Bot, Order, Position
from bots.order_ids import random_order_id
from bots.order_states import OrderStatus
from safety.intents import InstrumentRules, OrderType, Quote, Side
from tests.bots.builders import ScriptedFeed, make_bot

SYMBOL = "BTC/USD"
VENUE = "kraken"


@dataclass
class KrakenFeed(ScriptedFeed):
    """Kraken's market as the test has it, with some symbols that are not priced in dollars."""

    venue: str = VENUE
    quotes: dict[str, str] = field(default_factory=lambda: {SYMBOL: "USD", "ETH/USDT": "USDT", "BTC/EUR": "EUR"})

    #: Raised when its symbols are asked for.
    silent: Exception | None = None

    def symbols(self) -> tuple[str, ...]:
        if self.silent is not None:
            raise self.silent
        return tuple(symbol for symbol, currency in self.quotes.items() if currency != "EUR")

    def rules(self, symbol: str) -> InstrumentRules:
        if symbol not in self.quotes:
            raise UnknownSymbolError(f"Kraken has no symbol {symbol!r}")
        tick = Decimal("0.01")
        return InstrumentRules(VENUE, symbol, self.quotes[symbol], tick, self.lot, self.lot, self.notional_min)

    def quote(self, symbol: str, now: datetime) -> Quote:
        if self.broken is not None:
            raise self.broken
        return Quote(VENUE, symbol, self.bid, self.ask, now - timedelta(seconds=self.quote_age_s), VENUE)


def install_kraken(monkeypatch: pytest.MonkeyPatch) -> KrakenFeed:
    """Let this feed take the place of Kraken's at the edge of the house for the length of a test."""
    feed = KrakenFeed()
    monkeypatch.setitem(feeds._kraken, settings.ENVIRONMENT.kraken_base_url.url, feed)
    return feed


def kraken_bot(name: str = "bot", **changes: Any) -> Bot:
    """Make a bot that trades at Kraken, on paper."""
    return make_bot(name, **{"venue": VENUE, "symbol": SYMBOL, **changes})


def hold_live(bot: Bot, quantity: str) -> Position:
    """Let a bot hold something in its live book, bought at 100."""
    cost = Decimal(quantity) * 100
    fields = {"quantity": Decimal(quantity), "cost": cost, "cash_flow": -cost}
    return Position.objects.update_or_create(bot=bot, is_live=True, defaults=fields)[0]


def live_order(bot: Bot, side: Side, status: OrderStatus = OrderStatus.ACCEPTED) -> Order:
    """Let a bot have a live order, as it stands after the venue answered."""
    return Order.objects.create(
        client_order_id=random_order_id("x"), bot=bot, venue=VENUE, symbol=SYMBOL, side=side, type=OrderType.LIMIT,
        status=status, quantity=Decimal(1), limit_price=Decimal(90), is_live=True, leg="leg", actor="test",
        venue_order_id="O-1", created_at=bot.created_at, updated_at=bot.created_at,
    )  # fmt: skip
