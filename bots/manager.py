"""BotManager: what people, the API and the workers may do to a bot. Every change is an operator event with its actor."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, joined_unit, record
from audit.records import bounded
from bots import baselines, executor, ledger, telling
from bots.batch import BotBooks, locked_books
from bots.bot_checks import problems_of
from bots.descriptions import describe, shown
from bots.exposure import Market
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import market_for
from bots.models import Bot, BotStatus, BotTick, Order, PaperBroker, Position, Venue
from bots.order_ids import random_order_id
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.reconciliation import movements
from bots.strategies import registry
from bots.strategies.schema import ParamSchema
from safety.intents import OrderIntent, OrderType, Side

ERROR_TEXT_MAX = 2000
REASON_TEXT_MAX = 500
#: Of the symbols that a venue has, so many are named to who asked for another one.
SYMBOLS_SHOWN_MAX = 20
Over = Mapping[str, Any] | None
EDITABLE = (
    "name", "symbol", "strategy", "params", "capital_usd", "paper_equity_usd", "paper_broker", "poll_seconds", "score_min",
)  # fmt: skip


class BotActionError(Exception):
    """The action cannot be done as things stand; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class NewBot:
    """What a new bot is made from. ``params`` are as typed; what is left out takes the strategy's default."""

    name: str
    venue: str
    symbol: str
    strategy: str
    capital_usd: Decimal
    params: dict[str, Any]
    poll_seconds: int = 5
    paper_equity_usd: Decimal = Decimal(100_000)
    paper_broker: str = PaperBroker.BUILT_IN
    score_min: int = 0


def create(new: NewBot, *, actor: str, also: Callable[[Bot], object] | None = None) -> Bot:
    """Make a bot, always on paper and stopped. ``also`` is called with it in the same transaction.

    Raises BotActionError or ParamError with what is wrong.
    """
    check_symbol(new.venue, new.symbol)
    schema = _schema(new.strategy)
    bot = Bot(
        name=new.name.strip(),
        venue=new.venue,
        symbol=new.symbol,
        strategy=new.strategy,
        params=schema.plain(schema.clean(new.params)),
        capital_usd=new.capital_usd,
        paper_equity_usd=new.paper_equity_usd,
        paper_broker=new.paper_broker,
        poll_seconds=new.poll_seconds,
        score_min=new.score_min,
    )
    _check(bot)
    with joined_unit():
        bot.save()
        BotTick.objects.create(bot=bot)
        baselines.open_paper_account(bot, timezone.now())
        _audit(bot, "bot_created", "", describe(bot), actor)
        if also is not None:
            also(bot)
    return bot


def update(
    bot: Bot, *, actor: str, only: Collection[str] = EDITABLE, is_live: bool | None = None, params_over: Over = None
) -> Bot:
    """Save changed fields of a bot (never dry_run or status), audited field by field. Raises BotActionError or ParamError.

    ``only`` are the fields that are meant: the others stay as somebody may have changed them meanwhile. ``is_live`` as for start.
    ``params_over`` are laid over the parameters that the bot has by then, in place of its own.
    """
    schema = _schema(bot.strategy)
    with locked(bot.pk) as stored:
        _refuse_other_book(stored, is_live)
        params = bot.params if params_over is None else stored.params | dict(params_over)
        bot.params = schema.plain(schema.clean(params))
        changes = {name: getattr(bot, name) for name in only if getattr(bot, name) != getattr(stored, name)}
        if "symbol" in changes:
            check_symbol(stored.venue, bot.symbol)
            if _holds_anything(stored):
                raise BotActionError("The symbol can change only while the bot holds nothing and has no open order.")
        if "paper_broker" in changes and _holds_anything(stored):
            raise BotActionError(
                "Who fills paper orders can change only while the bot holds nothing and has no open order."
            )
        before = {name: getattr(stored, name) for name in changes}
        for name, value in changes.items():
            setattr(stored, name, value)
        _check(stored)
        for name, value in changes.items():
            _audit(stored, f"bot_{name}_changed", shown(before[name]), shown(value), actor)
        _save(stored)
        movements.carry(
            stored,
            symbol_before=before.get("symbol", stored.symbol),
            paper_broker_before=before.get("paper_broker", stored.paper_broker),
        )
        if "paper_equity_usd" in changes:
            baselines.move_paper_baselines(stored, stored.paper_equity_usd - before["paper_equity_usd"])
    return stored


