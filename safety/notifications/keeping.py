"""How long the outbox remembers, and what becomes of messages for a channel that there is no more."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from safety.notification_models import ChannelState, Delivery, DeliveryStatus, Notification
from safety.notifications.channels import channels
from safety.notifications.messages import Severity

KEPT = timedelta(days=30)
#: What never arrived.
KEPT_LONGER = timedelta(days=90)
DELETED_AT_ONCE_MAX = 5_000
#: What waits for a channel that is no longer configured is given up so long after its day.
GRACE = timedelta(days=1)


def forget_old(now: datetime) -> int:
    """Delete what is older than it is kept, and return how much that was. Bounded: the next round deletes more.

    What is urgent stays until somebody has seen it, however long that takes: its page says so.
    """
    urgent_unseen = Q(severity=Severity.URGENT, seen_at=None)
    told = Notification.objects.exclude(planned_at=None)
    sent = Delivery.objects.filter(status__in=(DeliveryStatus.DELIVERED, DeliveryStatus.DROPPED))
    return (
        _delete(told.exclude(urgent_unseen).filter(created_at__lt=now - KEPT))
        + _delete(sent.filter(created_at__lt=now - KEPT))
        + _delete(Delivery.objects.filter(status=DeliveryStatus.DEAD, created_at__lt=now - KEPT_LONGER))
    )


def give_up_unreachable(now: datetime) -> int:
    """Give up what has waited for a day and more for a channel that is not configured any more; return how much that was."""
    usable = [one.name for one in channels() if one.is_configured()]
    stale = Delivery.objects.filter(status=DeliveryStatus.WAITING, give_up_at__lt=now - GRACE).exclude(
        channel__in=usable
    )
    if not stale.exists():
        return 0
    with transaction.atomic():
        # Locked as everybody locks: the channels, then their messages.
        list(ChannelState.objects.select_for_update().order_by("name"))
        return stale.update(status=DeliveryStatus.DEAD, detail="The channel is not configured any more.")


def _delete(old: QuerySet[Any]) -> int:
    ids = list(old.order_by("created_at").values_list("pk", flat=True)[:DELETED_AT_ONCE_MAX])
    deleted: int = old.model._default_manager.filter(pk__in=ids).delete()[0]
    return deleted
