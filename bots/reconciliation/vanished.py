"""Orders of ours that rest, as far as the books say, and that their venue neither lists nor finds.

Such an order may have been cancelled, or never have been more than an answer; it may also be late in every list, and still fill.
So it is never ended by itself: after a few whole look-ups a difference opens and a person is told, entries in its symbol wait and
exits go. It closes by itself once the venue has the order again or says how it ended; or a person takes the venue's word, with a
reason, and then the order is CANCELED in our books. docs/runbook.md tells people.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import Q

from audit.decimals import decimal_text
from audit.log import unit
from bots.accounts import account_name
from bots.brokers.factory import BrokerUnavailable, broker_for
from bots.executor.steps import intent_of
from bots.executor.venue import apply, end_missing
from bots.models import Account, Difference, DifferenceKind, Order
from bots.order_states import RESTING_STATES
from bots.reconciliation import differences
from bots.reconciliation.alarms import ACTOR, MISMATCH, alarm
from bots.reconciliation.compare import OwnOrder
from bots.telling import about_order

#: So many whole look-ups must not find it, the last of them so long after the first, before a person is told.
MISSED_MIN = 3
MISSED_FOR = timedelta(seconds=60)
#: How often it is searched for until then, and afterwards. A search may count 4 at Kraken, whose smallest key regains 0.33 a
#: second: what rests and is found costs a quarter of that, and the rounds themselves must go on.
AGAIN = timedelta(seconds=45)
AGAIN_ONCE_TOLD = timedelta(minutes=5)
#: How differences about such orders are told from the others about orders.
KEY = "vanished:"
MEANING = (
    "Our books call this order open, and the venue neither lists it nor knows its id. Usually it ended there and its record is "
    "gone. It counts in full until this is settled: it may still fill, and if it does, this closes by itself."
)


class NotGone(Exception):
    """That the venue has no such order can't be said now; the message says why. Nothing was settled."""


def is_due(now: datetime) -> Q:
    """Return which orders may be searched for now: all but those that were not found a moment ago."""
    untold = Q(empty_look_ups__lt=MISSED_MIN, missed_at__lt=now - AGAIN)
    # A clock that was set back must not put a search off.
    return Q(missed_at__isnull=True) | untold | Q(missed_at__lt=now - AGAIN_ONCE_TOLD) | Q(missed_at__gt=now)


def worth_asking(gone: Sequence[OwnOrder], now: datetime) -> list[OwnOrder]:
    """Return which of the orders that a whole list lacks are to be asked for: of those that were searched for before, one.

    Their searches cost the venue's limit much, and what is asked for the first time tells more.
    """
    missed = sorted((one for one in gone if one.missed_at is not None), key=lambda one: one.missed_at or now)
    if not missed:
        return list(gone)
    due = set(Order.objects.filter(is_due(now), pk__in=[one.id for one in missed]).values_list("pk", flat=True))
    return [one for one in gone if one.missed_at is None] + [one for one in missed if one.id in due][:1]


def count_missed(order_id: int, now: datetime) -> Order:
    """Count a whole look-up that did not find a resting order, and tell a person once there were enough. Return the order."""
    venue, is_live = Order.objects.values_list("venue", "is_live").get(pk=order_id)
    name = account_name(venue, is_live=is_live)
    Account.objects.get_or_create(name=name, defaults={"venue": venue, "is_live": is_live})
    with unit():
        account = Account.objects.select_for_update(no_key=True).get(pk=name)
        order = Order.objects.select_for_update().get(pk=order_id)
        if order.status not in RESTING_STATES:
            return order
        if order.missed_since is None or order.missed_since > now:
            order.missed_since, order.empty_look_ups = now, 0
        # The last one counts only well after the first.
        if order.empty_look_ups < MISSED_MIN - 1 or now - order.missed_since >= MISSED_FOR:
            order.empty_look_ups = min(order.empty_look_ups + 1, MISSED_MIN)
        order.missed_at = now
        order.save(update_fields=["missed_since", "missed_at", "empty_look_ups"])
        if order.empty_look_ups >= MISSED_MIN:
            _open(account, order, now)
        return order


