"""The clean-up after the kill switch: cancels what rests, and knows when no further order can reach a venue.

Whoever finds a run unfinished may work on it: the process that engaged, and a chore each second. Paper orders are cancelled under
their bot's lock; a venue's cancels are asked for one by one, an order at a time, so that two workers at once do no harm and one
that dies leaves nothing that the next does not see. Nothing is remembered here but what bots and orders themselves say.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from bots import executor, manager
from bots.apart import apart
from bots.models import Bot, Order, Venue
from bots.order_states import RESTING_STATES, OrderStatus
from safety import kill_runs
from safety.intents import Level, OrderType
from safety.models import KillRun, TradingState
from safety.scopes import GLOBAL, UnknownScopeError, check_scope

#: Until so long after its deadline an order without an answer may still turn up at the venue.
WINDOW = timedelta(seconds=15)
#: Clocks of two hosts differ by less. Orders that were made later than this after a halt are none of its concern once it is over.
SKEW = timedelta(seconds=5)
#: An order whose cancel was asked for so short ago is somebody else's: the answer is due.
ASKED_LATELY = timedelta(seconds=6)
#: A cancel that did not fail, and is not seen to have worked either, is not repeated before: the venue took it, and only its
#: limit keeps us from seeing that. Shorter than the sweep's own pace, so that the urgent cancel always gets its chance.
AGAIN_AFTER = timedelta(seconds=2)
#: How many orders one look takes.
ORDERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Concern:
    """The orders that one run is about."""

    run: KillRun
    rows: QuerySet[Order]
    stands: bool

    def to_cancel(self) -> QuerySet[Order]:
        """Return what rests and has to go, oldest first."""
        resting = self.rows.filter(status__in=RESTING_STATES)
        # What is left of a market order would go on filling on a decision from before the halt.
        wanted = Q() if self.run.cancel_resting else Q(type=OrderType.MARKET)
        if is_over(self.run):
            wanted |= Q(is_flatten=True)
        return resting.filter(wanted).order_by("id")

    def unanswered(self, now: datetime) -> QuerySet[Order]:
        """Return what was sent, or may be about to be, and may still reach its venue: the run is not drained before."""
        in_window = Q(deadline_at__isnull=True) | Q(deadline_at__gt=now - WINDOW)
        return self.rows.filter(Q(status=OrderStatus.SUBMITTING) | Q(status=OrderStatus.UNKNOWN) & in_window)

    def unresolved(self) -> QuerySet[Order]:
        """Return the orders that may yet turn out to rest."""
        return self.rows.filter(status__in=[OrderStatus.SUBMITTING, OrderStatus.UNKNOWN])


def in_scope(scope: str, bot: str = "bot_id") -> Q:
    """Return the condition that selects the rows of a scope; ``bot`` names the column that holds the bot's id."""
    kind, _, name = scope.partition(":")
    if scope == GLOBAL:
        return Q()
    return Q(venue=name) if kind == "venue" else Q(**{bot: int(name)})


def check_scope_exists(scope: str) -> None:
    """Return quietly when there is such a venue or bot. Raises UnknownScopeError: to engage another would stop nothing."""
    check_scope(scope)
    kind, _, name = scope.partition(":")
    if kind == "venue" and name not in Venue.values:
        raise UnknownScopeError(f"There is no venue {name!r}. Known are: {', '.join(Venue.values)}.")
    if kind == "bot" and not Bot.objects.filter(pk=int(name)).exists():
        raise UnknownScopeError(f"There is no bot {name}.")


def is_flattening(run: KillRun, now: datetime) -> bool:
    """Return whether the run's flatten may still send."""
    return run.is_flatten and run.flatten_until is not None and run.flatten_until > now


def is_over(run: KillRun) -> bool:
    """Return whether the run is a flatten that has ended, by itself or because somebody released or halted."""
    return run.is_flatten and run.flatten_until is None


def concern_of(run: KillRun) -> Concern:
    """Return what a run is about, as things stand."""
    stands = _stands(run)
    ours = Order.objects.filter(in_scope(run.scope), bot__isnull=False)
    other = ours.filter(is_flatten=False)
    if run.level != Level.HALTED:
        # Reducing: what is offered for sale stays.
        other = other.filter(is_entry=True)
    if not stands:
        # Released since: what was made after that is not meant by this run.
        other = other.filter(created_at__lte=run.engaged_at + SKEW)
    rows = other | ours.filter(_flatten_orders(run)) if is_over(run) else other
    return Concern(run, rows, stands)


def _flatten_orders(run: KillRun) -> Q:
    """Return which orders of flattens a flatten that is over has to take back: all but those of a newer one."""
    newer = KillRun.objects.filter(is_flatten=True, pk__gt=run.pk, ended_at__isnull=True, flatten_until__isnull=False)
    first = newer.order_by("id").first()
    mine = Q(is_flatten=True)
    return mine if first is None else mine & Q(created_at__lt=first.engaged_at)


