"""From paper to live and back. Every change is an operator event, in one unit with the change, under the bot's row lock.

Setting a bot live opens nothing by itself: each of its orders still passes the live gate, the controls and readiness. A bot that
is set live while a lock is shut stays blocked, and says by what.
"""

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, record, unit
from bots import executor, hand_orders, ledger, manager, telling
from bots.account_chores import accounts_in_use, measure_at_venue
from bots.accounts import account_name, is_fresh
from bots.batch import BotBooks, locked_books
from bots.brokers.base import VenueError
from bots.brokers.factory import BrokerUnavailable
from bots.manager import BotActionError
from bots.market_data.base import MarketDataError
from bots.markets import market_for
from bots.models import Account, Bot, BotStatus, Deal, Order, PaperBroker, Position, Venue
from bots.order_ids import random_order_id
from bots.order_states import OPEN_STATES, RESTING_STATES
from bots.reconciliation import engine, movements, queries
from safety import readiness
from safety.intents import OrderIntent, OrderType, Side

log = logging.getLogger(__name__)
PAPER, LIVE, TURNING = "dry_run=1", "dry_run=0", "dry_run=0, reduce-only until flat"
#: How the automatic part names itself in the audit.
WORKER = "worker"
CANCELS_MAX = 20
#: How long a slow venue is asked in one go: the chores that come after, the kill switch's too, wait meanwhile.
CANCELS_S = 3.0
CANCEL_AGAIN_AFTER = timedelta(seconds=30)


def set_live(
    bot_id: int, *, actor: str, confirm: str, reason: str, is_person: bool = True, has_more: bool = False
) -> Bot:
    """Set a bot live, or keep one live that was turning to paper, and return it. One that is live already is left as it is.

    The venue is asked for the account before, where that was not done within the last minute: nobody can judge a first order
    without it. A venue that does not answer keeps nobody from setting the bot live; its entries wait then.

    ``confirm`` has to be the bot's name, letter by letter, and ``reason`` may not be blank. Its paper orders are cancelled, its
    paper deal is closed in the paper book, and its live book starts empty. What holds its entries goes on holding them: only
    ``clear_held`` ends that. ``is_person`` is False for a token, whose act is not a person's attendance. The readiness checks
    run anew afterwards, unless the caller ``has_more`` to set live and calls ``check_readiness`` itself; so not to be called in
    an audit unit. Raises BotActionError, and nothing has changed then.
    """
    if not reason.strip():
        raise BotActionError("Say why: setting a bot live needs a reason. It is kept in the operator events.")
    asked = Bot.objects.filter(pk=bot_id).first()
    if asked is not None and not asked.is_live:
        _refuse_live(asked, confirm)
        measure_first(asked.venue)
    with unit(), manager.locked(bot_id) as bot:
        _refuse_live(bot, confirm)
        if bot.is_live and not bot.turning_to_paper:
            return bot
        now = timezone.now()
        before = TURNING if bot.turning_to_paper else PAPER
        if not bot.is_live:
            _leave_paper_book(bot, actor, now)
            bot.dry_run, bot.went_live_at = False, now
            movements.arm(bot)
        bot.turning_to_paper = False
        bot.attended_at = now if is_person else bot.attended_at
        _audit(bot, "live_enabled", before, LIVE, actor, reason)
        telling.tell_live_enabled(bot, actor=actor, reason=reason)
        _save(bot)
    if not has_more:
        check_readiness(actor)
    return bot


def measure_first(venue: str) -> bool:
    """Ask a venue for its live account, unless that was done within the last minute; return whether it is known now.

    An account that was out of use is only measured: its history is not read, since going live has its baseline taken anew. Must
    run outside any transaction: it goes over the network, for ten seconds or so at most.
    """
    if not _is_measured(venue):
        if movements.would_arm(venue):
            _measure(venue)
        else:
            _reconcile(venue)
    return _is_measured(venue)


def _measure(venue: str) -> None:
    try:
        measure_at_venue(venue, is_live=True)
    except (BrokerUnavailable, VenueError, MarketDataError) as error:
        log.warning("the account at %s could not be measured: %s", venue, error)


