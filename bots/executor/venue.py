"""Orders that go over a network to a venue: each step commits by itself, and nothing is held over the network.

Committed before the send: the order, SUBMITTING, with its deadline. Read after that commit: the trading state. So either the
sender sees a halt, or the halt sees the sender. A process that dies anywhere leaves an order that ``bots/sweep.py`` resolves
by asking the venue; nothing is ever sent a second time.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.utils import timezone

from audit.log import current_unit, unit
from audit.models import EventKind
from bots import telling
from bots.accounts import AccountBooks, account_name, load_account_books
from bots.batch import RECENT, TICKING, BotBooks, load_books
from bots.brokers.base import Execution, OrderReport
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.executor import aftermath, steps
from bots.exposure import Market, gather_live
from bots.ledger import note_acceptance, note_rejection
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import Bot, BotStatus, Order
from bots.order_states import RESTING_STATES, VENUE_STATES, OrderStatus, may_follow, move
from bots.workers.leases import Fence, LeaseLost
from safety.intents import Denial, InstrumentRules, OrderIntent, Permit, Side

log = logging.getLogger(__name__)

#: How long a venue has to answer. A lease outlives it by far when it was just renewed (bots/workers/leases.py).
ANSWER_WITHIN = timedelta(seconds=4)
#: Only the sender ends SUBMITTING until so long after its deadline; then its outcome counts as UNKNOWN.
GRACE = timedelta(seconds=15)
#: What says that an order came to its venue.
AT_VENUE = VENUE_STATES - {OrderStatus.REJECTED}
#: A clock that is kept right moves back by less.
CLOCK_SET_BACK = timedelta(seconds=1)


class OpenTransactionError(RuntimeError):
    """A venue was to be asked inside a transaction: its locks would be held over the network."""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What a cancel came to: the order as it then stands, and whether the venue took the cancel."""

    order: Order
    was_taken: bool


def submit_to_venue(
    intent: OrderIntent, market: Market, *, fence: Fence | None = None, guard: Callable[[Bot], object] | None = None
) -> steps.Submission:
    """Take one intent through the gate to its venue, and return what became of it.

    The order may come back UNKNOWN: it was sent, and nobody knows yet what the venue did. It is sent once at most. A worker
    passes its lease's fence. ``guard`` is asked with the bot under its lock, right before the order is kept: whatever it raises
    goes on to the caller, and nothing was written or sent. Raises LeaseLost when the lease is gone (nothing is written then) and
    OpenTransactionError.
    """
    _refuse_open_transaction()
    claim = _claim(intent, market, fence, guard)
    order, permit = claim.order, claim.permit
    if permit is None:
        return steps.Submission(order, claim.denials)
    try:
        broker = broker_for(intent.venue, is_live=intent.is_live)
    except BrokerUnavailable as unavailable:
        code = "LIVE_GATE_CLOSED" if intent.is_live else "ACCOUNT_BLOCKED"
        return _deny(order, Denial(code, str(unavailable), "an account that can be asked", "not available"))
    denial = steps.second_look(order, intent, claim.held) or _clock_set_back(order) or _lease_too_short(order, fence)
    if denial is not None:
        return _deny(order, denial)
    try:
        report = broker.submit(intent, permit, _deadline(order))
    except Exception as error:  # the order may be at the venue
        # Whatever it was, the request may have left: what is not known is called UNKNOWN, and is looked up.
        log.exception("order %s: the broker failed while sending", intent.client_order_id)
        report = OrderReport(OrderStatus.UNKNOWN, reason=f"the send failed: {type(error).__name__}")
    if report.denial is not None and not report.was_sent:
        return _deny(order, report.denial)
    return steps.Submission(apply(order.pk, report, market.view.rules))


def cancel_at_venue(order_id: int, *, actor: str, reason: str, urgent: bool = False) -> Order:
    """Ask the venue to cancel a resting order, and return the order as it then stands.

    The venue may fill it after all, or not answer: then the order goes on as it is, with ``cancel_requested_at`` set, and
    the sweep asks again until a look-up shows what became of it. ``urgent`` goes before all other requests of the account. A
    cancel is never denied. Raises ExecutorError when the order no longer rests, BrokerUnavailable, and OpenTransactionError.
    """
    return ask_to_cancel(order_id, actor=actor, reason=reason, urgent=urgent).order


