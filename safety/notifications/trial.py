"""A test message through every channel, and what really became of it."""

from django.utils import timezone

from audit.fields import canonical_json
from audit.log import OperatorEventRecord, joined_unit, record
from safety.notifications import prefs, verdicts
from safety.notifications.channels import Channel, channels
from safety.notifications.messages import Message, Severity
from safety.notifications.outcomes import DeliveryState, Outcome


def send_test(*, actor: str) -> list[Outcome]:
    """Send a test message through every channel and return each one's outcome; audited. Not inside a transaction.

    It is sent also in quiet hours and with the event *test* off: somebody asked for it. A channel that is
    switched off is left alone.
    """
    wanted = prefs.read()
    text = "If you can read this, alarms from this console reach you here."
    now = timezone.now()
    message = Message("test", "Test message", text, Severity.INFO, now, (("Asked for by", actor),))
    found = [_tried(one, message, is_on=prefs.is_on(wanted, one.name)) for one in channels()]
    for one in found:
        verdicts.note_trial(one, timezone.now())
    with joined_unit():
        record(
            OperatorEventRecord(
                actor=actor,
                action="notification_test",
                object="notifications",
                old="",
                new=canonical_json({one.channel: one.state.value for one in found}),
            )
        )
    return found


def _tried(channel: Channel, message: Message, *, is_on: bool) -> Outcome:
    if not channel.is_configured():
        return channel.deliver(message)
    if not is_on:
        detail = "Switched off in the notification preferences."
        return Outcome(channel.name, DeliveryState.SWITCHED_OFF, detail)
    return channel.deliver(message)