def start(bot_id: int, *, actor: str, is_live: bool | None = None) -> Bot:
    """Let a bot trade; a paper bot's losses so far are forgotten. Raises BotActionError for an archived one.

    So it and every other act does for one that is not what the caller took it for, ``is_live``, when he asked for the rights.
    """
    with _locked_after_account(bot_id) as bot:
        _refuse_archived(bot, is_live)
        bot.attended_at = timezone.now()
        movements.arm_started(bot)
        baselines.start_afresh(bot, actor=actor, now=bot.attended_at)
        _set_status(bot, BotStatus.RUNNING, "", actor)
        bot.last_error = ""
        _save(bot)
    return bot


def pause(bot_id: int, *, actor: str, reason: str = "", is_live: bool | None = None) -> Bot:
    """Hold a bot's entries, those that rest are cancelled; exits go on being managed.

    Raises BotActionError for an archived or stopped bot.
    """
    with locked(bot_id) as bot:
        _refuse_archived(bot, is_live)
        if bot.status == BotStatus.STOPPED:
            raise BotActionError("The bot is stopped. Start it first, if it should manage its exits.")
        _cancel_entries(bot, actor)
        _set_status(bot, BotStatus.PAUSED, reason or "paused by hand", actor)
        _save(bot)
    return bot


def stop(bot_id: int, *, actor: str, reason: str = "", is_live: bool | None = None) -> Bot:
    """Stop a bot: resting orders are cancelled; a position is kept and nobody manages it until the bot is started."""
    with locked(bot_id) as bot:
        _refuse_archived(bot, is_live)
        _cancel_resting(locked_books(bot, timezone.now()), actor, "the bot was stopped")
        _set_status(bot, BotStatus.STOPPED, reason, actor)
        _save(bot)
    return bot


def archive(bot_id: int, *, actor: str, is_live: bool | None = None) -> Bot:
    """Retire a bot for good; its history stays. Raises BotActionError while it holds a position, or orders at a venue."""
    with locked(bot_id) as bot:
        _refuse_archived(bot, is_live)
        _cancel_resting(locked_books(bot, timezone.now()), actor, "the bot was archived")
        if Order.objects.filter(bot=bot, status__in=OPEN_STATES).exists():
            raise BotActionError(
                "Orders of the bot have not ended at its venue yet. Stop it, which cancels them, and archive it in a moment."
            )
        for position in Position.objects.filter(bot=bot):
            if position.quantity and not is_dust(bot, position):
                raise BotActionError(
                    f"The bot still holds {decimal_text(position.quantity)} {bot.symbol}. Close the position first."
                )
        _set_status(bot, BotStatus.ARCHIVED, "", actor)
        _save(bot)
    return bot


