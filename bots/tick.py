"""A tick: what the bots that are due see, what their strategies propose, and what becomes of it.

Bots of one batch share the markets and the queries. They are first looked at without any lock; only those that want to act
are locked, read again and judged again, and then act, each in a savepoint of its own. A bot that fails is paused and
touches no other.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from django.db import DataError, IntegrityError
from django.db import Error as DatabaseFault

from audit.log import Unit, unit
from audit.records import bounded
from bots import decisions, executor, manager
from bots.batch import RECENT, TICKING, BotBooks, load_books
from bots.blocks import Block
from bots.dispatch import lines
from bots.exposure import Market
from bots.intelligence.values import Assessment
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import Bot, BotTick, Deal, Order
from bots.order_ids import installation_id, tick_order_id
from bots.order_states import RESTING_STATES
from bots.proposals import filtered, order_market, propose, waits_for, wants_match
from bots.shortages import really_there
from bots.strategies.base import CancelProposal, Proposal
from bots.thoughts import Thoughts, left_by, thought_blocks
from bots.workers.leases import Fence, LeaseLost
from bots.workers.schedule import DueTick, ScheduledBot
from safety.controls.base import StateReading
from safety.intents import OrderIntent, Side
from safety.kill_switch import StateBook

log = logging.getLogger(__name__)
LOGGED_MAX = 10_000
_logged: dict[int, str] = {}
NOTE_TEXT_MAX = 300
BLOCK_TEXT_MAX = 500


@dataclass(slots=True)
class Outcome:
    """What one bot's tick came to."""

    due: DueTick
    note: str = ""
    blocks: list[Block] = field(default_factory=list)
    acts: bool = False
    error: Exception | None = None
    errand: "Errand | None" = None
    peak: tuple[int, Decimal] | None = None
    thought: Assessment | None = None
    is_acted_on: bool = False


@dataclass(slots=True)
class Errand:
    """What one bot's tick wants of its venue: to be done after the batch has committed, outside any transaction."""

    books: BotBooks
    market: Market
    cancels: list[tuple[int, str]] = field(default_factory=list)
    orders: list[tuple[Proposal, OrderIntent]] = field(default_factory=list)

    def run(self, fence: Fence) -> None:
        """Cancel and send, one after another. A denial holds its leg off for a while."""
        for order_id, reason in self.cancels:
            executor.cancel_at_venue(order_id, actor=f"bot:{self.books.bot.pk}", reason=reason)
        for proposal, intent in self.orders:
            submission = executor.submit_to_venue(intent, self.market, fence=fence)
            if submission.is_denied:
                self.books.hold_off(proposal, intent.created_at)


def load_schedule(shards: Collection[int], shard_count: int) -> list[ScheduledBot]:
    """Return the running and paused bots of these shards; paused ones tick too, since their exits are managed."""
    rows = Bot.objects.filter(status__in=TICKING).values_list("pk", "poll_seconds", "revision", "tick__due_at")
    return [ScheduledBot(*row) for row in rows if row[0] % shard_count in shards]


def tick_batch(ticks: Sequence[DueTick], fence: Fence, now: datetime) -> None:
    """Tick these bots. All that is written commits at once, and only while the fence's leases are held (LeaseLost)."""
    moment = Moment(now)
    states = StateBook.read()
    # A repeat of a tick has to see what its first run ordered, and that was not before the tick was due.
    since = min(now - RECENT, *(tick.due_at for tick in ticks))
    books = load_books([tick.bot_id for tick in ticks], since)
    thoughts = Thoughts(moment, books)
    outcomes = [_look(books[tick.bot_id], tick, thoughts, states) for tick in ticks if tick.bot_id in books]
    with unit() as audit_unit:
        audit_unit.before_commit(fence.check)
        _act_all(audit_unit, [one for one in outcomes if one.acts], thoughts, since, fence)
        for outcome in outcomes:
            if outcome.error is not None:
                _pause(audit_unit, outcome, now)
        _save(outcomes, now)
        kept = decisions.keep(_thoughts_of(outcomes), fence, now)
    decisions.remember(kept, fence)
    for outcome in outcomes:
        if outcome.errand is not None and outcome.error is None:
            _send_off(outcome.errand, fence)


def _send_off(errand: Errand, fence: Fence) -> None:
    """Hand an errand to a line of this process. Without a free one it is dropped: the next tick decides anew."""
    bot_id = errand.books.bot.pk
    own = fence.for_bot(bot_id)
    if not lines.send(bot_id, lambda: errand.run(own)):
        log.warning("bot %s: no line to its venue is free; its next tick decides anew", bot_id)


