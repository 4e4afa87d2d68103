"""The sweep: what a send or a cancel left open is resolved by asking the venue, in small bounded rounds.

An order that its sender did not end by its deadline and a grace becomes UNKNOWN. An UNKNOWN one is looked up until it is found,
and adopted, or until three whole look-ups did not find it, the last of them well after the deadline: then it was NOT_SENT.
Cancels that were requested are sent, and sent again until the venue's record shows what became of the order. The fills of
resting orders are found by reconciliation, in one list for all; only where that has not been read for a while is each looked up
here. Nothing here sends an order.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.db.models import F, Q

from bots.apart import apart
from bots.brokers.base import LookUp
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.executor.steps import intent_of
from bots.executor.venue import GRACE, apply, carry_out_cancel, to_not_sent, to_unknown
from bots.models import AccountSync, Order
from bots.order_states import RESTING_STATES, OrderStatus
from bots.reconciliation import alarms, turns, vanished
from bots.telling import about_order
from bots.workers.chores import chore

log = logging.getLogger(__name__)

#: Whole look-ups that must not find an order, and how long after its deadline the last of them has to be.
EMPTY_LOOK_UPS_MIN = 3
NOT_SENT_AFTER = timedelta(seconds=60)
#: How often an order with an unknown outcome is looked up at first, until so long after its deadline: most are found at once.
UNKNOWN_EVERY, UNKNOWN_SOON_FOR = timedelta(seconds=5), timedelta(seconds=10)
#: And how often later. A whole search may count 7 at Kraken, whose smallest key regains 0.33 a second. Asked more often, each
#: search would use up what the next one needs: none would ever be whole, and no order could ever be called NOT_SENT.
UNKNOWN_AGAIN = timedelta(seconds=22)
#: Each look-up counts against the venue's limit: four resting orders would drain the smallest Kraken key at once every 10 s.
RESTING_EVERY = timedelta(seconds=30)
CANCEL_EVERY = timedelta(seconds=3)
#: And of an order that the venue does not have, as a person was told.
CANCEL_MISSING_EVERY = timedelta(seconds=30)
#: A venue may fill an order after it acknowledged the cancel: one that ended is looked up for so long.
LATE_FOR = timedelta(seconds=90)
#: Reconciliation lists the open orders every 10 s while any rest: so much later resting orders are looked up one by one.
LISTED_WITHIN = timedelta(seconds=45)
#: An outcome that is not known for so long is put before a person. Most are resolved before.
TELL_AFTER = timedelta(seconds=20)
#: How many orders one round looks up, so that it ends before the next is due.
ROUND_MAX = 5
#: How long a part of a round goes on asking a slow venue: the other chores, the kill switch's too, wait meanwhile.
PART_S = 3.0
ENDED = (OrderStatus.CANCELED, OrderStatus.EXPIRED)


@chore(every_s=2)
def sweep(now: datetime) -> None:
    """Do one round: give up on senders that did not answer, send the cancels that wait, then look up what is open."""
    end_overdue(now)
    tell_of_unknown(now)
    carry_out_cancels(now)
    _each(due_look_ups(now), lambda order: look_up(order, now))


def carry_out_cancels(now: datetime) -> list[Order]:
    """Send the cancels that were requested and have not been seen to work, each again after a while; return the orders."""
    waiting = Order.objects.filter(
        deadline_at__isnull=False, status__in=RESTING_STATES, cancel_requested_at__isnull=False
    ).filter(_not_since(now - CANCEL_EVERY))
    waiting = waiting.exclude(empty_look_ups__gte=vanished.MISSED_MIN, looked_up_at__gte=now - CANCEL_MISSING_EVERY)

    def cancel(order: Order) -> Order:
        Order.objects.filter(pk=order.pk).update(looked_up_at=now)
        try:
            return carry_out_cancel(order).order
        except BrokerUnavailable as unavailable:
            log.warning("order %s can't be cancelled: %s", order.client_order_id, unavailable)
            return order

    return _each(waiting.order_by(F("looked_up_at").asc(nulls_first=True), "id")[:ROUND_MAX], cancel)


def end_overdue(now: datetime) -> list[Order]:
    """Call UNKNOWN what is still SUBMITTING after its deadline and the grace; return those orders."""
    overdue = Order.objects.filter(status=OrderStatus.SUBMITTING, deadline_at__lt=now - GRACE).order_by("id")
    reason = f"nobody said what became of it within {GRACE.seconds} s of its deadline"
    return _each(overdue[:100], lambda order: to_unknown(order.pk, reason))


def tell_of_unknown(now: datetime) -> list[Order]:
    """Raise an alarm, once for each, about orders whose outcome has not been known for a while; return those orders."""
    unknown = Order.objects.filter(status=OrderStatus.UNKNOWN, updated_at__lt=now - TELL_AFTER).select_related("bot")
    told = []
    for order in unknown.order_by("id")[:100]:
        subject = f"order:{order.client_order_id}"
        if alarms.was_raised(alarms.UNKNOWN, subject):
            continue
        with apart(f"order {order.client_order_id}: nobody could be told that its outcome is not known"):
            name = "" if order.bot is None else f" of {order.bot.name}"
            text = f"Nobody knows what became of order {order.client_order_id}{name}: {order.venue} is asked again and again."
            alarms.alarm(
                alarms.UNKNOWN,
                subject,
                f"{text} Entries in {order.symbol} wait. Do not send it again. If it lasts for minutes, look at the venue's own"
                " page.",
                title=f"Nobody knows what became of an order{name}",
                facts=about_order(order),
            )
            told.append(order)
    return told


def due_look_ups(now: datetime) -> list[Order]:
    """Return the orders whose turn it is, those with an unknown outcome first, the longest waiting of each first."""
    over_network = Order.objects.filter(deadline_at__isnull=False)
    soon = Q(deadline_at__gt=now - UNKNOWN_SOON_FOR) & _not_since(now - UNKNOWN_EVERY)
    unknown = over_network.filter(status=OrderStatus.UNKNOWN).filter(soon | _not_since(now - UNKNOWN_AGAIN))
    resting = over_network.filter(status__in=RESTING_STATES).filter(_not_since(now - RESTING_EVERY))
    resting = resting.filter(vanished.is_due(now)).exclude(_is_listed(now))
    ended = over_network.filter(status__in=ENDED, updated_at__gt=now - LATE_FOR).filter(_not_since(now - LATE_FOR / 3))
    oldest = (F("looked_up_at").asc(nulls_first=True), "id")
    found = list(unknown.order_by(*oldest)[:ROUND_MAX])
    for others in (resting, ended):
        found += others.order_by(*oldest)[: ROUND_MAX - len(found)]
    return found


def look_up(order: Order, now: datetime) -> Order:
    """Ask the venue for one order and write what it says; return the order as it then stands."""
    Order.objects.filter(pk=order.pk).update(looked_up_at=now)
    try:
        answer = broker_for(order.venue, is_live=order.is_live).look_up(intent_of(order), order.venue_order_id)
    except BrokerUnavailable as unavailable:
        log.warning("order %s can't be looked up: %s", order.client_order_id, unavailable)
        return order
    if answer.found is not None:
        stored = apply(order.pk, answer.found, adopt=order.status == OrderStatus.UNKNOWN)
        if order.status == OrderStatus.UNKNOWN:
            # What it did may have been taken for something else meanwhile.
            turns.want(order.venue, is_live=order.is_live, by="unknown")
        return stored
    return _not_found(order, answer, now)


def _not_found(order: Order, answer: LookUp, now: datetime) -> Order:
    """Count a whole look-up that did not find the order. An answer that is not whole counts for nothing."""
    if answer.is_complete and order.status in RESTING_STATES:
        return vanished.count_missed(order.pk, now)
    if not answer.is_complete or order.status != OrderStatus.UNKNOWN or order.deadline_at is None:
        return order
    Order.objects.filter(pk=order.pk).update(empty_look_ups=F("empty_look_ups") + 1)
    order.refresh_from_db()
    if order.empty_look_ups < EMPTY_LOOK_UPS_MIN or now < order.deadline_at + NOT_SENT_AFTER:
        return order
    return to_not_sent(order.pk, f"{order.empty_look_ups} whole look-ups did not find it at the venue")


def _each(orders: Iterable[Order], act: Callable[[Order], Order]) -> list[Order]:
    """Do something to one order after the other and return them, beginning nothing after ``PART_S``.

    One whose outcome can't be written is logged, and holds up no other; it is tried again when its turn comes.
    """
    done, until_s = [], time.monotonic() + PART_S
    for order in orders:
        if time.monotonic() > until_s:
            break
        with apart(f"order {order.client_order_id}: what became of it could not be written"):
            done.append(act(order))
    return done


def _is_listed(now: datetime) -> Q:
    """Return which orders are on accounts whose open orders were listed a moment ago."""
    syncs = AccountSync.objects.filter(listed_at__gt=now - LISTED_WITHIN, listed_at__lte=now)
    found = Q(pk__in=[])
    for venue, is_live in syncs.values_list("account__venue", "account__is_live"):
        found |= Q(venue=venue, is_live=is_live)
    return found


def _not_since(moment: datetime) -> Q:
    return Q(looked_up_at__isnull=True) | Q(looked_up_at__lt=moment)
