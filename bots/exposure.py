"""What the gate must know of a bot, read at the moment an intent is claimed, under the bot's row lock."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bots.batch import RECENT, BotBooks
from bots.brokers.base import FeeSchedule, MarketView
from bots.models import Bot, BotStatus, Order
from safety.intents import Exposure, OrderIntent, Side

DUPLICATE_WINDOW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Market:
    """One symbol's market as an order meets it: view, fees and how old a quote may be."""

    view: MarketView
    fees: FeeSchedule
    quote_age_max_s: Decimal


def gather(books: BotBooks, intent: OrderIntent, market: Market, *, now: datetime) -> Exposure:
    """Return the exposure that the gate judges ``intent`` by. The bot's row must be locked by the caller.

    A built-in paper bot is an account of its own, so its account's counts are its own.
    """
    bot, position, open_orders = books.bot, books.position, books.open_orders
    reserved = _reserved(open_orders, market)
    sent = _sent_since(books.orders, now - RECENT)
    return Exposure(
        quote=market.view.quote,
        rules=market.view.rules,
        quote_age_max_s=market.quote_age_max_s,
        allowed_symbols=frozenset({(bot.venue, bot.symbol)}),
        capital_usd=bot.capital_usd,
        bot_committed_usd=position.cost + reserved,
        # What rests will cost its fee, too.
        cash_free_usd=bot.paper_equity_usd + position.cash_flow - reserved * (1 + market.fees.taker),
        fee_rate=market.fees.taker,
        position_quantity=position.quantity,
        pending_exit_quantity=sum(
            (order.remaining_quantity for order in open_orders if order.side == Side.SELL), Decimal(0)
        ),
        open_orders_bot=len(open_orders),
        open_orders_account=len(open_orders),
        sent_last_minute_bot=sent,
        sent_last_minute_account=sent,
        is_duplicate=_is_duplicate(books.orders, intent, now),
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
    """Return what the open purchases may still cost without fees, at their limit or at the offer."""
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
