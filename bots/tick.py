"""A tick: what the bots that are due see, what their strategies propose, and what becomes of it.

Bots of one batch share the markets and the queries. They are first looked at without any lock; only those that want to act
are locked, read again and judged again, each in a savepoint of its own. A bot that fails is paused and touches no other.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, DataError, IntegrityError

from audit.log import Unit, unit
from bots import executor, manager
from bots.batch import Batch, BotBooks
from bots.market_data.base import MarketDataError
from bots.markets import Moment
from bots.models import Bot, BotStatus, BotTick, Deal
from bots.order_ids import installation_id, tick_order_id
from bots.order_states import RESTING_STATES
from bots.proposals import Block, Wanted, filtered, propose, wants_match
from bots.strategies.base import CancelProposal, Proposal
from bots.workers.leases import Fence, LeaseLost
from bots.workers.schedule import DueTick, ScheduledBot
from safety.intents import OrderIntent
from safety.kill_switch import StateBook

log = logging.getLogger(__name__)
TICKING = (BotStatus.RUNNING, BotStatus.PAUSED)


@dataclass(slots=True)
class Outcome:
    """What one bot's tick came to."""

    due: DueTick
    note: str = ""
    blocks: list[Block] = field(default_factory=list)
    wanted: Wanted | None = None
    error: Exception | None = None
    peaked_deal: Deal | None = None


def load_schedule(shards: Collection[int], shard_count: int) -> list[ScheduledBot]:
    """Return the running and paused bots of these shards; paused ones tick too, since their exits are managed."""
    rows = Bot.objects.filter(status__in=TICKING).values_list("pk", "poll_seconds", "revision", "tick__due_at")
    return [ScheduledBot(*row) for row in rows if row[0] % shard_count in shards]


def tick_batch(ticks: Sequence[DueTick], fence: Fence, now: datetime) -> None:
    """Tick these bots. All that is written commits at once, and only while the fence's leases are held (LeaseLost)."""
    moment = Moment(now)
    batch = Batch.load([tick.bot_id for tick in ticks])
    states = StateBook.read()
    outcomes = [_look(batch.books[tick.bot_id], tick, moment, states) for tick in ticks if tick.bot_id in batch.books]
    with unit() as audit_unit:
        audit_unit.before_commit(fence.check)
        # By id, so that two transactions never wait for each other's bots.
        for outcome in sorted(outcomes, key=lambda one: one.due.bot_id):
            if outcome.wanted is not None:
                _act_guarded(audit_unit, outcome, moment, states, fence)
            if outcome.error is not None:
                _pause(audit_unit, outcome, now)
        _save(outcomes, now)


def _look(books: BotBooks, due: DueTick, moment: Moment, states: StateBook) -> Outcome:
    """Judge one bot without locks. An outcome with ``wanted`` asks to be judged again under the lock."""
    outcome = Outcome(due)
    try:
        _judge(outcome, books, moment, states)
    except MarketDataError as error:
        outcome.note = "no market data"
        outcome.blocks.append(Block("MARKET_DATA", str(error)))
    except Exception as error:
        # Whatever a strategy does wrong stops its own bot and no other.
        log.exception("bot %s: its tick failed", due.bot_id)
        outcome.error = error
    return outcome


def _judge(outcome: Outcome, books: BotBooks, moment: Moment, states: StateBook) -> None:
    market = moment.market(books.bot.venue, books.bot.symbol)
    proposals = propose(books, market, moment)
    state = states.reading(books.bot.venue, books.bot.pk)
    kept, outcome.blocks = filtered(proposals, books, state, moment.now)
    resting = [order for order in books.open_orders if wants_match(order, books, moment)]
    outcome.wanted = Wanted(kept) if kept or resting else None
    outcome.note = "acting" if outcome.wanted else "watching"
    deal = books.deal
    if deal is not None and (deal.peak_price is None or market.view.quote.bid > deal.peak_price):
        deal.peak_price = market.view.quote.bid
        outcome.peaked_deal = deal


def _act_guarded(unit_: Unit, outcome: Outcome, moment: Moment, states: StateBook, fence: Fence) -> None:
    try:
        with unit_.savepoint():
            _act(outcome, moment, states, fence)
    except (IntegrityError, DataError) as error:
        # The database refused this bot's rows: its savepoint is rolled back, the others go on.
        outcome.error = error
    except (DatabaseError, LeaseLost):
        raise
    except Exception as error:
        # As in _look: one bot's fault stays with it. Its savepoint is rolled back whole.
        log.exception("bot %s: its tick failed", outcome.due.bot_id)
        outcome.error = error


def _act(outcome: Outcome, moment: Moment, states: StateBook, fence: Fence) -> None:
    """Lock the bot, read it again, let resting orders meet the market, judge again, and do what is proposed then."""
    books = BotBooks.locked(outcome.due.bot_id)
    if books is None:
        outcome.note = "no longer running"
        return
    bot = books.bot
    for order in list(books.open_orders):
        if order.status in RESTING_STATES and order.matched_until is not None:
            executor.match(order, books.position, moment.market_since(bot.venue, bot.symbol, order.matched_until))
    books.reload_after_fills()
    market = moment.market(bot.venue, bot.symbol)
    kept, outcome.blocks = filtered(
        propose(books, market, moment), books, states.reading(bot.venue, bot.pk), moment.now
    )
    for proposal in kept:
        if isinstance(proposal, CancelProposal):
            _cancel(proposal, books, moment)
        else:
            _submit(proposal, books, outcome, moment, fence)
    outcome.note = "; ".join(proposal.reason for proposal in kept)[:300] or "watching"


def _submit(proposal: Proposal, books: BotBooks, outcome: Outcome, moment: Moment, fence: Fence) -> None:
    bot = books.bot
    intent = OrderIntent(
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
    submission = executor.submit(intent, bot, books.position, moment.market(bot.venue, bot.symbol), fence=fence)
    if submission.is_denied:
        outcome.blocks.extend(Block(denial.code, denial.message) for denial in submission.denials)
        books.hold_off(proposal, moment.now)


def _cancel(proposal: CancelProposal, books: BotBooks, moment: Moment) -> None:
    order = next((one for one in books.open_orders if one.client_order_id == proposal.client_order_id), None)
    if order is not None and order.status in RESTING_STATES:
        market = moment.market(books.bot.venue, books.bot.symbol)
        executor.cancel(order, market, actor=f"bot:{books.bot.pk}", reason=proposal.reason)


def _pause(unit_: Unit, outcome: Outcome, now: datetime) -> None:
    error = outcome.error
    if error is None:
        return
    outcome.note = "paused after an error"
    with unit_.savepoint():
        bot = Bot.objects.select_for_update().get(pk=outcome.due.bot_id)
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
    peaked = [one.peaked_deal for one in outcomes if one.peaked_deal is not None]
    for deal in peaked:
        Deal.objects.filter(pk=deal.pk, closed_at__isnull=True).update(peak_price=deal.peak_price)