def close_position(
    bot_id: int, *, actor: str, is_live: bool | None = None, guard: Callable[[Bot], object] | None = None
) -> executor.Submission:
    """Cancel what rests, sell the whole position at the market, pause the bot, and return what became of the order.

    The order passes the gate like any other, and may be denied. The bot is paused so that it does not buy again at once.
    A market sale of it all that still waits for volume is left to go on: a second one would be denied as its duplicate.
    One that trades at its venue asks it, and must not be called inside a transaction. ``is_live`` as for start. ``guard`` is
    asked under the bot's lock right before the sale is kept: what it raises goes on to the caller, and nothing is sold. Raises
    BotActionError when there is nothing to sell or no market to sell in.
    """
    asked = Bot.objects.get(pk=bot_id)
    _refuse_other_book(asked, is_live)
    if asked.trades_at_venue:
        # Here and not above, since it needs this module.
        from bots.hand_orders import close_at_venue

        return close_at_venue(bot_id, actor=actor, guard=guard)
    with locked(bot_id) as bot:
        _refuse_other_book(bot, asked.is_live)
        if guard is not None:
            guard(bot)
        market = _market(bot)
        books = locked_books(bot, market.view.now)
        lot = market.view.rules.lot_size
        quantity = (books.position.quantity / lot).to_integral_value(rounding=ROUND_DOWN) * lot
        if ledger.is_dust(quantity, market.view.quote.bid, market.view.rules):
            raise BotActionError("There is nothing to close: the bot holds nothing that the venue would sell.")
        sale = next((order for order in books.open_orders if _sells_all(order, quantity)), None)
        _cancel_resting(books, actor, "the position is being closed", but=sale)
        if sale is None:
            intent = _close_intent(bot, quantity, actor, market.view.now)
            submission = executor.submit(intent, books, market, executor.Desk.read([bot.pk]))
        else:
            submission = executor.Submission(sale)
        # A stopped bot does not tick, so nobody would see a sale through that was filled in part.
        is_left_alone = bot.status == BotStatus.STOPPED and submission.order.status in RESTING_STATES
        if bot.status == BotStatus.RUNNING or is_left_alone:
            _set_status(bot, BotStatus.PAUSED, "position closed by hand: start the bot to let it trade on", actor)
            _save(bot)
    return submission


def cancel_order(order_id: int, *, actor: str, reason: str = "cancelled by hand") -> Order:
    """Cancel one resting order and return it as it then stands. Raises BotActionError when it no longer rests."""
    bot_id = Order.objects.values_list("bot_id", flat=True).get(pk=order_id)
    if bot_id is None:
        raise BotActionError("The order was placed by someone else; cancel it at the venue.")
    with locked(bot_id):
        order = Order.objects.select_for_update().get(pk=order_id)
        if order.status not in RESTING_STATES:
            raise BotActionError(f"The order is {order.status}: there is nothing left to cancel.")
        return executor.cancel(order, timezone.now(), actor=actor, reason=reason)


def pause_after_error(bot: Bot, error: BaseException, *, actor: str, now: datetime) -> None:
    """Pause a bot whose tick failed, as ``pause`` does, and keep the error for its page. The caller has locked the bot."""
    text = bounded(f"{type(error).__name__}: {error}", ERROR_TEXT_MAX)
    was_running = bot.status == BotStatus.RUNNING
    is_news = was_running or bot.last_error != text
    # A text may hold a figure that changes with each tick: a paused bot that fails in the same way is told of once.
    is_told = was_running or bot.last_error.partition(":")[0] != type(error).__name__
    bot.last_error, bot.last_error_at = text, now
    if not is_news:
        # A paused bot ticks for its exits; failing in the same way again is no new revision.
        bot.save(update_fields=["last_error_at"])
        return
    if bot.status == BotStatus.RUNNING:
        _cancel_entries(bot, actor)
        _set_status(bot, BotStatus.PAUSED, "its tick failed; see the last error, then start it again", actor)
    if is_told:
        telling.tell_bot_error(bot, text, was_running=was_running)
    _save(bot)


def check_symbol(venue: str, symbol: str) -> None:
    """Return quietly when ``symbol`` can be traded at ``venue``, as far as is known. Raises BotActionError otherwise."""
    if venue not in Venue.values:
        raise BotActionError(f"There is no venue {venue!r}. Known are: {', '.join(Venue.values)}.")
    try:
        known = feed_for(venue).symbols()
    except MarketDataError:
        # A venue without a feed cannot say; its bots show that they are blocked by it.
        return
    if symbol not in known:
        more = f" and {len(known) - SYMBOLS_SHOWN_MAX} more" if len(known) > SYMBOLS_SHOWN_MAX else ""
        raise BotActionError(
            f"{venue} has no symbol {symbol!r}. Known are: {', '.join(known[:SYMBOLS_SHOWN_MAX])}{more}."
        )


@contextmanager
def locked(bot_id: int) -> Iterator[Bot]:
    """Open (or join) an audit unit and give the bot with its row locked. Raises Bot.DoesNotExist."""
    with joined_unit():
        yield Bot.objects.select_for_update(no_key=True).get(pk=bot_id)


