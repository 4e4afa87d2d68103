"""The steps that every order takes, whoever fills it: the claim through the gate, the second look, and the audit rows.

Everything here but ``second_look`` runs in an audit unit with the bot's row locked.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from audit.decimals import decimal_text
from audit.log import OrderEventRecord, record
from audit.models import EventKind, OrderEvent
from bots import ledger
from bots.batch import BotBooks
from bots.brokers.base import Execution, OrderReport
from bots.exposure import Market
from bots.models import Order
from bots.order_states import LATE_FILLS, OrderStatus, move
from bots.workers.leases import Fence
from safety.gate import evaluate
from safety.intents import Decision, Denial, Exposure, InstrumentRules, Level, OrderIntent, OrderType, Side
from safety.kill_switch import StateBook, read_state
from safety.limits import LimitBook

SEND_WITHIN = timedelta(seconds=5)
#: What an attempt to use a client order id again is told.
REPEATED = Denial("DUPLICATE_ORDER", "This leg of this tick was ordered before.", "once", "again")


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


def pending(intent: OrderIntent, fence: Fence | None) -> Order:
    """Return the order of an intent, not saved and PENDING."""
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
        is_flatten=intent.is_flatten,
        reduce_only=intent.reduce_only,
        is_entry=intent.side == Side.BUY,
        leg=intent.leg,
        reason=intent.reason[:300],
        actor=intent.actor,
        fence_token="" if fence is None else fence.for_bot(intent.bot_id).token,
        created_at=intent.created_at,
        updated_at=intent.created_at,
    )


def wish(order: Order, market: Market) -> None:
    """Record the intent, before anything is decided about it."""
    quote = market.view.quote
    # As text: a quote that is no number has to reach the gate's "no", and the audit.
    details: dict[str, object] = {
        "leg": order.leg,
        "bid": _figure(quote.bid),
        "ask": _figure(quote.ask),
        "quote_source": quote.source,
    }
    event(order, EventKind.INTENT, reason=order.reason, details=details)


def claim(order: Order, intent: OrderIntent, exposure: Exposure, desk: Desk, now: datetime) -> Decision:
    """Step 1: the gate's decision on figures that were read under the bot's lock. A permit makes the order SUBMITTING."""
    limits = desk.limits.for_bot(intent.bot_id, is_live=intent.is_live)
    decision = evaluate(intent, exposure, limits, desk.states.reading(intent.venue, intent.bot_id), now=now)
    if decision.permit is not None:
        order.status = move(order.status, OrderStatus.SUBMITTING)
        order.submitting_at = now
        event(order, EventKind.SUBMITTING)
    return decision


def second_look(order: Order, intent: OrderIntent, held: Decimal) -> Denial | None:
    """Steps 2 and 3 before the send: the state once more, and the age of the claim. ``held`` is the position's quantity."""
    state = read_state(intent.venue, intent.bot_id)
    is_exit = intent.side == Side.SELL and intent.quantity <= held
    passes = is_exit and (state.level == Level.REDUCING or (intent.is_flatten and state.is_flattening))
    if state.level != Level.ACTIVE and not passes:
        why = "; ".join(state.reasons)
        return Denial("KILL_SWITCH", f"Trading was stopped while the order was prepared: {why}.", "active", state.level)
    if order.submitting_at is None or timezone.now() - order.submitting_at > SEND_WITHIN:
        return Denial("INTENT_EXPIRED", "The order was claimed too long ago to be sent now.", "5 s", "older")
    return None


def deny(order: Order, denials: tuple[Denial, ...]) -> Submission:
    """Write that the order is DENIED, with every reason."""
    order.status = move(order.status, OrderStatus.DENIED)
    order.save()
    codes = ", ".join(denial.code for denial in denials)
    event(order, EventKind.DENIED, reason=codes, details={"reasons": [denial.as_dict() for denial in denials]})
    return Submission(order, denials)


def book(order: Order, report: OrderReport, books: BotBooks, rules: InstrumentRules) -> None:
    """Step 4: what the broker said, to the order, the ledger and the audit. The order is saved."""
    if report.status != order.status or report.executions:
        order.status = move(order.status, report.status)
    fresh = ledger.record_executions(order, report.executions, books, rules)
    for execution in fresh:
        fill_event(order, execution)
    if not fresh or order.status not in LATE_FILLS:
        event(order, EventKind(order.status), reason=report.reason)


def denials_of(order: Order) -> tuple[Denial, ...]:
    """Return every reason why a DENIED order was denied, from its audit row; none for an order that was not."""
    if order.status != OrderStatus.DENIED:
        return ()
    rows = OrderEvent.objects.filter(client_order_id=order.client_order_id, event=EventKind.DENIED).order_by("id")
    told = [tuple(Denial(**reason) for reason in row.details["reasons"]) for row in rows]
    # An attempt to use the id again has a row of its own.
    return next((denials for denials in told if denials != (REPEATED,)), ())


def request_cancel(order: Order, now: datetime, *, actor: str, reason: str) -> None:
    """Record that somebody wants a resting order gone. Asking again changes nothing."""
    if order.cancel_requested_at is None:
        order.cancel_requested_at = now
        order.save(update_fields=["cancel_requested_at"])
        event(order, EventKind.CANCEL_REQUESTED, reason=reason, actor=actor)


def fill_event(order: Order, execution: Execution) -> None:
    """Record one execution."""
    done = order.status == OrderStatus.FILLED
    event(
        order,
        EventKind.FILLED if done else EventKind.PARTIALLY_FILLED,
        price=execution.price,
        amount=execution.quantity,
        details={"trade_id": execution.trade_id, "fee": execution.fee, "is_maker": execution.is_maker},
    )


def _figure(value: Decimal) -> str:
    return decimal_text(value) if value.is_finite() else str(value)


def record_repeat(intent: OrderIntent) -> Denial:
    """Audit an attempt to use a client order id again. The standing order is left as it is."""
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
            reason=REPEATED.code,
            is_live=intent.is_live,
            actor=intent.actor,
            details={"reasons": [REPEATED.as_dict()]},
        )
    )
    return REPEATED


def event(
    order: Order,
    kind: EventKind,
    *,
    reason: str = "",
    actor: str | None = None,
    price: Decimal | None = None,
    amount: Decimal | None = None,
    details: dict[str, object] | None = None,
) -> None:
    """Record what happened to an order, as it now stands."""
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
            event=kind,
            status=order.status,
            reason=reason,
            is_live=order.is_live,
            actor=order.actor if actor is None else actor,
            details=details or {},
        )
    )


def intent_of(order: Order) -> OrderIntent:
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
        is_flatten=order.is_flatten,
    )
