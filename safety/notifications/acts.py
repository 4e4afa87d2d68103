"""What people do with the outbox: try again what was given up, and say that they have seen what is urgent. Both are audited."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from audit.log import OperatorEventRecord, joined_unit, record
from safety.notification_models import ChannelState, Delivery, DeliveryStatus, Notification
from safety.notifications.messages import Severity
from safety.notifications.planning import GIVE_UP_AFTER

#: Of a bulk act, so many at a time; the same act again takes the next ones.
AT_ONCE_MAX = 500


def retry(delivery_id: int, *, actor: str, now: datetime | None = None) -> bool:
    """Let a message that was given up be tried again at once, and for another day; return whether there was such a one."""
    return _retry(Delivery.objects.filter(pk=delivery_id), actor, now or timezone.now()) == 1


def retry_all_dead(*, actor: str, now: datetime | None = None) -> int:
    """Let the messages that were given up (at most 500, the oldest first) be tried again; return how many there were."""
    oldest = Delivery.objects.filter(status=DeliveryStatus.DEAD).order_by("id")[:AT_ONCE_MAX]
    chosen = Delivery.objects.filter(pk__in=list(oldest.values_list("pk", flat=True)))
    return _retry(chosen, actor, now or timezone.now())


def see(notification_ids: Iterable[int], *, actor: str, now: datetime | None = None) -> int:
    """Mark urgent notifications (at most 500) as seen, so that they leave the Safety page; return how many were not yet."""
    ids = list(notification_ids)[:AT_ONCE_MAX]
    unseen = Notification.objects.filter(pk__in=ids, severity=Severity.URGENT, seen_at=None)
    with joined_unit():
        found = list(unseen.select_for_update().order_by("pk"))
        Notification.objects.filter(pk__in=[one.pk for one in found]).update(
            seen_at=now or timezone.now(), seen_by=actor
        )
        for one in found:
            _audit(actor, "notification_seen", f"notification:{one.pk}", "", f"{one.event} {one.title}")
    return len(found)


def _retry(chosen: QuerySet[Delivery], actor: str, now: datetime) -> int:
    with joined_unit():
        # In the order in which everybody locks: the channels, then their messages.
        states = {one.name: one for one in ChannelState.objects.select_for_update().order_by("name")}
        found = list(chosen.filter(status=DeliveryStatus.DEAD).select_for_update().order_by("pk"))
        again = {"status": DeliveryStatus.WAITING, "give_up_at": now + GIVE_UP_AFTER, "not_before": None}
        Delivery.objects.filter(pk__in=[one.pk for one in found]).update(**again, claimed_until=None)
        for name in {one.channel for one in found} & states.keys():
            # Somebody who tries again has mended something: nobody should have to wait for a pause to end.
            ChannelState.objects.filter(name=name).update(not_before=None)
        for one in found:
            _audit(actor, "notification_retried", f"delivery:{one.pk}", DeliveryStatus.DEAD.value, "waiting")
    return len(found)


def _audit(actor: str, action: str, what: str, old: str, new: str) -> None:
    record(OperatorEventRecord(actor=actor, action=action, object=what, old=old, new=new))
