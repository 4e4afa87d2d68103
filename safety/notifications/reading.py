"""What pages, metrics and the health of the console read of the outbox. Every list is bounded, and every count small to get."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from safety.notification_models import ChannelState, Delivery, DeliveryStatus, Notification
from safety.notifications import prefs
from safety.notifications.channels import Channel, channels
from safety.notifications.holds import CHANNEL_HELD_MAX, holds
from safety.notifications.messages import Severity

LIMIT_MAX = 500


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel, as a page shows it.

    ``is_configured``: this process's environment names where to send. ``is_on``: the preferences want it. ``failing_since`` is
    None while it works; ``detail`` says what it last answered and what to do. ``next_try_at`` is None when nothing holds it
    back. ``waiting`` and ``dead`` count messages, each of which may tell of several notifications; ``oldest_at`` is when the
    first cause of those that wait happened.
    """

    name: str
    is_configured: bool
    is_on: bool
    failing_since: datetime | None = None
    detail: str = ""
    delivered_at: datetime | None = None
    tried_at: datetime | None = None
    next_try_at: datetime | None = None
    waiting: int = 0
    dead: int = 0
    oldest_at: datetime | None = None


def urgent_unseen(limit: int = 50) -> list[Notification]:
    """Return the urgent notifications that nobody has marked as seen, the newest first."""
    return list(Notification.objects.filter(severity=Severity.URGENT, seen_at=None)[: _bounded(limit)])


def recent(limit: int = 50) -> list[Notification]:
    """Return the latest notifications, the newest first, whether they were sent or not."""
    return list(Notification.objects.all()[: _bounded(limit)])


def recent_deliveries(limit: int = 50) -> list[Delivery]:
    """Return the latest messages, the newest first, of every channel and state."""
    return list(Delivery.objects.all()[: _bounded(limit)])


def dead(limit: int = 50) -> list[Delivery]:
    """Return the messages that were given up, the newest first; ``detail`` says why."""
    return list(Delivery.objects.filter(status=DeliveryStatus.DEAD)[: _bounded(limit)])


def unplanned_count() -> int:
    """Return how many notifications have not yet been put into any message."""
    return Notification.objects.filter(planned_at=None).count()


def channel_views(now: datetime) -> list[ChannelView]:
    """Return every channel that there is, configured or not, with how it does."""
    wanted = prefs.read()
    states = {one.name: one for one in ChannelState.objects.all()}
    waiting = _counts(DeliveryStatus.WAITING)
    given_up = _counts(DeliveryStatus.DEAD)
    return [
        _view(one, prefs.is_on(wanted, one.name), states.get(one.name), waiting, given_up, now) for one in channels()
    ]


_Counts = dict[str, tuple[int, datetime]]


def _counts(status: DeliveryStatus) -> _Counts:
    """Return for each channel how many messages are in this state, and the time of their first cause."""
    rows = (
        Delivery.objects.filter(status=status).order_by().values_list("channel").annotate(Count("pk"), Min("first_at"))
    )
    return {channel: (count, first_at) for channel, count, first_at in rows}


def _view(
    channel: Channel, is_on: bool, state: ChannelState | None, waiting: _Counts, given_up: _Counts, now: datetime
) -> ChannelView:
    count, oldest_at = waiting.get(channel.name, (0, None))
    dead_count, _ = given_up.get(channel.name, (0, None))
    state = state or ChannelState(name=channel.name)
    return ChannelView(
        name=channel.name,
        is_configured=channel.is_configured(),
        is_on=is_on,
        failing_since=state.failing_since,
        detail=state.detail,
        delivered_at=state.delivered_at,
        tried_at=state.tried_at,
        next_try_at=state.not_before if holds(state.not_before, now, CHANNEL_HELD_MAX) else None,
        waiting=count,
        dead=dead_count,
        oldest_at=oldest_at,
    )


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIMIT_MAX))