def _stands(run: KillRun) -> bool:
    """Return whether the scope is still held back as the run wanted it."""
    level = TradingState.objects.filter(scope=run.scope).values_list("level", flat=True).first()
    known = Level(level) if level in Level.values else Level.HALTED
    return known.rank >= Level(run.level).rank


def work_on(run: KillRun, *, until_s: float, network: bool = True) -> KillRun:
    """Do some of what is left of a run, begin nothing after ``until_s`` (monotonic), and return the run with what was found.

    Without ``network`` only the paper orders are cancelled. Not inside a transaction.
    """
    concern = concern_of(KillRun.objects.get(pk=run.pk))
    if concern.run.ended_at is not None:
        return concern.run
    # Kept before anything is cancelled: what is cancelled by a process that dies then is still told of.
    kill_runs.expect(concern.run, _ids(concern.to_cancel()))
    _cancel_paper(concern, until_s)
    failed = _cancel_at_venues(concern, until_s) if network else set(concern.run.cancel_failed)
    return _note(concern, failed)


def _note(concern: Concern, failed: Iterable[str]) -> KillRun:
    """Look at every order again and note how the run stands."""
    now = timezone.now()
    unanswered, left = _ids(concern.unanswered(now)), _ids(concern.to_cancel())
    in_flight = unanswered | left | _ids(concern.unresolved())
    return kill_runs.note(
        concern.run.pk,
        now=now,
        in_flight=in_flight,
        failed=left.intersection(failed),
        is_drained=not unanswered,
        is_done=not in_flight and not _is_flatten_unfinished(concern.run),
        canceled_of=_canceled_of,
    )


def _canceled_of(order_ids: Collection[str]) -> Iterable[str]:
    gone = Order.objects.filter(client_order_id__in=order_ids, status=OrderStatus.CANCELED)
    return gone.values_list("client_order_id", flat=True)


def _is_flatten_unfinished(run: KillRun) -> bool:
    """Return whether a flatten goes on: bots/flatten.py ends it."""
    return run.is_flatten and run.flatten_until is not None


def _ids(orders: QuerySet[Order]) -> set[str]:
    return set(orders.values_list("client_order_id", flat=True)[:ORDERS_MAX])


def _reason(run: KillRun) -> str:
    return f"the kill switch: {run.reason}" if run.reason else "the kill switch"


def _cancel_paper(concern: Concern, until_s: float) -> None:
    """Cancel what rests in the built-in paper broker, a bot at a time and under its lock."""
    paper = concern.to_cancel().filter(deadline_at__isnull=True)
    for bot_id in sorted(set(paper.values_list("bot_id", flat=True)[:ORDERS_MAX])):
        if time.monotonic() > until_s:
            return
        with apart(f"bot {bot_id}: its paper orders could not be cancelled"), manager.locked(bot_id or 0):
            for order in paper.filter(bot_id=bot_id).select_for_update(of=("self",)):
                executor.cancel(order, timezone.now(), actor=concern.run.actor, reason=_reason(concern.run))


def _cancel_at_venues(concern: Concern, until_s: float) -> set[str]:
    """Ask the venues for the cancels that nobody asks for just now; return the orders of which one failed."""
    failed = set(concern.run.cancel_failed)
    at_venue = concern.to_cancel().filter(deadline_at__isnull=False)
    for order in list(at_venue[:ORDERS_MAX]):
        if time.monotonic() > until_s:
            break
        if was_asked_lately(order) or (order.client_order_id not in failed and _was_tried_lately(order)):
            continue
        if cancel_at_venue(order, concern.run):
            failed.discard(order.client_order_id)
        else:
            failed.add(order.client_order_id)
    return failed


def was_asked_lately(order: Order) -> bool:
    """Return whether somebody waits for the answer to a cancel of this order. (It may have been asked for since it was read.)"""
    asked_at = Order.objects.values_list("cancel_requested_at", flat=True).get(pk=order.pk)
    return asked_at is not None and asked_at > timezone.now() - ASKED_LATELY


def _was_tried_lately(order: Order) -> bool:
    """Return whether a cancel of this order was asked for, and tried again or looked up a moment ago."""
    asked_at, tried_at = Order.objects.values_list("cancel_requested_at", "looked_up_at").get(pk=order.pk)
    if asked_at is None or tried_at is None:
        return False
    return timedelta(0) <= timezone.now() - tried_at < AGAIN_AFTER


def cancel_at_venue(order: Order, run: KillRun) -> bool:
    """Ask the venue for one cancel; return whether it took it, or the order has ended by now."""
    was_taken = False
    with apart(f"order {order.client_order_id}: its cancel failed and is tried again"):
        # Each cancel ends with a look-up, for which there may be no room under the venue's limit just now.
        Order.objects.filter(pk=order.pk).update(looked_up_at=timezone.now())
        try:
            was_taken = executor.ask_to_cancel(order.pk, actor=run.actor, reason=_reason(run), urgent=True).was_taken
        except executor.ExecutorError:
            # It ended since it was looked at.
            was_taken = True
    return was_taken