def ask_to_cancel(order_id: int, *, actor: str, reason: str, urgent: bool = False) -> CancelAnswer:
    """Do as ``cancel_at_venue`` does, and say also whether the venue took the cancel."""
    _refuse_open_transaction()
    with _locked(order_id) as (order, _):
        if order.status not in RESTING_STATES:
            raise steps.ExecutorError(f"order {order.client_order_id} is {order.status}: there is nothing to cancel")
        steps.request_cancel(order, timezone.now(), actor=actor, reason=reason)
    return carry_out_cancel(order, urgent=urgent)


def carry_out_cancel(order: Order, *, urgent: bool = False) -> CancelAnswer:
    """Send a cancel that was requested, and return the order as the venue then says it stands; as it was when nobody knows."""
    _refuse_open_transaction()
    broker = broker_for(order.venue, is_live=order.is_live)
    report = broker.cancel(steps.intent_of(order), order.venue_order_id, urgent=urgent)
    stored = order if report.status == OrderStatus.UNKNOWN else apply(order.pk, report)
    return CancelAnswer(stored, was_taken=report.cancel_taken or stored.status not in RESTING_STATES)


def apply(order_id: int, report: OrderReport, rules: InstrumentRules | None = None, *, adopt: bool = False) -> Order:
    """Write what the venue said of an order, in one transaction, and return the order as it then stands.

    Executions count once, and a state that is older than ours is no step back. ``rules`` are asked for when they are not given.
    ``adopt`` records that the order was found by looking for it; an order that was called NOT_SENT is adopted in any case, also
    when its own sender, frozen until now, sent it after all.
    """
    _refuse_open_transaction()
    rules = rules or _rules_of(order_id)
    with _locked(order_id) as (order, books):
        before, filled_before = order.status, order.filled_quantity
        adopt = adopt or (before == OrderStatus.NOT_SENT and report.status in AT_VENUE)
        if adopt and before in (OrderStatus.UNKNOWN, OrderStatus.NOT_SENT):
            steps.event(order, EventKind.ADOPTED, reason="found at the venue")
        order.venue_order_id = report.venue_order_id or order.venue_order_id
        # It is there: what did not find it before says nothing any more.
        order.missed_since, order.missed_at, order.empty_look_ups = None, None, 0
        for step in _advances(order, report):
            aftermath.cover_oversale(order, _fresh(order, step), books)
            # Only news: the sweep leaves an order alone that ended a while ago, and so must not make it look young again.
            order.updated_at = timezone.now()
            steps.book(order, step, books, rules)
        order.save()
        _note_outcome(before, order, books, report)
        if order.status == OrderStatus.REJECTED != before and report.was_sent:
            telling.tell_refused(order, books.bot, report.reason)
        _withdraw_unwanted(before, order, books.bot)
        has_filled = order.filled_quantity > filled_before
        aftermath.follow_up(before, order, books, rules, had_fills=has_filled, adopt=adopt)
        return order


def _advances(order: Order, report: OrderReport) -> Iterator[OrderReport]:
    """Yield the report, or the parts of it that the order can take one after another; nothing when it tells nothing new."""
    fresh = _fresh(order, report)
    ended = report.status == order.status and order.status in (OrderStatus.CANCELED, OrderStatus.EXPIRED)
    if fresh and ended:
        # A fill that was late: the order was filled first, and then it had ended.
        filled = order.filled_quantity + sum((one.quantity for one in fresh), Decimal(0))
        late = OrderStatus.FILLED if filled >= order.quantity else OrderStatus.PARTIALLY_FILLED
        yield replace(report, status=late)
        if late != OrderStatus.FILLED:
            yield replace(report, executions=())
    elif report.status == order.status and not fresh:
        # Told again what is known: no row in the audit for it.
        return
    elif may_follow(order.status, report.status):
        yield report
    else:
        log.warning("order %s is %s: the venue's %s is old", order.client_order_id, order.status, report.status)


