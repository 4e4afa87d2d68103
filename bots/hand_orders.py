"""Orders by hand: what a person or a script asks for directly, through the same gate and executor as a bot's own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from django.utils import timezone

from audit.records import bounded
from bots import executor, ledger, manager
from bots.batch import locked_books
from bots.brokers.base import FeeSchedule, MarketView
from bots.brokers.factory import BrokerUnavailable
from bots.exposure import Market
from bots.manager import BotActionError
from bots.market_data.base import MarketDataError
from bots.markets import market_for
from bots.models import Bot, BotStatus, Order
from bots.order_ids import random_order_id
from bots.order_states import RESTING_STATES
from bots.shortages import really_there
from safety.intents import InstrumentRules, OrderIntent, OrderType, Quote, Side

SOURCE_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class HandOrder:
    """What a person wants. ``quantity`` in base units, ``limit_price`` in the quote currency, None for a market order."""

    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    reduce_only: bool = False
    reason: str = "ordered by hand"


@dataclass(frozen=True, slots=True)
class Once:
    """The id that is drawn for an order, which makes it one that can be asked for again, and when it was asked for."""

    client_order_id: str
    asked_at: datetime


def place_order(
    bot_id: int, wanted: HandOrder, *, actor: str, is_live: bool | None = None, once: Once | None = None
) -> executor.Submission:
    """Send one order of a bot, and return what became of it: it may be denied, or its outcome unknown.

    For any bot that is not archived, on paper or live as the bot is; ``is_live`` is what the caller took it for when he asked
    for the rights. Without a market the order is denied, and audited, like any other. Must not be called inside a transaction.
    With ``once`` the order has this id, and one that has it already stands: it comes back, and nothing is sent. What froze since
    it was first asked for is not sent late.
    An order is as old as the asking and judged once its market is there: a slow market makes it older, not one from the future.
    Raises Bot.DoesNotExist, and BotActionError for an archived bot or one that is not what the caller took it for.
    """
    once = once or Once(new_order_id(), timezone.now())
    bot = Bot.objects.get(pk=bot_id)
    if bot.status == BotStatus.ARCHIVED:
        raise BotActionError("The bot is archived: it can't trade any more.")
    if is_live is not None and is_live != bot.is_live:
        raise BotActionError("The bot was set live or to paper meanwhile. Look at it again before you order.")
    try:
        market = _as_of_now(market_for(bot.venue, bot.symbol, timezone.now()))
    except MarketDataError as error:
        market = _no_market(bot, error)
    intent = _intent(bot, wanted, actor, leg="hand", once=once)
    if bot.trades_at_venue:
        return executor.submit_to_venue(intent, market)
    return _on_paper(intent, market)


def new_order_id() -> str:
    """Draw the id of an order by hand."""
    return random_order_id("manual")


def close_at_venue(bot_id: int, *, actor: str, guard: Callable[[Bot], object] | None = None) -> executor.Submission:
    """Cancel what a bot has resting at its venue, pause it, sell all that can be sold, and return what became of the order.

    What is still on offer at the venue, because its cancel is not confirmed yet, is not sold twice: the order is then denied,
    and can be asked for again in a moment. ``guard`` as for manager.close_position: it is asked before anything is done, and
    again right before the sale is kept. Raises BotActionError as manager.close_position does.
    """
    with manager.locked(bot_id) as bot:
        if guard is not None:
            guard(bot)
        books = locked_books(bot, timezone.now())
        resting = [order for order in books.open_orders if order.status in RESTING_STATES]
    market = market_of(bot)
    quantity = sellable(books.position.quantity, market.view.rules)
    if ledger.is_dust(quantity, market.view.quote.bid, market.view.rules):
        raise BotActionError("There is nothing to close: the bot holds nothing that the venue would sell.")
    if bot.status == BotStatus.RUNNING:
        manager.pause(bot_id, actor=actor, reason="position closed by hand: start the bot to let it trade on")
    for order in resting:
        if guard is not None:
            with manager.locked(bot_id) as bot:
                guard(bot)
        _cancel(order, actor)
    # A fill may have come in before its cancel: what is held now is what is sold.
    with manager.locked(bot_id) as bot:
        quantity = sellable(locked_books(bot, timezone.now()).position.quantity, market.view.rules)
    quantity = really_there(bot, quantity, market.view.rules)
    if not quantity:
        raise BotActionError(
            "There is nothing left to close: what rested was sold meanwhile, or its shares were changed (see Reconciliation). "
            "The bot is paused."
        )
    wanted = HandOrder(
        Side.SELL, OrderType.MARKET, quantity, None, True, f"Close the position now, asked for by {actor}"
    )
    intent = _intent(bot, wanted, actor, leg="close", once=Once(new_order_id(), timezone.now()))
    return executor.submit_to_venue(intent, market_of(bot), guard=guard)


def sellable(held: Decimal, rules: InstrumentRules) -> Decimal:
    """Return how much of what is held makes whole lots."""
    return (held / rules.lot_size).to_integral_value(rounding=ROUND_DOWN) * rules.lot_size


def market_of(bot: Bot) -> Market:
    """Return the market that a bot trades in, as of now. Raises BotActionError when there is none."""
    try:
        return market_for(bot.venue, bot.symbol, timezone.now())
    except MarketDataError as error:
        raise BotActionError(f"There is no market to trade in now: {error}") from error


def _as_of_now(market: Market) -> Market:
    """Return a market as of now: to load it may have taken seconds, and its quote may be newer than the asking."""
    return replace(market, view=replace(market.view, now=timezone.now()))


def _no_market(bot: Bot, error: MarketDataError) -> Market:
    """Return a market of which nothing is known: no control can let an order pass on it, and each says why."""
    now, unknown = timezone.now(), Decimal("NaN")
    quote = Quote(bot.venue, bot.symbol, unknown, unknown, now, bounded(f"none: {error}", SOURCE_CHARS_MAX))
    rules = InstrumentRules(bot.venue, bot.symbol, "", unknown, unknown, unknown, unknown, is_active=False)
    view = MarketView(now=now, quote=quote, rules=rules)
    return Market(view=view, fees=FeeSchedule(unknown, unknown), quote_age_max_s=unknown)


def _on_paper(intent: OrderIntent, market: Market) -> executor.Submission:
    with manager.locked(intent.bot_id) as bot:
        if bot.trades_at_venue:
            raise BotActionError("The bot trades at its venue since a moment ago. Look at it again before you order.")
        books = locked_books(bot, market.view.now)
        if intent.client_order_id not in {order.client_order_id for order in books.orders}:
            # The books hold what is open or recent; an order that was asked for again may have ended long ago.
            books.orders.extend(Order.objects.filter(client_order_id=intent.client_order_id))
        return executor.submit(intent, books, market, executor.Desk.read([bot.pk]))


def _cancel(order: Order, actor: str) -> None:
    """Cancel one order at its venue now; what can't be done now is requested already, and the sweep goes on with it."""
    try:
        executor.cancel_at_venue(order.pk, actor=actor, reason="the position is being closed")
    except (executor.ExecutorError, BrokerUnavailable):
        # It ended meanwhile, or its venue is away: then the sale will be denied for what is still on offer.
        return


def _intent(bot: Bot, wanted: HandOrder, actor: str, *, leg: str, once: Once) -> OrderIntent:
    return OrderIntent(
        client_order_id=once.client_order_id,
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=wanted.side,
        type=wanted.type,
        quantity=wanted.quantity,
        limit_price=wanted.limit_price,
        reduce_only=wanted.reduce_only,
        is_live=bot.is_live,
        created_at=once.asked_at,
        leg=leg,
        reason=wanted.reason,
        actor=actor,
    )
