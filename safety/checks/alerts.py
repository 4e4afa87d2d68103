"""Checks on whether an alarm would really reach somebody."""

from datetime import datetime, timedelta

from safety.checks.processes import silence
from safety.notification_models import ChannelState
from safety.notifications import prefs
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, ok

#: A channel that fails for longer is no channel. Shorter, and a message may only have been asked to wait.
FAILING_FOR_MAX = timedelta(minutes=10)
#: What was delivered longer ago proves nothing of today's webhook. The day's summary keeps it fresh.
PROVEN_FOR = timedelta(days=30)
SEND = "Send a test message: Safety, Notifications, or manage.py verify_live_ready --send-test."


@register("alert_delivered", "A message was delivered by each alert channel that is on", Severity.BLOCKER)
def alert_delivered(context: Context) -> Outcome:
    """Refuse a channel that is configured and on, and of which nobody knows whether it works. Without any, a warning tells."""
    if (unknown := silence(context.processes)) is not None:
        return unknown
    wanted = prefs.read()
    configured = sorted({name for one in context.processes for name in one.get("channels")})
    used = [name for name in configured if prefs.is_on(wanted, name)]
    if not used:
        return ok("No alert channel is configured and on.")
    states = {one.name: one for one in ChannelState.objects.filter(name__in=used)}
    found = [text for name in used if (text := _problem(states.get(name) or ChannelState(name=name), context.now))]
    if found:
        return failed(" ".join(found), SEND)
    return ok(f"Messages were delivered by: {', '.join(used)}.")


def _problem(state: ChannelState, now: datetime) -> str:
    """Return what is wrong with a channel, or an empty text."""
    name = state.name.capitalize()
    if state.delivered_at is None:
        return f"{name} has never delivered a message. {state.detail}".strip()
    if state.failing_since is not None and now - state.failing_since > FAILING_FOR_MAX:
        return f"{name} has taken no message since {state.failing_since:%Y-%m-%d %H:%M} UTC: {state.detail}"
    if now - state.delivered_at > PROVEN_FOR:
        return f"{name} delivered its last message on {state.delivered_at:%Y-%m-%d}."
    return ""
