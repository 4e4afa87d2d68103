"""The executor: the one place that sends orders and cancels. DESIGN: how an order travels.

A built-in paper order has no network, so its four steps share the caller's transaction: nothing of it is seen until all of it
is committed, and a process killed anywhere in between leaves nothing behind. Every function here must run in an audit unit
with the bot's row locked. A worker passes its lease's fence, whose check it has put before the commit of the same unit.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OrderEventRecord, record
from audit.models import EventKind
from bots import ledger
from bots.batch import BotBooks
from bots.brokers.base import Execution, MarketView, OrderReport, RestingOrder
from bots.brokers.paper import PaperBroker
from bots.exposure import Market, gather
from bots.models import Order
from bots.order_states import RESTING_STATES, OrderStatus, move
from bots.workers.leases import Fence
from safety.controls.base import StateReading
from safety.gate import evaluate
from safety.intents import Decision, Denial, Level, OrderIntent, OrderType, Side
from safety.kill_switch import StateBook, read_state
from safety.limits import LimitBook

SEND_WITHIN = timedelta(seconds=5)
# No batch waits for its locks for so long: an order that was tried further ahead was so before the clock was set back.
LOOK_AHEAD_MAX = timedelta(minutes=1)


class ExecutorError(Exception):
    """The executor was used in a way that could break a promise; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of an intent: its order as it now stands, and every reason when it was denied."""

    order: Order
    denials: tuple[Denial, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Return whether this intent was denied; a standing order that it repeats may well have been filled."""
        return bool(self.denials)


@dataclass(frozen=True, slots=True)
class Desk:
    """What binds every order of one transaction, read at its beginning: the trading states and the limits."""

    states: StateBook
    limits: LimitBook

    @classmethod
    def read(cls, bot_ids: Collection[int]) -> "Desk":
        """Read the states and the limits of these bots as they stand now."""
        return cls(StateBook.read(), LimitBook.read(bot_ids))


def submit(
    intent: OrderIntent, books: BotBooks, market: Market, desk: Desk, *, fence: Fence | None = None
) -> Submission:
    """Take one intent through the gate to its broker, and return what became of it.

    When this client order id was used before, the first order stands, untouched, and the attempt is denied and audited.
    ``books`` must be locked, and hold every order since the tick was due. Raises LeaseLost for a shard that is not held.
    """
    standing = next((one for one in books.orders if one.client_order_id == intent.client_order_id), None)
    if standing is not None:
        return Submission(standing, (_record_repeat(intent),))
    order = _pending(intent, fence)
    books.orders.append(order)
    decision = _claim(order, intent, books, market, desk)
    if decision.permit is None:
        return _deny(order, decision.denials)
    denial = _second_look(order, intent, books)
    if denial is not None:
        return _deny(order, (denial,))
    report = paper_broker(market).submit(intent, decision.permit, market.view)
    return Submission(_settle(order, report, books, market.view))


def may_match(order: Order, state: StateReading) -> bool:
    """Return whether a resting paper order may fill now: while reducing only exits do, while halted nothing does."""
    return state.level == Level.ACTIVE or (state.level == Level.REDUCING and order.side == Side.SELL)


def is_stranded(order: Order, now: datetime) -> bool:
    """Return whether an order was last tried before the clock was set back, and so must not wait for the clock to catch up."""
    return order.matched_until is not None and order.matched_until > now + LOOK_AHEAD_MAX


def match(order: Order, books: BotBooks, market: Market) -> Order:
    """Try a resting paper order against what was traded since it was last tried, and return it as it then stands.

    The caller asks ``may_match`` first, and calls ``pass_by`` when it says no.
    ``market.view.traded`` must cover the time from ``order.matched_until`` to ``market.view.now``.
    """
    if order.status not in RESTING_STATES:
        raise ExecutorError(f"order {order.client_order_id} is {order.status}: only a resting order can match")
    resting = RestingOrder(_intent_of(order), order.remaining_quantity, order.fills.count())
    report = paper_broker(market).match(resting, market.view)
    return _settle(order, report, books, market.view)


