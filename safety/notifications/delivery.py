"""Sending what is due: one message at a time for each channel, in all processes together, and never inside a transaction.

At least once. A delivery is claimed by a conditional UPDATE, which also counts the try, so that nothing more is added to it; then
the channel is asked; then the outcome is written. Whoever dies in between leaves the claim to run out, and the next one sends the
same message with the same event id again.
"""

import logging
import time
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from safety.notification_models import ChannelState, Delivery, DeliveryStatus
from safety.notifications import prefs, verdicts
from safety.notifications.channels import Channel, channels
from safety.notifications.holds import CHANNEL_HELD_MAX, DELIVERY_HELD_MAX, holds, quiet_until
from safety.notifications.messages import Severity
from safety.notifications.outcomes import DeliveryState, Outcome
from safety.notifications.wording import message_of

log = logging.getLogger(__name__)

#: Longer than a channel takes, which bounds itself; a message whose sender died is sent again after that.
CLAIM = timedelta(seconds=20)
#: How long one call begins to send, and how many messages of one channel it sends at most. Short: what is told meanwhile is put
#: into messages by the next call, and may be urgent.
BUDGET_S, MESSAGES_MAX = 2.0, 200
#: Waiting messages that are looked at; each event has one that gathers, and few were tried.
LOOKED_AT_MAX = 500
#: After so many failures in a row (some 15 s), and every so many, the second message is tried instead of the first: one that only
#: it breaks on blocks no other. One that was never tried need not wait for that: it may be the next alarm.
PROBE_EVERY = 4


def deliver_due(now: datetime, claimed_by: str, budget_s: float = BUDGET_S) -> int:
    """Send what is due, beginning none after ``budget_s`` seconds but one for each channel; return how many were delivered.

    Any process may call it at any time, workers and web; not inside a transaction. ``claimed_by`` names the caller.
    """
    started_s = time.monotonic()
    delivered = 0
    usable = _usable()
    _drop_unwanted()
    for _ in range(MESSAGES_MAX):
        if time.monotonic() - started_s > budget_s:
            return delivered
        # In turns: a channel that takes its time must not keep an alarm from the others.
        for channel in list(usable):
            clock = now + timedelta(seconds=time.monotonic() - started_s)
            claimed = claim(channel.name, clock, claimed_by)
            if claimed is None:
                usable.remove(channel)
                continue
            outcome = _sent(channel, claimed)
            verdicts.keep(claimed, outcome, now + timedelta(seconds=time.monotonic() - started_s))
            delivered += outcome.is_delivered
    return delivered


def is_due(now: datetime) -> bool:
    """Return whether ``deliver_due`` would find something to do."""
    if _unwanted():
        return True
    for channel in _usable():
        state = ChannelState.objects.filter(name=channel.name).first() or ChannelState(name=channel.name)
        if _next(state, now) is not None:
            return True
    return False


def claim(channel: str, now: datetime, claimed_by: str) -> Delivery | None:
    """Claim the next message of a channel, or return None while there is none or the channel is to be left alone.

    The row of the channel is locked meanwhile: no two processes send to it at once, or take the last of what its limit leaves.
    """
    with transaction.atomic(durable=True):
        state = ChannelState.objects.select_for_update().filter(name=channel).first()
        if state is None:
            return None
        found = _next(state, now)
        if found is None:
            return None
        claim_of = {"claimed_by": claimed_by, "claimed_until": now + CLAIM, "tried_at": now}
        if _unclaimed(now).filter(pk=found.pk).update(**claim_of, attempts=F("attempts") + 1) != 1:
            return None
        if not holds(state.refills_at, now, CHANNEL_HELD_MAX):
            state.left = None
        state.left = None if state.left is None else max(0, state.left - 1)
        state.tried_at = now
        state.save(update_fields=["left", "tried_at"])
    # Read again: until the claim, more may have been added.
    return Delivery.objects.get(pk=found.pk)


def _sent(channel: Channel, claimed: Delivery) -> Outcome:
    try:
        return channel.deliver(message_of(claimed))
    except Exception as error:  # noqa: BLE001 - a fault of ours in one message must not silence its channel
        # The class only: the message of an error may quote an address.
        log.error("a message for %s failed: %s", channel.name, type(error).__name__)
        detail = f"The message could not be put together ({type(error).__name__}). This is a fault of the console."
        return Outcome(channel.name, DeliveryState.TRY_AGAIN, detail)


def _usable() -> list[Channel]:
    """Return the channels that are configured and on."""
    wanted = prefs.read()
    return [one for one in channels() if one.is_configured() and prefs.is_on(wanted, one.name)]


def _unwanted() -> list[str]:
    """Return the channels that a person has switched off, and for which messages still wait."""
    wanted = prefs.read()
    return [one.name for one in channels() if not prefs.is_on(wanted, one.name) and _waiting(one.name).exists()]


def _drop_unwanted() -> None:
    for name in _unwanted():
        with transaction.atomic(durable=True):
            list(ChannelState.objects.select_for_update().filter(name=name))
            _waiting(name).update(
                status=DeliveryStatus.DROPPED, detail="The channel was switched off before it was sent."
            )


def _next(state: ChannelState, now: datetime) -> Delivery | None:
    """Return the message that goes next: urgent ones first, then the oldest cause first."""
    if holds(state.not_before, now, CHANNEL_HELD_MAX):
        return None
    if state.left == 0 and holds(state.refills_at, now, CHANNEL_HELD_MAX):
        return None
    # Urgent ones first already here: hundreds that somebody lets be tried again must not hide one.
    later = Case(When(severity=Severity.URGENT, then=Value(0)), default=Value(1))
    waiting = list(_waiting(state.name).defer("lines").order_by(later, "id")[:LOOKED_AT_MAX])
    # One that is being sent comes first: what is told later was also caused later.
    if any(holds(one.claimed_until, now, 2 * CLAIM) for one in waiting):
        return None
    is_quiet = quiet_until(prefs.read(), now) is not None
    due = [one for one in waiting if _is_due(one, now, is_quiet=is_quiet)]
    due.sort(key=lambda one: (one.severity != Severity.URGENT, one.first_at, one.pk))
    if not due:
        return None
    is_stuck = state.failures >= PROBE_EVERY and len(due) > 1
    is_probe = is_stuck and (state.failures % PROBE_EVERY == 0 or due[1].attempts == 0)
    return due[1 if is_probe else 0]


def _is_due(one: Delivery, now: datetime, *, is_quiet: bool) -> bool:
    if is_quiet and one.severity != Severity.URGENT:
        return False
    return not holds(one.not_before, now, DELIVERY_HELD_MAX)


def _waiting(channel: str) -> QuerySet[Delivery]:
    return Delivery.objects.filter(channel=channel, status=DeliveryStatus.WAITING)


def _unclaimed(now: datetime) -> QuerySet[Delivery]:
    """Return the messages that wait and that nobody sends. A claim far in the future is none: a clock was set back."""
    free = Q(claimed_until=None) | Q(claimed_until__lte=now) | Q(claimed_until__gt=now + 2 * CLAIM)
    return Delivery.objects.filter(free, status=DeliveryStatus.WAITING)