@contextmanager
def _locked_after_account(bot_id: int) -> Iterator[Bot]:
    """Give the bot with its row locked, and before that the account of its venue that it trades on paper, if it does."""
    with joined_unit():
        baselines.lock_shared_paper(bot_id)
        with locked(bot_id) as bot:
            yield bot


def _schema(strategy: str) -> ParamSchema:
    try:
        return registry.get(strategy).schema
    except registry.UnknownStrategyError as error:
        raise BotActionError(f"There is no such strategy: {error}.") from error


def _check(bot: Bot) -> None:
    """Return quietly when a bot can be saved as it is. Raises BotActionError with everything that is wrong."""
    problems = problems_of(bot)
    if problems:
        raise BotActionError(" ".join(problems))


def _refuse_archived(bot: Bot, is_live: bool | None = None) -> None:
    if bot.status == BotStatus.ARCHIVED:
        raise BotActionError("The bot is archived. Make a new one with the same settings instead.")
    _refuse_other_book(bot, is_live)


def _refuse_other_book(bot: Bot, is_live: bool | None) -> None:
    if is_live is not None and is_live != bot.is_live:
        raise BotActionError("The bot was set live or to paper meanwhile. Look at it again first.")


def _set_status(bot: Bot, status: BotStatus, reason: str, actor: str) -> None:
    if bot.status != status:
        _audit(bot, f"bot_{status.value}", bot.status, status.value, actor, reason)
    bot.status, bot.status_reason = status, bounded(reason, REASON_TEXT_MAX)


def _save(bot: Bot) -> None:
    bot.revision += 1
    bot.save()


def _audit(bot: Bot, action: str, old: str, new: str, actor: str, reason: str = "") -> None:
    record(
        OperatorEventRecord(
            actor=actor, action=action, object=f"bot:{bot.pk} {bot.name}", old=old, new=new, reason=reason
        )
    )


def _market(bot: Bot) -> Market:
    try:
        return market_for(bot.venue, bot.symbol, timezone.now())
    except MarketDataError as error:
        raise BotActionError(f"There is no market to trade in now: {error}") from error


def _sells_all(order: Order, quantity: Decimal) -> bool:
    is_market_sale = order.side == Side.SELL and order.type == OrderType.MARKET
    return is_market_sale and order.status in RESTING_STATES and order.remaining_quantity >= quantity


def _cancel_entries(bot: Bot, actor: str) -> None:
    books = locked_books(bot, timezone.now())
    _cancel_resting(books, actor, "the bot was paused", sides=(Side.BUY,))


def _cancel_resting(
    books: BotBooks, actor: str, reason: str, *, sides: Collection[str] = tuple(Side), but: Order | None = None
) -> None:
    for order in books.open_orders:
        if order.status in RESTING_STATES and order.side in sides and order is not but:
            executor.cancel(order, timezone.now(), actor=actor, reason=reason)


def _holds_anything(bot: Bot) -> bool:
    holds = any(position.quantity for position in Position.objects.filter(bot=bot))
    # Of unknown outcome counts too: what such an order bought would be booked in the new symbol.
    return holds or Order.objects.filter(bot=bot, status__in=OPEN_STATES).exists()


def is_dust(bot: Bot, position: Position) -> bool:
    """Return whether what a book holds is too little for the venue to sell. What cannot be known is not called dust."""
    try:
        view = market_for(bot.venue, bot.symbol, timezone.now()).view
    except MarketDataError:
        return False
    return ledger.is_dust(position.quantity, view.quote.bid, view.rules)


def _close_intent(bot: Bot, quantity: Decimal, actor: str, now: datetime) -> OrderIntent:
    return OrderIntent(
        client_order_id=random_order_id("manual"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.SELL,
        type=OrderType.MARKET,
        quantity=quantity,
        limit_price=None,
        reduce_only=True,
        is_live=bot.is_live,
        created_at=now,
        leg="close",
        reason=f"Close the position now, asked for by {actor}",
        actor=actor,
    )