def pass_by(order: Order, now: datetime) -> None:
    """Let what was traded until ``now`` pass by an order that may not fill: it must not fill on that when it may again."""
    order.matched_until = _looked_until(order, now)
    order.save(update_fields=["matched_until"])


def cancel(order: Order, now: datetime, *, actor: str, reason: str) -> Order:
    """Cancel a resting order and return it as it then stands. A cancel is never denied, and needs no market."""
    if order.status not in RESTING_STATES:
        raise ExecutorError(f"order {order.client_order_id} is {order.status}: there is nothing to cancel")
    order.cancel_requested_at = now
    _event(order, EventKind.CANCEL_REQUESTED, reason=reason, actor=actor)
    report = PaperBroker.cancel(_intent_of(order))
    order.status = move(order.status, report.status)
    order.updated_at = now
    order.save()
    _event(order, EventKind.CANCELED, reason=reason, actor=actor)
    return order


def paper_broker(market: Market) -> PaperBroker:
    """Return the built-in paper broker with this market's fees."""
    return PaperBroker(market.fees)


def _pending(intent: OrderIntent, fence: Fence | None) -> Order:
    return Order(
        client_order_id=intent.client_order_id,
        bot_id=intent.bot_id,
        venue=intent.venue,
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type,
        status=OrderStatus.PENDING,
        quantity=intent.quantity,
        limit_price=intent.limit_price,
        is_live=intent.is_live,
        reduce_only=intent.reduce_only,
        is_entry=intent.side == Side.BUY,
        leg=intent.leg,
        reason=intent.reason[:300],
        actor=intent.actor,
        fence_token="" if fence is None else fence.for_bot(intent.bot_id).token,
        created_at=intent.created_at,
        updated_at=intent.created_at,
    )


def _claim(order: Order, intent: OrderIntent, books: BotBooks, market: Market, desk: Desk) -> Decision:
    """Step 1: the intent row, and the gate's decision on figures that were read under the bot's lock."""
    now, quote = market.view.now, market.view.quote
    _event(
        order,
        EventKind.INTENT,
        reason=intent.reason,
        # As text: a quote that is no number has to reach the gate's "no", and the audit.
        details={"leg": intent.leg, "bid": _figure(quote.bid), "ask": _figure(quote.ask), "quote_source": quote.source},
    )
    # The order itself is pending: what it would reserve must not count against it.
    others = replace(books, orders=books.orders[:-1])
    exposure = gather(others, intent, market, now=now)
    limits = desk.limits.for_bot(books.bot.pk, is_live=intent.is_live)
    decision = evaluate(intent, exposure, limits, desk.states.reading(intent.venue, intent.bot_id), now=now)
    if decision.permit is not None:
        order.status = move(order.status, OrderStatus.SUBMITTING)
        order.submitting_at = now
        _event(order, EventKind.SUBMITTING)
    return decision


def _second_look(order: Order, intent: OrderIntent, books: BotBooks) -> Denial | None:
    """Steps 2 and 3 before the send: the state once more, and the age of the claim. The lease is checked at the commit."""
    state = read_state(intent.venue, intent.bot_id)
    is_exit = intent.side == Side.SELL and intent.quantity <= books.position.quantity
    if state.level == Level.HALTED or (state.level == Level.REDUCING and not is_exit):
        why = "; ".join(state.reasons)
        return Denial("KILL_SWITCH", f"Trading was stopped while the order was prepared: {why}.", "active", state.level)
    if order.submitting_at is None or timezone.now() - order.submitting_at > SEND_WITHIN:
        return Denial("INTENT_EXPIRED", "The order was claimed too long ago to be sent now.", "5 s", "older")
    return None


