"""The outbox: what people are to be told, the messages made of it for each channel, and how each channel does."""

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField


class DeliveryStatus(models.TextChoices):
    """WAITING may still be sent, DELIVERED is the channel's own word for it, DEAD is given up until a person tries it again.

    DROPPED was never sent, since a person switched its channel off meanwhile.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class Notification(models.Model):
    """One thing to tell, written in the transaction of its cause, and never changed but for who has seen it.

    ``subject`` names what it is about (``bot:12 Bitcoin DCA``, ``order:…``, ``venue:kraken``). ``facts`` are pairs of texts.
    ``planned_at`` is when it was put into a message of every channel that wants it; None: not yet. An urgent one stays on the
    Safety page until somebody says that he has seen it.
    """

    event_id = models.CharField(max_length=40, unique=True)
    event = models.CharField(max_length=40)
    severity = models.CharField(max_length=10)
    subject = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    facts = CanonicalJSONField(default=list, blank=True)
    created_at = models.DateTimeField()
    planned_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    seen_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        db_table = "notifications"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], name="notification_unplanned", condition=Q(planned_at__isnull=True)),
            models.Index(
                fields=["-id"], name="notification_unseen", condition=Q(severity="urgent", seen_at__isnull=True)
            ),
            models.Index(fields=["created_at"], name="notification_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"


class Delivery(models.Model):
    """One message for one channel: one notification, or several of one event with how often each came.

    ``event_id`` is in the message and is the same at every try, so that a repeat can be told. ``lines`` are what the message
    lists: ``{"title", "subject", "text", "facts", "count", "first_at", "last_at"}``, a bounded number; ``count`` counts all.
    Nothing more is added to it once it was tried. ``not_before`` holds it back: it gathers until ``gather_s`` seconds after the
    last one of its event, or lets others go first. (Quiet hours are looked at when it would be sent.) ``claimed_until``: somebody
    is sending it just now. From ``give_up_at`` on, the next failure is its last.
    """

    channel = models.CharField(max_length=20)
    event_id = models.CharField(max_length=40)
    event = models.CharField(max_length=40)
    severity = models.CharField(max_length=10)
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.WAITING)
    count = models.PositiveIntegerField(default=1)
    lines = CanonicalJSONField(default=list, blank=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    not_before = models.DateTimeField(null=True)
    gather_s = models.PositiveIntegerField(default=0)
    give_up_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    claimed_by = models.CharField(max_length=100, blank=True, default="")
    claimed_until = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    detail = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "notification_deliveries"
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["channel", "event_id"], name="delivery_once_a_channel"),
            models.CheckConstraint(condition=Q(status__in=DeliveryStatus.values), name="delivery_status_known"),
        ]
        indexes = [
            models.Index(fields=["channel", "id"], name="delivery_waiting", condition=Q(status="waiting")),
            models.Index(fields=["-id"], name="delivery_dead", condition=Q(status="dead")),
            models.Index(fields=["channel", "event", "-id"], name="delivery_last_of_event"),
            models.Index(fields=["created_at"], name="delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.event} {self.count}"


class ChannelState(models.Model):
    """How a channel does. ``not_before``: its own limit, or a pause after a failure; until then it is left alone.

    ``left`` messages may be sent until ``refills_at``, as the channel last said. ``failing_since`` is None while it works.
    """

    name = models.CharField(max_length=20, primary_key=True)
    not_before = models.DateTimeField(null=True)
    left = models.PositiveIntegerField(null=True)
    refills_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    detail = models.TextField(blank=True, default="")

    class Meta:
        db_table = "notification_channels"

    def __str__(self) -> str:
        return self.name