def note_listed(listed: Sequence[OwnOrder]) -> None:
    """Keep that the venue lists these orders again."""
    ids = [one.id for one in listed if one.missed_at is not None]
    if ids:
        Order.objects.filter(pk__in=ids).update(missed_since=None, missed_at=None, empty_look_ups=0)


def close_found(account: Account, now: datetime) -> None:
    """Close what is open about orders that the venue has again, or of which it said how they ended."""
    rows = differences.open_ones(account).filter(key__startswith=KEY)
    if not rows.exists():
        return
    with unit():
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        for one in rows.select_for_update(of=("self",)):
            order = _order_of(one)
            if order.status not in RESTING_STATES:
                differences.close(one, differences.AGREES, ACTOR, f"the order has ended: {order.status}", now)
            elif order.missed_since is None:
                differences.close(one, differences.AGREES, ACTOR, "the venue has the order again", now)


def is_about(difference: Difference) -> bool:
    """Return whether a difference is about an order that its venue does not have."""
    return difference.key.startswith(KEY)


def check_still_gone(difference: Difference) -> None:
    """Ask the venue once more. Raises NotGone unless it surely has no such order; what it says otherwise is booked."""
    order = _order_of(difference)
    venue = order.venue.capitalize()
    if order.status not in RESTING_STATES:
        raise NotGone(f"The order has ended meanwhile: it is {order.status}. This closes by itself within a minute.")
    try:
        answer = broker_for(order.venue, is_live=order.is_live).look_up(intent_of(order), order.venue_order_id)
    except BrokerUnavailable as unavailable:
        raise NotGone(f"{unavailable} Nothing has changed.") from unavailable
    if answer.found is not None:
        stored = apply(order.pk, answer.found)
        raise NotGone(
            f"{venue} has the order after all: it is {stored.status}, and our books follow it. This closes by itself."
        )
    if not answer.is_complete:
        raise NotGone(
            f"{venue} could not say whether it has the order: {answer.reason}. Nothing has changed; try again."
        )


def end(difference: Difference, actor: str, reason: str) -> None:
    """Take the venue's word that it has no such order: it is CANCELED in our books. In an audit unit, the account locked."""
    order = Order.objects.select_for_update().get(pk=_order_of(difference).pk)
    if order.status in RESTING_STATES:
        end_missing(order, actor=actor, reason=f"a person took the venue's word that it has no such order: {reason}")


def _order_of(difference: Difference) -> Order:
    return Order.objects.get(client_order_id=difference.client_order_id)


def _open(account: Account, order: Order, now: datetime) -> None:
    key = f"{KEY}{order.client_order_id}"
    if differences.open_ones(account).filter(key=key).exists():
        return
    venue, since = account.venue.capitalize(), (order.missed_since or now).astimezone(UTC)
    what = f"{order.side} {decimal_text(order.quantity)} {order.symbol}"
    left = decimal_text(order.remaining_quantity)
    text = (
        f"Our books: order {order.client_order_id} ({what}) is open, {left} of it not filled. "
        f"{venue}: no such order; it neither lists nor finds {order.venue_order_id or 'it'} since {since:%H:%M} UTC. "
        f"Look for it on {venue}'s own page. If it is surely not there, settle this."
    )
    Difference.objects.create(
        account=account,
        kind=DifferenceKind.ORDER,
        key=key,
        symbol=order.symbol,
        venue_order_id=order.venue_order_id,
        client_order_id=order.client_order_id,
        text=text[:500],
        opened_at=now,
        seen_at=now,
    )
    alarm(
        MISMATCH,
        f"order:{order.client_order_id}",
        f"{text} Entries in {order.symbol} wait; exits go.",
        title=f"{venue} neither lists nor finds an order that is open in our books",
        facts=about_order(order),
    )