def _is_measured(venue: str) -> bool:
    known = Account.objects.filter(pk=account_name(venue, is_live=True)).first()
    return known is not None and is_fresh(known.measured_at, timezone.now())


def check_readiness(actor: str) -> None:
    """Check anew what a live bot needs of its venue: the last run may not have looked at one that was not used.

    An account that was not in use so far is compared with our books first: readiness asks for that.
    """
    try:
        for venue, is_live in accounts_in_use():
            if is_live and queries.last_sound_age(venue, is_live=True, now=timezone.now()) is None:
                _reconcile(venue)
        readiness.run("set_live", actor=actor)
    except DatabaseError:
        # The bot is live as asked. Entries go by the last run that was kept, and the next one is due within minutes.
        log.exception("the readiness checks could not be run")


def _reconcile(venue: str) -> None:
    try:
        engine.reconcile(venue, is_live=True, trigger="set_live")
    except engine.TurnTaken:
        log.info("the account at %s is being reconciled already", venue)


def set_paper(bot_id: int, *, actor: str, reason: str = "", may_be_live: bool = True) -> Bot:
    """Set a bot back to paper and return it. One that is on paper already is left as it is.

    Without ``may_be_live`` the caller took it for a paper bot when he asked for the rights: then one that was set live meanwhile
    raises BotActionError.

    While it holds a live position or a live order that has not ended, it stays live and reduce-only, its resting entries are
    cancelled, and it turns by itself when it is flat. Must not run in an audit unit: cancels go over the network.
    """
    with unit(), manager.locked(bot_id) as bot:
        if not bot.is_live:
            return bot
        if not may_be_live:
            raise BotActionError("The bot was set live meanwhile. Look at it again first.")
        if _is_flat(bot):
            _turn(bot, actor, reason)
        elif not bot.turning_to_paper:
            bot.turning_to_paper = True
            _audit(bot, "bot_turning_to_paper", LIVE, TURNING, actor, reason)
            _save(bot)
    if bot.turning_to_paper:
        cancel_live_entries(bot, actor=actor)
        finish_turn(bot_id, actor=actor)
        bot.refresh_from_db()
    return bot


def finish_turn(bot_id: int, *, actor: str = WORKER) -> bool:
    """Turn a bot to paper that was asked to, when it is flat; return whether it is on paper now."""
    with manager.locked(bot_id) as bot:
        if bot.turning_to_paper and _is_flat(bot):
            _turn(bot, actor, "it is flat; it was asked to turn to paper before")
        return not bot.is_live


def cancel_live_entries(bot: Bot, *, actor: str) -> None:
    """Ask the venue to cancel a bot's resting live purchases. What fails is logged; the next round asks for it again.

    One that was asked for a moment ago is left to its look-up.
    """
    resting = Order.objects.filter(bot=bot, is_live=True, status__in=RESTING_STATES, side=Side.BUY)
    just_asked = Q(cancel_requested_at__gt=timezone.now() - CANCEL_AGAIN_AFTER)
    until_s = time.monotonic() + CANCELS_S
    for order in resting.exclude(just_asked).order_by("id")[:CANCELS_MAX]:
        if time.monotonic() > until_s:
            return
        try:
            executor.cancel_at_venue(order.pk, actor=actor, reason="the bot is turning to paper")
        except executor.ExecutorError:
            # It ended meanwhile, which is what was wanted.
            continue
        except BrokerUnavailable as error:
            log.warning("bot %s: its entries cannot be cancelled now: %s", bot.pk, error)
            return


def clear_held(bot_ids: Iterable[int], *, actor: str, reason: str) -> list[Bot]:
    """Let bots whose entries were held make entries again, and return those that were. Only a person may, never a token.

    ``reason`` may not be blank. Each bot is a change of its own. Raises BotActionError without a reason.
    """
    if not reason.strip():
        raise BotActionError("Say why: letting entries go on needs a reason. It is kept in the operator events.")
    cleared = []
    for bot_id in sorted(set(bot_ids)):
        with manager.locked(bot_id) as bot:
            if not bot.entries_held:
                continue
            _audit(bot, "entries_held_cleared", bot.entries_held, "", actor, reason)
            bot.entries_held, bot.attended_at = "", timezone.now()
            _save(bot)
            cleared.append(bot)
    return cleared


