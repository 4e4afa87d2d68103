"""What a try means for the message and for its channel, written in one transaction: done, again later, or given up."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from safety.notification_models import ChannelState, Delivery, DeliveryStatus
from safety.notifications.outcomes import DeliveryState, Outcome

#: After a failure the channel is left alone for 1, 2, 4 … seconds, up to this.
PAUSE_S_MAX = 60
#: So is one whose webhook is gone or whose password is wrong, which only a person can mend.
PAUSE_OF_REFUSED = timedelta(minutes=10)
#: A channel that failed for so long gives up what waited as long; so does a message at its next failure.
GIVE_UP_AFTER = timedelta(hours=24)
#: A message that failed so often, and fails again right after its channel took another one, lets the others go first for a while.
STEP_BACK_TRIES, STEP_BACK = 10, timedelta(minutes=10)


def keep(delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    """Write what became of a try of a claimed message. Not inside a transaction."""
    with transaction.atomic(durable=True):
        state = _locked(delivery.channel)
        state.detail = outcome.detail
        state.left = outcome.left if outcome.left is not None else state.left
        if outcome.refills_after_s is not None:
            state.refills_at = now + timedelta(seconds=outcome.refills_after_s)
        if outcome.is_delivered:
            _delivered(delivery, state, outcome, now)
        elif outcome.state == DeliveryState.REFUSED and not outcome.is_of_channel:
            # The channel works: it read the message and said no to it.
            _works(state)
            _owned(delivery).update(status=DeliveryStatus.DEAD, detail=outcome.detail, claimed_until=None)
        else:
            _failed(delivery, state, outcome, now)
        state.save()


def note_trial(outcome: Outcome, now: datetime) -> None:
    """Take over what a test message showed of its channel: one that works again is used again at once."""
    if outcome.state in (DeliveryState.NOT_CONFIGURED, DeliveryState.SWITCHED_OFF):
        return
    with transaction.atomic():
        state = _locked(outcome.channel)
        state.tried_at, state.detail = now, outcome.detail
        if outcome.is_delivered:
            _works(state)
            state.delivered_at = now
        elif state.failing_since is None and (outcome.is_of_channel or outcome.state == DeliveryState.TRY_AGAIN):
            state.failing_since = now
        state.save()


def _locked(name: str) -> ChannelState:
    ChannelState.objects.bulk_create([ChannelState(name=name)], ignore_conflicts=True)
    return ChannelState.objects.select_for_update().get(name=name)


def _works(state: ChannelState) -> None:
    state.failures, state.failing_since, state.not_before = 0, None, None


def _owned(delivery: Delivery) -> QuerySet[Delivery]:
    """Return the message as a query, empty when another try of it has begun since."""
    return Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING, attempts=delivery.attempts)


def _delivered(delivery: Delivery, state: ChannelState, outcome: Outcome, now: datetime) -> None:
    _works(state)
    state.delivered_at = now
    # Whoever else tries it by now: it has arrived.
    Delivery.objects.filter(pk=delivery.pk).exclude(status=DeliveryStatus.DELIVERED).update(
        status=DeliveryStatus.DELIVERED, delivered_at=now, claimed_until=None, detail=outcome.detail
    )


def _failed(delivery: Delivery, state: ChannelState, outcome: Outcome, now: datetime) -> None:
    state.failing_since = state.failing_since or now
    if outcome.retry_after_s is not None:
        state.not_before = now + timedelta(seconds=outcome.retry_after_s)
    else:
        if state.failures == 0 and delivery.attempts > STEP_BACK_TRIES:
            _owned(delivery).update(not_before=now + STEP_BACK)
        state.failures += 1
        state.not_before = now + _pause(state, outcome)
    _owned(delivery).update(claimed_until=None, detail=outcome.detail)
    if now >= delivery.give_up_at:
        _owned(delivery).update(status=DeliveryStatus.DEAD, detail=_given_up(outcome))
    if now - state.failing_since >= GIVE_UP_AFTER:
        stale = Delivery.objects.filter(channel=state.name, status=DeliveryStatus.WAITING, give_up_at__lte=now)
        stale.update(status=DeliveryStatus.DEAD, detail=_given_up(outcome))


def _pause(state: ChannelState, outcome: Outcome) -> timedelta:
    if outcome.is_of_channel:
        return PAUSE_OF_REFUSED
    # The power is bounded first: failures may have been counted for days.
    return timedelta(seconds=min(2 ** min(state.failures - 1, 10), PAUSE_S_MAX))


def _given_up(outcome: Outcome) -> str:
    return f"Not delivered within 24 hours. The last answer: {outcome.detail}"
