"""The paper twins of live orders: what the built-in paper broker makes of the same intent on the same quote. To compare only.

A round of its own reads which live orders were claimed, and from their audit rows on what quote: nothing here runs in the
way of an order, so it can neither delay nor fail one. A twin is no order: it has no position, no fill and no say anywhere.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext

from django.db import transaction

from audit.models import EventKind, OrderEvent
from bots.apart import apart
from bots.books import EXACT
from bots.brokers.base import MarketView, OrderReport, RestingOrder
from bots.brokers.fees import fees_for
from bots.brokers.paper import PaperBroker
from bots.executor import steps
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.models import Order, ShadowBot, ShadowOrder
from bots.order_states import OPEN_STATES, OrderStatus
from bots.workers.chores import chore
from safety.intents import OrderIntent, Quote

log = logging.getLogger(__name__)

#: A twin that would begin later than this after its order has missed too much of the market to be compared.
BEGIN_WITHIN = timedelta(minutes=1)
#: What filled the live order may be seen of the market only this much later: its twin is not to miss it.
SEEN_LATE = timedelta(seconds=5)
#: How many twins one round begins, and how many it follows.
ROUND_MAX = 50
NOTE_CHARS_MAX = 200
UNSENT = (OrderStatus.PENDING, OrderStatus.DENIED)


@chore(every_s=2)
def shadow(now: datetime) -> None:
    """Begin the twins of live orders that have none yet, and follow those that are not full."""
    begin(now)
    follow(now)


def begin(now: datetime) -> None:
    """Give a twin to each order that a shadowed bot sent lately. What it takes at once, it takes on the order's own quote."""
    for order in _without_twin(now):
        with apart(f"order {order.client_order_id}: its paper twin could not be begun"):
            _begin(order)


def follow(now: datetime) -> None:
    """Let the market meet the twins that rest, each until it is full or its live order is over."""
    resting = ShadowOrder.objects.filter(ended_at__isnull=True).select_related("order").order_by("matched_until")
    for twin in resting[:ROUND_MAX]:
        with apart(f"order {twin.order.client_order_id}: its paper twin could not be followed"):
            _follow(twin, now)


def _without_twin(now: datetime) -> Iterable[Order]:
    shadowed = dict(ShadowBot.objects.filter(is_on=True).values_list("bot_id", "since"))
    if not shadowed:
        return []
    lately = Order.objects.filter(
        bot_id__in=shadowed, is_live=True, created_at__gte=now - BEGIN_WITHIN, submitting_at__isnull=False,
        shadow__isnull=True,
    ).exclude(status__in=UNSENT)  # fmt: skip
    return [one for one in lately.order_by("id")[:ROUND_MAX] if one.created_at >= shadowed[one.bot_id or 0]]


@dataclass(frozen=True, slots=True)
class _Start:
    """What an order's twin begins with."""

    quote: Quote
    at: datetime


def _begin(order: Order) -> None:
    start = _start(order)
    if start is None:
        log.warning("order %s has no sound quote in its audit row: it gets no paper twin", order.client_order_id)
        return
    # Without what was traded: the live order did not wait for a share of it either.
    view = MarketView(now=start.at, quote=start.quote, rules=feed_for(order.venue).rules(order.symbol))
    report = _broker(order).would_do(_intent(order), view)
    with transaction.atomic():
        twin, is_new = ShadowOrder.objects.get_or_create(
            order=order,
            defaults={
                "bid": start.quote.bid,
                "ask": start.quote.ask,
                "started_at": start.at,
                "matched_until": start.at,
            },
        )
        if is_new:
            _book(twin, report, start.at)
            _end(twin, start.at, is_over=report.status == OrderStatus.REJECTED)
            twin.save()


def _start(order: Order) -> _Start | None:
    """Return the quote that the order was wanted on and when it was claimed, or None when its audit row has none."""
    row = (
        OrderEvent.objects.filter(client_order_id=order.client_order_id, event=EventKind.INTENT).order_by("id").first()
    )
    if row is None or order.submitting_at is None or not isinstance(row.details, dict):
        return None
    try:
        bid, ask = Decimal(str(row.details["bid"])), Decimal(str(row.details["ask"]))
    except (KeyError, InvalidOperation):
        return None
    if not (bid.is_finite() and ask.is_finite() and 0 < bid <= ask):
        return None
    source = str(row.details.get("quote_source", ""))
    return _Start(Quote(order.venue, order.symbol, bid, ask, order.submitting_at, source), order.submitting_at)


def _follow(seen: ShadowOrder, now: datetime) -> None:
    """Let what was traded meet a twin. Its market is asked for before anything is locked: a feed may go over the network."""
    order, since = seen.order, seen.matched_until
    over_at = _over_at(order)
    until = now if over_at is None else min(now, over_at)
    has_ended = over_at is not None and now >= over_at
    feed = feed_for(order.venue)
    try:
        quote, rules = feed.quote(order.symbol, now), feed.rules(order.symbol)
        traded = feed.traded(order.symbol, since, until) if until > since else None
    except MarketDataError as error:
        log.info("order %s: its paper twin waits for a market: %s", order.client_order_id, error)
        if has_ended:
            _close(order.pk, until)
        return
    with transaction.atomic():
        twin = ShadowOrder.objects.select_for_update().get(pk=order.pk)
        if twin.ended_at is not None or twin.matched_until != since:
            # Another worker was here: what was traded must not fill it twice.
            return
        resting = RestingOrder(_intent(order), order.quantity - twin.filled_quantity, twin.fills)
        _book(twin, _broker(order).match(resting, MarketView(until, quote, rules, traded)), until)
        twin.matched_until = max(since, until)
        _end(twin, until, is_over=has_ended)
        twin.save()


def _over_at(order: Order) -> datetime | None:
    """Return until when the market may meet the order's twin, or None while the live order is open."""
    if order.status in OPEN_STATES:
        return None
    return order.updated_at + (SEEN_LATE if order.status == OrderStatus.FILLED else timedelta(0))


def _close(order_id: int, at: datetime) -> None:
    """End a twin whose live order has ended, though there is no market to say what it would have got meanwhile."""
    ShadowOrder.objects.filter(pk=order_id, ended_at__isnull=True).update(
        ended_at=at, note="There were no market data when its live order ended."
    )


def _book(twin: ShadowOrder, report: OrderReport, at: datetime) -> None:
    """Add up what the twin got."""
    twin.note = report.reason[:NOTE_CHARS_MAX]
    after_s = Decimal((at - twin.started_at) // timedelta(microseconds=1)).scaleb(-6)
    with localcontext(EXACT):
        for one in report.executions:
            twin.filled_quantity += one.quantity
            twin.filled_notional += one.quantity * one.price
            twin.fees += one.fee
            twin.fill_unit_seconds += one.quantity * after_s
            twin.fills += 1


def _end(twin: ShadowOrder, at: datetime, *, is_over: bool) -> None:
    if is_over or twin.filled_quantity >= twin.order.quantity:
        twin.ended_at = at


def _intent(order: Order) -> OrderIntent:
    """Return the order as its twin: on paper, so that no code can take it for the live one."""
    return replace(steps.intent_of(order), is_live=False)


def _broker(order: Order) -> PaperBroker:
    return PaperBroker(fees_for(order.venue, order.symbol))