def _refuse_live(bot: Bot, confirm: str) -> None:
    """Return quietly when this bot may be set live. Raises BotActionError with why not."""
    if bot.status == BotStatus.ARCHIVED:
        raise BotActionError("The bot is archived. Make a new one with the same settings instead.")
    if bot.venue == Venue.REPLAY:
        raise BotActionError(
            "The bot trades recorded prices, so it can never be live. Make one for a real venue instead."
        )
    if confirm != bot.name:
        raise BotActionError("What was typed is not the bot's name, so nothing was changed. Capitals and spaces count.")


def _leave_paper_book(bot: Bot, actor: str, now: datetime) -> None:
    """Cancel the paper orders, sell what the paper book holds, and close its deal. What can't be sold stays in that book."""
    books = locked_books(bot, now)
    holds = books.position.quantity and not manager.is_dust(bot, books.position)
    if bot.paper_broker == PaperBroker.VENUE and (books.open_orders or holds):
        raise BotActionError("The bot still has orders or a position in the venue's paper account. Close them first.")
    for order in books.open_orders:
        executor.cancel(order, now, actor=actor, reason="the bot was set live")
    why_left = _sell_paper(bot, books, actor, now) if books.position.quantity else ""
    deal = books.deal
    if deal is not None and deal.closed_at is None:
        # No price is invented: the deal ends with what it realised, and what is left keeps its cost in the paper book.
        Deal.objects.filter(pk=deal.pk).update(closed_at=now)
        left = f"closed; {decimal_text(books.position.quantity)} {bot.symbol} left in the paper book"
        _audit(bot, "paper_deal_closed", "open", left, actor, why_left)


def _sell_paper(bot: Bot, books: BotBooks, actor: str, now: datetime) -> str:
    """Sell the paper position at the market, as far as the gate and the market let it; return why something is left."""
    try:
        market = market_for(bot.venue, bot.symbol, now)
    except MarketDataError as error:
        return f"there is no market to sell it in: {error}"
    quantity = hand_orders.sellable(books.position.quantity, market.view.rules)
    if ledger.is_dust(quantity, market.view.quote.bid, market.view.rules):
        return "it is too little to be sold"
    intent = OrderIntent(
        client_order_id=random_order_id("manual"),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.SELL,
        type=OrderType.MARKET,
        quantity=quantity,
        limit_price=None,
        reduce_only=True,
        is_live=False,
        created_at=now,
        leg="close",
        reason="The bot goes live: its paper book is closed",
        actor=actor,
    )
    submission = executor.submit(intent, books, market, executor.Desk.read([bot.pk]))
    if submission.is_denied:
        return "the sale was denied: " + " ".join(denial.message for denial in submission.denials)
    if submission.order.status in RESTING_STATES:
        executor.cancel(submission.order, now, actor=actor, reason="the bot was set live")
    return "the market took only a part of it"


def _is_flat(bot: Bot) -> bool:
    """Return whether a bot holds nothing live: no order that has not ended, and no more than dust. What isn't known is held."""
    if Order.objects.filter(bot=bot, is_live=True, status__in=OPEN_STATES).exists():
        return False
    held = Position.objects.filter(bot=bot, is_live=True).exclude(quantity=0).first()
    return held is None or manager.is_dust(bot, held)


def _turn(bot: Bot, actor: str, reason: str) -> None:
    before = TURNING if bot.turning_to_paper else LIVE
    bot.dry_run, bot.turning_to_paper = True, False
    _audit(bot, "live_disabled", before, PAPER, actor, reason)
    telling.tell_live_disabled(bot, actor=actor, reason=reason)
    _save(bot)


def _save(bot: Bot) -> None:
    bot.revision += 1
    bot.save()


def _audit(bot: Bot, action: str, old: str, new: str, actor: str, reason: str) -> None:
    what = f"bot:{bot.pk} {bot.name}"
    record(OperatorEventRecord(actor=actor, action=action, object=what, old=old, new=new, reason=reason))