def _look(books: BotBooks, due: DueTick, thoughts: Thoughts, states: StateBook) -> Outcome:
    """Judge one bot without locks. An outcome that ``acts`` is judged again under the lock."""
    outcome = Outcome(due)
    with _blamed(outcome):
        _judge(outcome, books, thoughts, states)
    return outcome


@contextmanager
def _blamed(outcome: Outcome) -> Iterator[None]:
    """Keep what goes wrong inside with its bot. Faults of the database and lost leases concern every bot, and go on."""
    try:
        yield
    except MarketDataError as error:
        outcome.note = "no market data"
        outcome.blocks.append(Block("MARKET_DATA", bounded(str(error), BLOCK_TEXT_MAX)))
    except (IntegrityError, DataError) as error:
        # The database refused this bot's rows, and would refuse them again.
        outcome.error = error
    except (DatabaseFault, LeaseLost):
        raise
    except Exception as error:
        # Whatever a strategy does wrong stops its own bot and no other.
        if _is_news(outcome.due.bot_id, error):
            log.exception("bot %s: its tick failed", outcome.due.bot_id)
        outcome.error = error


def _is_news(bot_id: int, error: Exception) -> bool:
    """Return whether this bot's last fault was another one: the same need not fill the log at every tick."""
    text = repr(error)
    if _logged.get(bot_id) == text:
        return False
    if len(_logged) >= LOGGED_MAX:
        _logged.clear()
    _logged[bot_id] = text
    return True


def _judge(outcome: Outcome, books: BotBooks, thoughts: Thoughts, states: StateBook) -> None:
    if books.bot.status not in TICKING:
        outcome.note = "no longer running"
        return
    moment = thoughts.moment
    state = states.reading(books.bot.venue, books.bot.pk)
    waiting = waits_for(books, moment)
    kept = _wanted(outcome, books, thoughts, state, waiting)
    outcome.acts = bool(kept) or any(wants_match(order, books, moment) for order in books.open_orders)
    outcome.note = waiting.message if waiting is not None else "watching"
    deal = books.deal
    if deal is None or waiting is not None:
        return
    bid = moment.market(books.bot.venue, books.bot.symbol).view.quote.bid
    if deal.peak_price is None or bid > deal.peak_price:
        outcome.peak = (deal.pk, bid)


def _wanted(
    outcome: Outcome, books: BotBooks, thoughts: Thoughts, state: StateReading, waiting: Block | None
) -> list[Proposal | CancelProposal]:
    """Return what the bot may try now, and note what holds it back. While it waits its strategy is not asked."""
    moment = thoughts.moment
    if waiting is not None:
        kept, blocks = filtered([], books, state, moment.now)
        outcome.blocks = [waiting, *blocks]
        return kept
    thought = outcome.thought = thoughts.of(books, state)
    market = moment.market(books.bot.venue, books.bot.symbol)
    proposals = left_by(thought, propose(books, market, moment))
    kept, blocks = filtered(proposals, books, state, moment.now)
    outcome.blocks = [*blocks, *thought_blocks(thought)]
    return kept


def _act_all(unit_: Unit, acting: Sequence[Outcome], thoughts: Thoughts, since: datetime, fence: Fence) -> None:
    """Lock the bots that act, all in one go and by id, read them again, and let each act in a savepoint of its own."""
    if not acting:
        return
    bot_ids = [outcome.due.bot_id for outcome in acting]
    books = load_books(bot_ids, since, lock=True)
    desk = executor.Desk.read(bot_ids)
    for outcome in acting:
        if outcome.due.bot_id not in books or books[outcome.due.bot_id].bot.status not in TICKING:
            outcome.note = "no longer running"
            continue
        with _blamed(outcome), unit_.savepoint():
            _act(outcome, books[outcome.due.bot_id], thoughts, desk, fence)


def _act(outcome: Outcome, books: BotBooks, thoughts: Thoughts, desk: executor.Desk, fence: Fence) -> None:
    """Let resting orders meet the market, judge again on what is locked now, and do what is proposed then."""
    bot, moment = books.bot, thoughts.moment
    state = desk.states.reading(bot.venue, bot.pk)
    for order in books.open_orders:
        if order.matched_until is None or not wants_match(order, books, moment):
            continue
        if not executor.may_match(order, state):
            executor.pass_by(order, moment.now)
        else:
            executor.match(order, books, moment.market_since(bot.venue, bot.symbol, order.matched_until))
    waiting = waits_for(books, moment)
    kept = _wanted(outcome, books, thoughts, state, waiting)
    if bot.trades_at_venue:
        _plan_errand(kept, books, outcome, moment)
        return
    for proposal in kept:
        if isinstance(proposal, CancelProposal):
            _cancel(proposal, books, moment)
        else:
            _submit(proposal, books, outcome, moment, desk, fence)
    outcome.note = bounded("; ".join(proposal.reason for proposal in kept), NOTE_TEXT_MAX) or outcome.note