def to_unknown(order_id: int, reason: str) -> Order:
    """Call an order UNKNOWN whose sender did not say what became of it. Nothing changes when somebody did meanwhile."""
    with _locked(order_id) as (order, _):
        if order.status == OrderStatus.SUBMITTING:
            order.status = move(order.status, OrderStatus.UNKNOWN)
            order.updated_at = timezone.now()
            order.save()
            steps.event(order, EventKind.UNKNOWN, reason=reason)
        return order


def to_not_sent(order_id: int, reason: str) -> Order:
    """Call an UNKNOWN order NOT_SENT, after whole look-ups over the whole window did not find it."""
    with _locked(order_id) as (order, _):
        if order.status == OrderStatus.UNKNOWN:
            order.status = move(order.status, OrderStatus.NOT_SENT)
            order.updated_at = timezone.now()
            order.save()
            steps.event(order, EventKind.NOT_SENT, reason=reason)
        return order


def end_missing(order: Order, *, actor: str, reason: str) -> None:
    """Call a resting order CANCELED that its venue does not have, as a person decided. In an audit unit, the order locked.

    Should it turn up all the same, its fills are booked late, and one that is open closes its symbol.
    """
    order.status = move(order.status, OrderStatus.CANCELED)
    order.updated_at = timezone.now()
    order.save()
    steps.event(order, EventKind.CANCELED, reason=reason, actor=actor)


@dataclass(frozen=True, slots=True)
class Claim:
    """What step 1 came to: the order as committed, the permit or every denial, and what the bot held."""

    order: Order
    permit: Permit | None = None
    denials: tuple[Denial, ...] = ()
    held: Decimal = Decimal(0)


def _claim(
    intent: OrderIntent, market: Market, fence: Fence | None, guard: Callable[[Bot], object] | None = None
) -> Claim:
    """Step 1, committed."""
    now = timezone.now()
    market = replace(market, view=replace(market.view, now=now))
    with unit() as opened:
        if fence is not None:
            opened.before_commit(fence.for_bot(intent.bot_id).check)
        # The account's lock comes before the bot's, and everything that is judged is read under both.
        account, books = _read(intent, since=min(now - RECENT, intent.created_at))
        standing = Order.objects.filter(client_order_id=intent.client_order_id).first()
        if standing is not None:
            return Claim(standing, denials=(steps.record_repeat(intent),))
        if guard is not None:
            guard(books.bot)
        order = steps.pending(intent, fence)
        steps.wish(order, market)
        gone = _no_longer_wanted(intent, books.bot, fence)
        if gone is not None:
            return Claim(steps.deny(order, (gone,)).order, denials=(gone,))
        exposure = gather_live(books, account, intent, market, now=now)
        decision = steps.claim(order, intent, exposure, steps.Desk.read([intent.bot_id]), now)
        if decision.permit is None:
            return Claim(steps.deny(order, decision.denials).order, denials=decision.denials)
        order.deadline_at = now + ANSWER_WITHIN
        order.save()
        return Claim(order, decision.permit, held=books.position.quantity)


def _read(intent: OrderIntent, since: datetime) -> tuple[AccountBooks, BotBooks]:
    account = load_account_books(account_name(intent.venue, is_live=intent.is_live), since, lock=True)
    return account, load_books([intent.bot_id], since, lock=True, is_live=intent.is_live)[intent.bot_id]


def _no_longer_wanted(intent: OrderIntent, bot: Bot, fence: Fence | None) -> Denial | None:
    """Deny what a bot's tick decided before the bot was stopped, or moved: the tick has let its lock go. Under the bot's lock."""
    if not intent.is_live and (bot.is_live or not bot.trades_at_venue):
        # A live order of a bot that is on paper by now meets the live gate.
        return Denial(
            "INTENT_EXPIRED", "The bot trades elsewhere since a moment ago.", "the venue's paper account", "left"
        )
    if bot.status in TICKING or (fence is None and bot.status != BotStatus.ARCHIVED):
        return None
    return Denial("INTENT_EXPIRED", "The bot was stopped while the order was prepared.", "running", bot.status)


