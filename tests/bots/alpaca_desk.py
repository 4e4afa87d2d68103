"""Desks at a loopback Alpaca for tests: a bot on its paper account, or a live one with every lock open. Measured for real."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.utils import timezone
from pytest_django import Settings

from bots import bot_params, manager
from bots.account_chores import measure_at_venue
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Account, Bot, PaperBroker
from safety import stamp
from safety.intents import OrderIntent, Side
from tests.bots.live import live_intent, open_gates, ready
from tests.loopback.client import AAPL, AlpacaLoopback, Loopback
from tradingops.environment_values import Gate


def stock_bot(name: str = "stock", *, running: bool = True, **changes: Any) -> Bot:
    """Make a stock bot whose paper orders go to Alpaca's paper account."""
    fields: dict[str, Any] = {
        "venue": "alpaca", "symbol": AAPL, "strategy": "smart_dca", "capital_usd": Decimal(1000), "params": {},
        "poll_seconds": 1, "paper_broker": PaperBroker.VENUE, **changes,
    }  # fmt: skip
    bot = manager.create(manager.NewBot(name=name, **fields), actor="test")
    return manager.start(bot.pk, actor="test") if running else bot


def paper_desk(alpaca: AlpacaLoopback, **changes: Any) -> Bot:
    """Return a running bot on the paper account, which was just measured; AAPL stands at 99.90 to 100.10."""
    _set_market(alpaca)
    bot = stock_bot(**changes)
    measured(is_live=False)
    return bot


def live_stock_desk(alpaca: AlpacaLoopback, settings: Settings, **changes: Any) -> Bot:
    """Return a running live stock bot with nothing in its way."""
    _set_market(alpaca)
    stamp.apply()
    open_gates(settings)
    allow_alpaca(settings)
    ready()
    bot = stock_bot(**changes)
    Bot.objects.filter(pk=bot.pk).update(dry_run=False, went_live_at=timezone.now())
    measured(is_live=True)
    return Bot.objects.get(pk=bot.pk)


def allow_alpaca(settings: Settings, *, is_open: bool = True) -> None:
    """Open (or shut) the gate of Alpaca's live account."""
    gate = Gate("LIVE_TRADING_ENABLED", is_open, "environment")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, live_trading_enabled=gate)


def measured(*, is_live: bool) -> Account:
    """Measure the account by asking the venue."""
    return measure_at_venue("alpaca", is_live=is_live)


def stock_intent(bot: Bot, side: Side = Side.BUY, quantity: str = "0.3", limit: str | None = None) -> OrderIntent:
    """Return an intent of this bot for the account that it trades on: about 30 USD, below the ramp."""
    return replace(live_intent(bot, side, quantity, limit), is_live=bot.is_live)


def _set_market(alpaca: AlpacaLoopback) -> None:
    # A database of one's own begins with the same numbers: what was read of another test's bot must not stay.
    bot_params.forget()
    alpaca.set_price("99.90", "100.10")
    # The first quote is fetched when it is asked for, and seen a moment later.
    Loopback.wait_until(asks, lambda asks: asks == Decimal("100.10"), 60)
    # So are the candles, by which a position is valued.
    Loopback.wait_until(mark, lambda mark: mark is not None, 60)


def mark() -> Decimal | None:
    """Return what the feed values a share of AAPL at; None while it cannot tell."""
    try:
        return feed_for("alpaca").mark(AAPL, timezone.now())
    except MarketDataError:
        return None


def asks() -> Decimal | None:
    """Return what the feed has AAPL offered at; None while it has no quote."""
    try:
        return market_for("alpaca", AAPL, timezone.now()).view.quote.ask
    except MarketDataError:
        return None
