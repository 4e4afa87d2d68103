"""Paper orders: built in, without a network.

The four steps share the caller's transaction: nothing of an order is seen until all of it is committed, and a process killed
anywhere in between leaves nothing behind. Every function here must run in an audit unit with the bot's row locked. A worker
passes its lease's fence, whose check it has put before the commit of the same unit.
"""

from datetime import datetime, timedelta

from audit.models import EventKind
from bots import telling
from bots.batch import BotBooks
from bots.brokers.base import MarketView, OrderReport, RestingOrder
from bots.brokers.paper import PaperBroker
from bots.executor import steps
from bots.exposure import Market, gather
from bots.market_data.feeds import feed_for
from bots.models import Order
from bots.order_states import RESTING_STATES, OrderStatus, move
from bots.workers.leases import Fence
from safety.controls.base import StateReading
from safety.intents import Level, OrderIntent, Side

# No batch waits for its locks for so long: an order that was tried further ahead was so before the clock was set back.
LOOK_AHEAD_MAX = timedelta(minutes=1)


def submit(
    intent: OrderIntent, books: BotBooks, market: Market, desk: steps.Desk, *, fence: Fence | None = None
) -> steps.Submission:
    """Take one intent through the gate to its broker, and return what became of it.

    When this client order id was used before, the first order stands, untouched, and the attempt is denied and audited.
    ``books`` must be locked, and hold every order since the tick was due. Raises LeaseLost for a shard that is not held.
    """
    if any(one.client_order_id == intent.client_order_id for one in books.orders):
        standing = Order.objects.get(client_order_id=intent.client_order_id)
        return steps.Submission(standing, (steps.record_repeat(intent),))
    order = steps.pending(intent, fence)
    steps.wish(order, market)
    # The order itself is not among the books yet: what it would reserve must not count against it.
    exposure = gather(books, intent, market, now=market.view.now)
    books.orders.append(order)
    decision = steps.claim(order, intent, exposure, desk, market.view.now)
    if decision.permit is None:
        return steps.deny(order, decision.denials)
    denial = steps.second_look(order, intent, books.position.quantity)
    if denial is not None:
        return steps.deny(order, (denial,))
    report = paper_broker(market).submit(intent, decision.permit, market.view)
    return steps.Submission(_settle(order, report, books, market.view))


def may_match(order: Order, state: StateReading) -> bool:
    """Return whether a resting paper order may fill now: while reducing only exits do, while halted only a flatten's own."""
    if state.level == Level.HALTED:
        return order.is_flatten and state.is_flattening
    return state.level == Level.ACTIVE or order.side == Side.SELL


def is_stranded(order: Order, now: datetime) -> bool:
    """Return whether an order was last tried before the clock was set back, and so must not wait for the clock to catch up."""
    return order.matched_until is not None and order.matched_until > now + LOOK_AHEAD_MAX


def match(order: Order, books: BotBooks, market: Market) -> Order:
    """Try a resting paper order against what was traded since it was last tried, and return it as it then stands.

    The caller asks ``may_match`` first, and calls ``pass_by`` when it says no.
    ``market.view.traded`` must cover the time from ``order.matched_until`` to ``market.view.now``.
    """
    if order.status not in RESTING_STATES:
        raise steps.ExecutorError(f"order {order.client_order_id} is {order.status}: only a resting order can match")
    if is_over(order, market.view.now):
        return expire(order, market.view.now)
    resting = RestingOrder(steps.intent_of(order), order.remaining_quantity, order.fills.count())
    report = paper_broker(market).match(resting, market.view)
    return _settle(order, report, books, market.view)


def is_over(order: Order, now: datetime) -> bool:
    """Return whether a paper order was for a day that has ended. Raises MarketDataError while nobody knows."""
    ends_at = feed_for(order.venue).day_ends(order.symbol, order.created_at)
    return ends_at is not None and now >= ends_at


def expire(order: Order, now: datetime) -> Order:
    """End a resting paper order since its day is over, as the venue ends its own, and return it. Its bot must be locked."""
    order.status, order.updated_at = move(order.status, OrderStatus.EXPIRED), now
    order.save()
    steps.event(order, EventKind.EXPIRED, reason="the session ended: orders in stocks are for the day")
    return order


def pass_by(order: Order, now: datetime) -> None:
    """Let what was traded until ``now`` pass by an order that may not fill: it must not fill on that when it may again."""
    order.matched_until = _looked_until(order, now)
    order.save(update_fields=["matched_until"])


def cancel(order: Order, now: datetime, *, actor: str, reason: str) -> Order:
    """Cancel a resting order and return it as it then stands. A cancel is never denied, and needs no market.

    For an order at a venue the cancel is only requested here, with the transaction: the sweep carries it out within seconds.
    """
    if order.status not in RESTING_STATES:
        raise steps.ExecutorError(f"order {order.client_order_id} is {order.status}: there is nothing to cancel")
    steps.request_cancel(order, now, actor=actor, reason=reason)
    if order.deadline_at is not None:
        return order
    report = PaperBroker.cancel(steps.intent_of(order))
    order.status = move(order.status, report.status)
    order.updated_at = now
    order.save()
    steps.event(order, EventKind.CANCELED, reason=reason, actor=actor)
    return order


def paper_broker(market: Market) -> PaperBroker:
    """Return the built-in paper broker with this market's fees."""
    return PaperBroker(market.fees)


def _settle(order: Order, report: OrderReport, books: BotBooks, view: MarketView) -> Order:
    """Step 4: what the broker said, to the order, the ledger and the audit, in one transaction."""
    order.venue_order_id = report.venue_order_id or order.venue_order_id
    order.matched_until = _looked_until(order, view.now)
    order.updated_at = view.now
    if report.status == order.status and not report.executions:
        order.save(update_fields=["matched_until"])
        return order
    steps.book(order, report, books, view.rules)
    if order.status == OrderStatus.REJECTED:
        telling.tell_refused(order, books.bot, report.reason)
    return order


def _looked_until(order: Order, now: datetime) -> datetime:
    """Return until when the market was tried. A batch that waited for the lock looks from an older moment than the last one."""
    if order.matched_until is None or is_stranded(order, now):
        return now
    return max(now, order.matched_until)
