"""Flatten: sell everything that the bots of a scope hold, within two minutes, and halt.

A person asked for it and confirmed it. Its orders are sales of no more than is held, at a limit a little below the bid: enough to
be filled at once in an ordinary market, and capped, so that an empty book is not sold into at any price. One that is not filled
soon is taken back and offered anew at the bid of then. What a venue would not take (dust) is left, and told of.

Nothing is remembered here. Each round reads the positions and the open orders again, so whoever dies in the middle is followed by
somebody who sees what was sold; what is on offer or of unknown outcome is never offered a second time.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal

from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.decimals import decimal_text
from bots import clean_up, executor, ledger, manager
from bots.apart import apart
from bots.batch import BotBooks, locked_books
from bots.exposure import Market
from bots.market_data.base import MarketDataError
from bots.markets import market_for
from bots.models import Bot, Order, Position
from bots.order_ids import random_order_id
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.shortages import really_there
from safety import kill_switch
from safety.intents import LimitSet, OrderIntent, OrderType, Side
from safety.limits import LimitBook
from safety.models import KillRun
from safety.states import read_state

log = logging.getLogger(__name__)

#: How far below the bid is sold at most, in percent, where no collar is narrower: half of the majors' collar.
CAP_PCT_MAX = Decimal(1)
#: An order that is not filled by then is taken back and offered anew. Longer than the window in which it would be a duplicate.
REPRICE_AFTER = timedelta(seconds=11)
LEFT_TEXT_MAX = 1_500


@dataclass(frozen=True, slots=True)
class Left:
    """What a bot still holds after a round: ``quantity`` in base units, and why it is not sold. Dust needs nothing more."""

    bot: Bot
    quantity: Decimal
    why: str = ""
    is_dust: bool = False

    def __str__(self) -> str:
        return f"bot {self.bot.pk} {self.bot.name}: {decimal_text(self.quantity)} {self.bot.symbol} ({self.why})"


def start(scope: str, *, actor: str, reason: str) -> KillRun:
    """Begin the flatten of a scope and return its run; workers carry it on, and ``kill_runs.wait_for_drain`` helps.

    Raises FlattenRefusedError (one is under way, a latch of this host holds, or there is no reason), UnknownScopeError for a
    venue or bot that does not exist, and RuntimeError inside a transaction.
    """
    clean_up.check_scope_exists(scope)
    return kill_switch.begin_flatten(reason, actor=actor, scope=scope)


def work_on(run: KillRun, *, until_s: float, network: bool = True) -> None:
    """Do a round of a flatten, beginning nothing after ``until_s`` (monotonic); end it when all is sold or its time is over.

    Without ``network`` only built-in paper bots sell. Not inside a transaction.
    """
    run = KillRun.objects.get(pk=run.pk)
    if not run.is_flatten or run.flatten_until is None or run.ended_at is not None:
        return
    bots = list(_bots_to_sell(run.scope))
    if timezone.now() >= run.flatten_until:
        _end(run, "the 2 minutes of the flatten are over", [_held(bot, "not sold in time") for bot in bots])
        return
    left = []
    for bot in bots:
        if time.monotonic() > until_s:
            return
        left.append(_held(bot, "its sale failed: the log says why"))
        with apart(f"bot {bot.pk}: its sale in a flatten failed and is tried again"):
            left[-1] = _sell_out(bot, run, network=network)
    if all(one.is_dust or not one.quantity for one in left) and not _open_orders(run.scope).exists():
        _end(run, "everything was sold", left)


def _end(run: KillRun, why: str, left: list[Left]) -> None:
    still = "; ".join(str(one) for one in left if one.quantity)
    text = f"{why}; left: {still}"[:LEFT_TEXT_MAX] if still else why
    kill_switch.end_flatten(run.pk, text)


def _bots_to_sell(scope: str) -> list[Bot]:
    """Return the bots of a scope that hold something in the book that they trade in, or still have a flatten order open."""
    held = Position.objects.exclude(quantity=Decimal(0)).values_list("bot_id", "is_live")
    offering = set(_open_orders(scope).values_list("bot_id", flat=True))
    concerned = Bot.objects.filter(clean_up.in_scope(scope, "pk")).filter(
        Q(pk__in={bot_id for bot_id, _ in held}) | Q(pk__in=offering)
    )
    books = set(held)
    return [bot for bot in concerned.order_by("pk") if (bot.pk, bot.is_live) in books or bot.pk in offering]


def _open_orders(scope: str) -> QuerySet[Order]:
    return Order.objects.filter(clean_up.in_scope(scope), is_flatten=True, status__in=sorted(OPEN_STATES))


def _held(bot: Bot, why: str) -> Left:
    quantity = Position.objects.filter(bot=bot, is_live=bot.is_live).values_list("quantity", flat=True).first()
    return Left(bot, quantity or Decimal(0), why)


def _sell_out(bot: Bot, run: KillRun, *, network: bool) -> Left:
    """Take one bot a step nearer to holding nothing."""
    state = read_state(bot.venue, bot.pk)
    if not state.is_flattening:
        return _held(bot, "; ".join(state.reasons) or "the flatten was ended")
    try:
        market = market_for(bot.venue, bot.symbol, timezone.now())
    except MarketDataError as error:
        return _held(bot, f"no market to sell in: {error}")
    if not bot.trades_at_venue:
        return _sell_paper(bot, run, market)
    return _sell_at_venue(bot, run, market) if network else _held(bot, "not tried yet")


def _sell_paper(bot: Bot, run: KillRun, market: Market) -> Left:
    """Sell what a built-in paper bot holds: in one transaction, under its lock."""
    now = market.view.now
    with manager.locked(bot.pk) as stored:
        books = locked_books(stored, now)
        for order in books.open_orders:
            if order.status not in RESTING_STATES:
                continue
            if not order.is_flatten or _is_stale(order, now):
                executor.cancel(order, now, actor=run.actor, reason=_reason(run))
            elif order.matched_until is not None:
                executor.match(order, books, _since(bot, order.matched_until, now))
        quantity = _sellable(books, market)
        if books.open_orders or quantity is None:
            return _left(bot, books, market)
        intent = _intent(bot, run, quantity, market, now)
        executor.submit(intent, books, market, executor.Desk.read([bot.pk]))
        return _left(bot, books, market)


def _since(bot: Bot, since: datetime, now: datetime) -> Market:
    return market_for(bot.venue, bot.symbol, now, since=since)


def _sell_at_venue(bot: Bot, run: KillRun, market: Market) -> Left:
    """Sell what a bot holds at its venue: first what it has on offer comes back, then the whole goes out in one order."""
    orders = Order.objects.filter(bot=bot, is_live=bot.is_live, status__in=sorted(OPEN_STATES)).order_by("id")
    for order in orders:
        wanted = not order.is_flatten or _is_stale(order, timezone.now())
        if wanted and order.status in RESTING_STATES and not clean_up.was_asked_lately(order):
            clean_up.cancel_at_venue(order, run)
    with manager.locked(bot.pk) as stored:
        books = locked_books(stored, timezone.now())
        quantity = _sellable(books, market)
    if not books.open_orders and quantity is not None:
        quantity = really_there(bot, quantity, market.view.rules)
        if not quantity:
            return _held(bot, "nothing of its shares is left since they were changed: see the Reconciliation page")
        submission = executor.submit_to_venue(_intent(bot, run, quantity, market, timezone.now()), market)
        if submission.is_denied:
            codes = ", ".join(denial.code for denial in submission.denials)
            return _held(bot, f"the sale was denied: {codes}")
    return _left(bot, books, market)


def _sellable(books: BotBooks, market: Market) -> Decimal | None:
    """Return what is held in whole lots, or None when there is nothing that could be sold."""
    lot = market.view.rules.lot_size
    quantity = (books.position.quantity / lot).to_integral_value(rounding=ROUND_DOWN) * lot
    return None if ledger.is_dust(quantity, market.view.quote.bid, market.view.rules) else quantity


def _left(bot: Bot, books: BotBooks, market: Market) -> Left:
    held = books.position.quantity
    if not held:
        return Left(bot, held)
    if _sellable(books, market) is None:
        return Left(bot, held, "dust: less than the venue takes", is_dust=True)
    return Left(bot, held, "on offer" if books.open_orders else "not sold yet")


def _is_stale(order: Order, now: datetime) -> bool:
    return order.created_at < now - REPRICE_AFTER


def _reason(run: KillRun) -> str:
    return f"flatten: {run.reason}"


def _intent(bot: Bot, run: KillRun, quantity: Decimal, market: Market, now: datetime) -> OrderIntent:
    return OrderIntent(
        client_order_id=random_order_id("flatten"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.SELL,
        type=OrderType.LIMIT,
        quantity=quantity,
        limit_price=capped_price(market, LimitBook.read([bot.pk]).for_bot(bot.pk, is_live=bot.is_live)),
        reduce_only=True,
        is_live=bot.is_live,
        created_at=now,
        leg="flatten",
        reason=_reason(run),
        actor=run.actor,
        is_flatten=True,
    )


def capped_price(market: Market, limits: LimitSet) -> Decimal:
    """Return the lowest price that a flatten sells at: below the bid by half of the narrower collar, 1 % at most.

    Never below the collar itself, where the spread is wide; rounded up to the tick.
    """
    quote = market.view.quote
    collars = [one for one in (limits.collar_pct_major, limits.collar_pct_other) if one is not None]
    collar_pct = min([*collars, 2 * CAP_PCT_MAX])
    price = max(quote.bid * (100 - collar_pct / 2), quote.mid * (100 - collar_pct)) / 100
    tick = market.view.rules.tick_at(price)
    return (price / tick).to_integral_value(rounding=ROUND_UP) * tick