def _deny(order: Order, denials: tuple[Denial, ...]) -> Submission:
    order.status = move(order.status, OrderStatus.DENIED)
    order.save()
    codes = ", ".join(denial.code for denial in denials)
    _event(order, EventKind.DENIED, reason=codes, details={"reasons": [denial.as_dict() for denial in denials]})
    return Submission(order, denials)


def _settle(order: Order, report: OrderReport, books: BotBooks, view: MarketView) -> Order:
    """Step 4: what the broker said, to the order, the ledger and the audit, in one transaction."""
    order.venue_order_id = report.venue_order_id or order.venue_order_id
    order.matched_until = _looked_until(order, view.now)
    order.updated_at = view.now
    if report.status == order.status and not report.executions:
        order.save(update_fields=["matched_until"])
        return order
    order.status = move(order.status, report.status)
    fresh = ledger.record_executions(order, report.executions, books, view.rules)
    for execution in fresh:
        _fill_event(order, execution)
    if not fresh:
        _event(order, EventKind(order.status), reason=report.reason)
    return order


def _looked_until(order: Order, now: datetime) -> datetime:
    """Return until when the market was tried. A batch that waited for the lock looks from an older moment than the last one."""
    if order.matched_until is None or is_stranded(order, now):
        return now
    return max(now, order.matched_until)


def _fill_event(order: Order, execution: Execution) -> None:
    done = order.status == OrderStatus.FILLED
    _event(
        order,
        EventKind.FILLED if done else EventKind.PARTIALLY_FILLED,
        price=execution.price,
        amount=execution.quantity,
        details={"trade_id": execution.trade_id, "fee": execution.fee, "is_maker": execution.is_maker},
    )


def _figure(value: Decimal) -> str:
    return decimal_text(value) if value.is_finite() else str(value)


def _record_repeat(intent: OrderIntent) -> Denial:
    """Audit an attempt to use a client order id again. The standing order is left as it is."""
    denial = Denial("DUPLICATE_ORDER", "This leg of this tick was ordered before.", "once", "again")
    record(
        OrderEventRecord(
            bot_id=intent.bot_id,
            client_order_id=intent.client_order_id,
            venue=intent.venue,
            symbol=intent.symbol,
            side=intent.side,
            ord_type=intent.type,
            price=intent.limit_price,
            amount=intent.quantity,
            event=EventKind.DENIED,
            status=OrderStatus.DENIED,
            reason=denial.code,
            is_live=intent.is_live,
            actor=intent.actor,
            details={"reasons": [denial.as_dict()]},
        )
    )
    return denial


def _event(
    order: Order,
    event: EventKind,
    *,
    reason: str = "",
    actor: str | None = None,
    price: Decimal | None = None,
    amount: Decimal | None = None,
    details: dict[str, object] | None = None,
) -> None:
    record(
        OrderEventRecord(
            bot_id=order.bot_id,
            client_order_id=order.client_order_id,
            venue=order.venue,
            symbol=order.symbol,
            side=order.side,
            ord_type=order.type,
            price=order.limit_price if price is None else price,
            amount=order.quantity if amount is None else amount,
            venue_order_id=order.venue_order_id,
            event=event,
            status=order.status,
            reason=reason,
            is_live=order.is_live,
            actor=order.actor if actor is None else actor,
            details=details or {},
        )
    )


def _intent_of(order: Order) -> OrderIntent:
    """Return the intent that a stored order came from, as a broker has to see it."""
    return OrderIntent(
        client_order_id=order.client_order_id,
        bot_id=order.bot_id or 0,
        venue=order.venue,
        symbol=order.symbol,
        side=Side(order.side),
        type=OrderType(order.type),
        quantity=order.quantity,
        limit_price=order.limit_price,
        reduce_only=order.reduce_only,
        is_live=order.is_live,
        created_at=order.created_at,
        leg=order.leg,
        reason=order.reason,
        actor=order.actor,
    )
