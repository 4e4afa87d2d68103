"""What the metrics tell of the outbox: what waits, what was given up, which channel fails. Nothing of it counts history."""

from datetime import datetime

from safety.notification_models import Notification
from safety.notifications import reading
from safety.notifications.messages import Severity
from tradingops.metrics_sheet import Sheet
from tradingops.metrics_trading import age_s


def write_notifications(sheet: Sheet, now: datetime) -> None:
    """Write the backlog of each channel, and what nobody has seen yet. A channel that is off and empty is left out."""
    sheet.set("notifications_unplanned", reading.unplanned_count())
    unseen = Notification.objects.filter(severity=Severity.URGENT, seen_at=None)
    sheet.set("notifications_unseen", unseen.count())
    for one in reading.channel_views(now):
        is_used = one.is_configured and one.is_on
        if not (is_used or one.waiting or one.dead):
            continue
        sheet.set("notification_messages", one.waiting, one.name, "waiting")
        sheet.set("notification_messages", one.dead, one.name, "dead")
        oldest_s = 0.0 if one.oldest_at is None else age_s(one.oldest_at, now)
        sheet.set("notification_oldest_age_seconds", oldest_s, one.name)
        sheet.set(
            "notification_failing_seconds",
            0.0 if one.failing_since is None else age_s(one.failing_since, now),
            one.name,
        )
