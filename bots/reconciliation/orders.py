"""What lists of orders lead to: look-ups of ours, rows for others', and differences about what cannot be either."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db.models import Q
from django.utils import timezone

from audit.log import unit
from bots.apart import apart
from bots.brokers.base import ListedOrder, VenueBroker
from bots.executor.others import adopt_lost, note_external
from bots.executor.others import note_ended as keep_ended
from bots.executor.steps import intent_of
from bots.executor.venue import apply
from bots.models import Account, Order
from bots.order_states import RESTING_STATES, OrderStatus
from bots.reconciliation import differences, facts, vanished
from bots.reconciliation.compare import OwnOrder, assets_of, judge_orders, missing_from
from bots.reconciliation.lost import origin_of
from bots.reconciliation.turns import Turn

#: How often one order is asked for by itself, and how many in one go: each question counts against the venue's limit.
LOOK_UP_EVERY = timedelta(seconds=8)
LOOK_UPS_MAX = 10
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
#: An order that was never taken, as far as the books say, is looked up again at once when it is listed.
AT_ONCE = (OrderStatus.UNKNOWN, OrderStatus.NOT_SENT)


def carry_out(
    account: Account,
    listed: Collection[ListedOrder],
    broker: VenueBroker,
    turn: Turn,
    *,
    asked_at: datetime,
    is_open_list: bool = False,
) -> Counter[str]:
    """Carry out what a list of orders says, and return what was done. ``is_open_list``: it has every open order."""
    found: Counter[str] = Counter()
    own = facts.own_orders(account, listed)
    there = {one.venue_order_id for one in listed}
    vanished.note_listed([one for one in own if one.venue_order_id in there])
    known = facts.stranger_ids(account, [one.venue_order_id for one in listed])
    judged = judge_orders(listed, own, strangers_known=known, now=asked_at)
    for conflict in judged.conflicts:
        with unit():
            Account.objects.select_for_update(no_key=True).get(pk=account.pk)
            found["conflicts"] += differences.open_conflict(account, conflict, asked_at) is not None
        if conflict.is_extra:
            # Nobody's book has it: what it does is counted as somebody else's.
            found["externals"] += _keep(account, conflict.listed)
    lost: list[tuple[OwnOrder, str]] = []
    for one in judged.strangers:
        origin = None if one.venue_order_id in known else origin_of(one, account)
        if origin is None:
            found["externals"] += _keep(account, one)
        else:
            order = adopt_lost(account, one, origin.bot, origin.leg, origin.due_at)
            lost.append((facts.own_of(order), one.venue_order_id))
            found["lost"] += 1
    if not is_open_list:
        return found + look_up_all([*lost, *judged.look_up], broker, turn)
    gone = vanished.worth_asking(missing_from(listed, own, asked_at), timezone.now())
    wanted = [*lost, *judged.look_up, *((one, one.venue_order_id) for one in gone)]
    found += look_up_all(wanted, broker, turn)
    vanished.close_found(account, timezone.now())
    return found


def look_up_all(wanted: Iterable[tuple[OwnOrder, str]], broker: VenueBroker, turn: Turn) -> Counter[str]:
    """Ask for these orders of ours by the venue's id, and write what it says. Those that were asked for just now wait.

    Those asked for the longest ago come first: however many there are, the turn of each comes.
    """
    found: Counter[str] = Counter()
    oldest = sorted(dict.fromkeys(wanted), key=lambda one: one[0].looked_up_at or LONG_AGO)
    for own, venue_order_id in oldest[:LOOK_UPS_MAX]:
        if not turn.has_time:
            break
        with apart(f"order {own.client_order_id}: what became of it could not be written"):
            found["looked_up"] += _look_up(own, venue_order_id, broker)
    return found


def unsettled_assets(own: Iterable[OwnOrder], listed: Iterable[ListedOrder], since: datetime) -> frozenset[str]:
    """Return the assets of which an order is under way, or has fills at the venue that our books do not have yet.

    ``since`` is when the round began: an order that no list has, and that was asked for by itself since then, keeps nothing from
    being judged. It may stay out of the lists for ever.
    """
    there = {one.venue_order_id: one.filled_quantity for one in listed}
    moving = [
        one.symbol
        for one in own
        if one.is_in_flight
        or (one.status in RESTING_STATES and not _is_as_told(one, there, since))
        or one.status == OrderStatus.NOT_SENT
    ]
    return frozenset(asset for symbol in moving for asset in assets_of(symbol))


def _is_as_told(own: OwnOrder, there: Mapping[str, Decimal], since: datetime) -> bool:
    """Return whether our books have what the venue says of a resting order."""
    if own.venue_order_id in there:
        return there[own.venue_order_id] == own.filled_quantity
    # What the venue does not have moves nothing there that its balances would not show.
    return own.missed_at is not None or (own.looked_up_at is not None and own.looked_up_at >= since)


def note_ended(
    account: Account, listed_open: Iterable[ListedOrder], ended: Iterable[ListedOrder], asked_at: datetime
) -> None:
    """Keep which orders of others are open no more: a whole list of open orders does not have them."""
    there = {one.venue_order_id for one in listed_open}
    gone = [one for one in facts.open_externals(account) if one not in there]
    keep_ended(account, gone, asked_at)


def _keep(account: Account, listed: ListedOrder) -> int:
    """Keep an order of somebody else; return 1 when that was news."""
    before = facts.external_state(account, listed.venue_order_id)
    note_external(account, listed)
    return int(facts.external_state(account, listed.venue_order_id) != before)


def _look_up(own: OwnOrder, venue_order_id: str, broker: VenueBroker) -> int:
    now = timezone.now()
    rows = Order.objects.filter(pk=own.id)
    if own.status not in AT_ONCE:
        # A cancel that is asked for again and again counts as a look-up; it searches for nothing.
        was_asked = Q(looked_up_at__gte=now - LOOK_UP_EVERY, cancel_requested_at__isnull=True)
        rows = rows.exclude(was_asked)
    if not rows.update(looked_up_at=now):
        return 0
    order = Order.objects.get(pk=own.id)
    answer = broker.look_up(intent_of(order), venue_order_id or order.venue_order_id)
    if answer.found is None:
        if answer.is_complete and order.status in RESTING_STATES:
            vanished.count_missed(order.pk, now)
        return 0
    apply(order.pk, answer.found, adopt=order.status in AT_ONCE)
    return 1