def _withdraw_unwanted(before: str, order: Order, bot: Bot) -> None:
    """Request the cancel of an order that comes to rest after its bot was stopped, or, if it buys, after it was paused.

    Whoever stopped the bot cancelled what rested then; this one was still on its way.
    """
    if before not in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN) or order.status not in RESTING_STATES:
        return
    # What a person orders of a stopped bot is meant to rest.
    is_of_tick = bot.status not in TICKING and order.actor == f"bot:{bot.pk}"
    if is_of_tick or (bot.status == BotStatus.PAUSED and order.side == Side.BUY):
        reason = f"the bot was {bot.status} while the order was on its way"
        steps.request_cancel(order, timezone.now(), actor="worker", reason=reason)


def _clock_set_back(order: Order) -> Denial | None:
    """Deny when the deadline is further ahead than it can be: the clock was set back, and the venue could take the order late."""
    if _deadline(order) - timezone.now() <= ANSWER_WITHIN + CLOCK_SET_BACK:
        return None
    return Denial("INTENT_EXPIRED", "The clock was set back while the order was prepared.", "5 s", "not known")


def _lease_too_short(order: Order, fence: Fence | None) -> Denial | None:
    """Deny when the lease might end before the venue has to have answered: another worker could send meanwhile."""
    try:
        holds = fence is None or fence.for_bot(order.bot_id or 0).outlives(_deadline(order))
    except LeaseLost:
        holds = False
    if holds:
        return None
    return Denial("INTENT_EXPIRED", "The worker's lease could end before the venue answers.", "held", "running out")


def _deny(order: Order, denial: Denial) -> steps.Submission:
    with _locked(order.pk) as (stored, _):
        if stored.status != OrderStatus.SUBMITTING:
            # The sender was frozen so long that the sweep has called it UNKNOWN: then a search has to settle it.
            return steps.Submission(stored, (denial,))
        return steps.deny(stored, (denial,))


def _deadline(order: Order) -> datetime:
    if order.deadline_at is None:
        raise steps.ExecutorError(f"order {order.client_order_id} has no deadline: it was never claimed for a venue")
    return order.deadline_at


@contextmanager
def _locked(order_id: int) -> Iterator[tuple[Order, BotBooks]]:
    """Open a unit and give the order, read under its bot's lock, with the books it trades in."""
    with unit():
        bot_id, is_live = Order.objects.values_list("bot_id", "is_live").get(pk=order_id)
        since = timezone.now() - RECENT
        # The book of the order, whatever the bot trades in now.
        books = load_books([bot_id or 0], since, lock=True, is_live=is_live)[bot_id or 0]
        order = Order.objects.select_for_update().get(pk=order_id)
        yield order, books


def _fresh(order: Order, report: OrderReport) -> list[Execution]:
    """Return the report's executions that are not in the books yet."""
    known = set(order.fills.values_list("trade_id", flat=True))
    return [execution for execution in report.executions if execution.trade_id not in known]


def _rules_of(order_id: int) -> InstrumentRules:
    """Return the rules of an order's symbol. When nobody can tell them, nothing that is left counts as dust."""
    order = Order.objects.get(pk=order_id)
    try:
        return feed_for(order.venue).rules(order.symbol)
    except MarketDataError:
        least = Decimal("1e-18")
        return InstrumentRules(order.venue, order.symbol, "USD", least, least, least, Decimal(0))


def _note_outcome(before: str, order: Order, books: BotBooks, report: OrderReport) -> None:
    """Count what the venue took or refused. A venue that was not reached has done neither."""
    if before != OrderStatus.SUBMITTING or not report.was_sent:
        return
    if order.status == OrderStatus.REJECTED:
        note_rejection(books.position)
    elif order.status != OrderStatus.UNKNOWN:
        note_acceptance(books.position)


def _refuse_open_transaction() -> None:
    if current_unit() is not None or connection.in_atomic_block:
        raise OpenTransactionError("a venue can't be asked inside a transaction")
