"""What the gate must know of a bot, read at the moment an intent is claimed, under the bot's row lock."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from bots.brokers.base import FeeSchedule, MarketView
from bots.models import Bot, BotStatus, Order, Position
from bots.order_states import OPEN_STATES
from safety.intents import Exposure, OrderIntent, Side

RATE_WINDOW = timedelta(minutes=1)
DUPLICATE_WINDOW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol's market as an order meets it: view, fees and how old a quote may be."""

    view: MarketView
    fees: FeeSchedule
    quote_age_max_s: Decimal


def gather(bot: Bot, position: Position, intent: OrderIntent, market: Market, *, now: datetime) -> Exposure:
    """Return the exposure that the gate judges ``intent`` by. The bot's row must be locked by the caller.

    A built-in paper bot is an account of its own, so its account's counts are its own.
    """
    since = now - RATE_WINDOW
    recent = list(
        Order.objects.filter(bot=bot, is_live=intent.is_live).filter(
            Q(status__in=OPEN_STATES) | Q(created_at__gte=since) | Q(cancel_requested_at__gte=since)
        )
    )
    open_orders = [order for order in recent if order.status in OPEN_STATES]
    sent = _sent_since(recent, since)
    return Exposure(
        quote=market.view.quote,
        rules=market.view.rules,
        quote_age_max_s=market.quote_age_max_s,
        allowed_symbols=frozenset({(bot.venue, bot.symbol)}),
        capital_usd=bot.capital_usd,
        bot_committed_usd=position.cost + _reserved(open_orders, market),
        cash_free_usd=bot.paper_equity_usd + position.cash_flow - _reserved(open_orders, market),
        fee_rate=market.fees.taker,
        position_quantity=position.quantity,
        pending_exit_quantity=sum(
            (order.remaining_quantity for order in open_orders if order.side == Side.SELL), Decimal(0)
        ),
        open_orders_bot=len(open_orders),
        open_orders_account=len(open_orders),
        sent_last_minute_bot=sent,
        sent_last_minute_account=sent,
        is_duplicate=_is_duplicate(recent, intent, now),
        entries_held=held_reason(bot),
    )


def held_reason(bot: Bot) -> str:
    """Return why the bot may make no entries now, or an empty text."""
    if bot.entries_held:
        return bot.entries_held
    return "the bot is paused" if bot.status == BotStatus.PAUSED else ""


def _sent_since(recent: Iterable[Order], since: datetime) -> int:
    submits = sum(1 for order in recent if order.submitting_at is not None and order.submitting_at >= since)
    cancels = sum(1 for order in recent if order.cancel_requested_at is not None and order.cancel_requested_at >= since)
    return submits + cancels


def _reserved(open_orders: Iterable[Order], market: Market) -> Decimal:
    """Return what the open purchases may still cost, at their limit or at the offer."""
    return sum(
        (
            order.remaining_quantity * (market.view.quote.ask if order.limit_price is None else order.limit_price)
            for order in open_orders
            if order.side == Side.BUY
        ),
        Decimal(0),
    )


def _is_duplicate(recent: Iterable[Order], intent: OrderIntent, now: datetime) -> bool:
    same = (intent.side, intent.type, intent.limit_price, intent.quantity)
    return any(
        (order.side, order.type, order.limit_price, order.quantity) == same
        and order.submitting_at is not None
        and now - order.submitting_at < DUPLICATE_WINDOW
        for order in recent
    )
