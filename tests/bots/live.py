"""A live desk for tests: every lock open, a measured account and a ready venue, on a loopback one that keeps its own ledger."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from pytest_django import Settings

from bots import bot_params, executor, manager
from bots.accounts import account_name
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Account, Bot, Order
from bots.order_ids import random_order_id
from safety import stamp
from safety.intents import OrderIntent, OrderType, Side
from safety.models import ReadinessRun
from safety.readiness_values import EXPECTED_EVERYWHERE, EXPECTED_PER_VENUE, VENUES, Finding, Severity, State
from tests.loopback.client import BTC, KrakenLoopback, Loopback
from tradingops.environment_values import Gate


def open_gates(settings: Settings, *, live: bool = True) -> None:
    """Open (or shut) the gate that the environment holds."""
    gate = Gate("ALLOW_LIVE_TRADING", live, "environment")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, allow_live_trading=gate)


def measured(cash_usd: str = "10000", equity_usd: str | None = None, **changes: Any) -> Account:
    """Let Kraken's account have been measured just now."""
    cash, now = Decimal(cash_usd), timezone.now()
    equity = cash if equity_usd is None else Decimal(equity_usd)
    fields = {
        "venue": "kraken", "is_live": True, "cash_usd": cash, "equity_usd": equity, "measured_at": now, "flags": [],
        "day": now.date(), "day_start_equity_usd": equity, "peak_equity_usd": equity, **changes,
    }  # fmt: skip
    account, _ = Account.objects.update_or_create(name=account_name("kraken", is_live=True), defaults=fields)
    return account


def ready(*blockers: str, finished_at: datetime | None = None) -> ReadinessRun:
    """Let a readiness run have found nothing but these blockers."""
    everywhere = [(one, None) for one in EXPECTED_EVERYWHERE]
    places = everywhere + [(one, venue) for one in EXPECTED_PER_VENUE for venue in VENUES]
    results = [
        Finding(
            id, id, Severity.BLOCKER, State.FAILED if id in blockers else State.OK, "as the test says", "", venue
        ).as_dict()
        for id, venue in places
    ]
    at = finished_at or timezone.now()
    return ReadinessRun.objects.create(
        trigger="test", started_at=at, finished_at=at, version="test", config_hash="", results=results
    )


def live_bot(name: str = "live", *, running: bool = True, **changes: Any) -> Bot:
    """Make a bot that is set live on Kraken, as a person left it."""
    fields: dict[str, Any] = {
        "venue": "kraken", "symbol": BTC, "strategy": "smart_dca", "capital_usd": Decimal(1000), "params": {},
        "poll_seconds": 1, **changes,
    }  # fmt: skip
    bot = manager.create(manager.NewBot(name=name, **fields), actor="test")
    Bot.objects.filter(pk=bot.pk).update(dry_run=False, went_live_at=timezone.now())
    return manager.start(bot.pk, actor="test") if running else Bot.objects.get(pk=bot.pk)


def live_desk(kraken: KrakenLoopback, settings: Settings, **changes: Any) -> Bot:
    """Return a running live bot with nothing in its way: gates, keys, account, readiness and prices are there."""
    # A database of one's own begins with the same numbers: what was read of another test's bot must not stay.
    bot_params.forget()
    kraken.set_price("99.9", "100.1")
    stamp.apply()
    open_gates(settings)
    measured()
    ready()
    wait_for_price()
    return live_bot(**changes)


def wait_for_price(symbol: str = BTC) -> None:
    """Wait until Kraken's feed has a price and the market's status: on a busy machine its first answers take longer than
    whoever asks waits for them.
    """

    def ask() -> object:
        feed, now = feed_for("kraken"), timezone.now()
        try:
            return feed.market_status(symbol, now) and feed.quote(symbol, now)
        except MarketDataError:
            return None

    Loopback.wait_until(ask, lambda found: found is not None, 30)


def live_intent(
    bot: Bot, side: Side = Side.BUY, quantity: str = "0.3", limit: str | None = None, **changes: Any
) -> OrderIntent:
    """Return a live intent of this bot, with changes: about 30 USD, below the ramp."""
    intent = OrderIntent(
        client_order_id=random_order_id("x"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=side,
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=None if limit is None else Decimal(limit),
        reduce_only=side == Side.SELL,
        is_live=True,
        created_at=timezone.now(),
        leg="leg",
        reason="the test wants it",
        actor="test",
    )
    return replace(intent, **changes)


def send(intent: OrderIntent) -> executor.Submission:
    """Send one intent to its venue."""
    return executor.submit_to_venue(intent, market_for(intent.venue, intent.symbol, timezone.now()))


def stored(intent: OrderIntent) -> Order:
    """Return the stored order of an intent."""
    return Order.objects.get(client_order_id=intent.client_order_id)