def _plan_errand(kept: Sequence[Proposal | CancelProposal], books: BotBooks, outcome: Outcome, moment: Moment) -> None:
    """Keep what the bot wants of its venue for after the commit. While an errand is under way it wants nothing more."""
    if not kept or lines.is_busy(books.bot.pk):
        return
    outcome.note = bounded("; ".join(proposal.reason for proposal in kept), NOTE_TEXT_MAX)
    errand = outcome.errand = Errand(books, order_market(books, moment))
    for proposal in kept:
        if not isinstance(proposal, CancelProposal):
            wanted = _intent(proposal, books, outcome, moment)
            if wanted.side == Side.SELL:
                rules = errand.market.view.rules
                wanted = replace(wanted, quantity=really_there(books.bot, wanted.quantity, rules))
            if not wanted.quantity:
                # Its shares were made fewer a moment ago, and none is left: the next tick says so.
                continue
            errand.orders.append((proposal, wanted))
            outcome.is_acted_on = True
            continue
        order = _resting(proposal, books)
        if order is not None and order.cancel_requested_at is None:
            errand.cancels.append((order.pk, proposal.reason))


def _submit(
    proposal: Proposal, books: BotBooks, outcome: Outcome, moment: Moment, desk: executor.Desk, fence: Fence
) -> None:
    intent = _intent(proposal, books, outcome, moment)
    outcome.is_acted_on = True
    submission = executor.submit(intent, books, order_market(books, moment), desk, fence=fence)
    if submission.is_denied:
        outcome.blocks.extend(map(Block.of, submission.denials))
        books.hold_off(proposal, moment.now)


def _intent(proposal: Proposal, books: BotBooks, outcome: Outcome, moment: Moment) -> OrderIntent:
    bot = books.bot
    return OrderIntent(
        client_order_id=tick_order_id(installation_id(), bot.pk, outcome.due.due_at, proposal.leg),
        bot_id=bot.pk,
        venue=bot.venue,
        symbol=bot.symbol,
        side=proposal.side,
        type=proposal.type,
        quantity=proposal.quantity,
        limit_price=proposal.limit_price,
        reduce_only=proposal.reduce_only,
        is_live=bot.is_live,
        created_at=moment.now,
        leg=proposal.leg,
        reason=proposal.reason,
        actor=f"bot:{bot.pk}",
    )


def _cancel(proposal: CancelProposal, books: BotBooks, moment: Moment) -> None:
    order = _resting(proposal, books)
    if order is not None:
        executor.cancel(order, moment.now, actor=f"bot:{books.bot.pk}", reason=proposal.reason)


def _resting(proposal: CancelProposal, books: BotBooks) -> Order | None:
    """Return the order that a strategy wants gone, if it still rests."""
    resting = (one for one in books.open_orders if one.status in RESTING_STATES)
    return next((one for one in resting if one.client_order_id == proposal.client_order_id), None)


def _thoughts_of(outcomes: Sequence[Outcome]) -> list[decisions.Thought]:
    """Return what was thought for the bots of these outcomes; a bot whose tick failed or that waits is left out."""
    return [
        decisions.Thought(one.due.bot_id, one.thought, one.is_acted_on)
        for one in outcomes
        if one.thought is not None and one.error is None
    ]


def _pause(unit_: Unit, outcome: Outcome, now: datetime) -> None:
    error = outcome.error
    if error is None:
        return
    outcome.note = "paused after an error"
    with unit_.savepoint():
        bot = Bot.objects.select_for_update(no_key=True).get(pk=outcome.due.bot_id)
        manager.pause_after_error(bot, error, actor="worker", now=now)


def _save(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Write when each bot ticked and what it said, in one statement, and the peaks of open deals."""
    ticks = [
        BotTick(
            bot_id=one.due.bot_id,
            due_at=one.due.due_at,
            ticked_at=now,
            note=one.note,
            blocked_by=[block.as_dict() for block in one.blocks],
        )
        for one in outcomes
    ]
    BotTick.objects.bulk_create(
        ticks,
        update_conflicts=True,
        unique_fields=["bot"],
        update_fields=["due_at", "ticked_at", "note", "blocked_by"],
    )
    for deal_id, peak_price in (one.peak for one in outcomes if one.peak is not None):
        Deal.objects.filter(pk=deal_id, closed_at__isnull=True).update(peak_price=peak_price)
