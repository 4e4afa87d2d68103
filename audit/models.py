"""What happened: order events, operators' actions, the heads of their chains and the anchors. Rows are only ever added."""

from typing import Any, NoReturn

from django.db import models

from audit.chain import Chain
from audit.fields import ByteOrderCharField, CanonicalJSONField, ExactDecimalField

HASH_CHARS = 64


class AppendOnlyError(TypeError):
    """Raised by every ORM call that would write an audit row past ``audit.log.record`` (or an anchor past audit.anchors)."""


def _refuse(name: str) -> NoReturn:
    raise AppendOnlyError(f"{name}: audit rows are only ever added, and only through audit.log.record()")


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Reads like any query set; every write raises AppendOnlyError. The database's triggers are what really holds."""

    def create(self, **kwargs: Any) -> NoReturn:
        _refuse("create()")

    def bulk_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("bulk_create()")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("bulk_update()")

    def get_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("get_or_create()")

    def update_or_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("update_or_create()")

    def update(self, **kwargs: Any) -> NoReturn:
        _refuse("update()")

    def delete(self) -> NoReturn:
        _refuse("delete()")

    def _raw_delete(self, using: str | None) -> NoReturn:
        _refuse("delete()")


class AppendOnlyModel(models.Model):
    """A table whose rows are only ever added, by raw SQL in ``audit.log`` and ``audit.anchors`` and nowhere else."""

    objects = models.Manager.from_queryset(AppendOnlyQuerySet)()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(f"{type(self).__name__}.save()")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(f"{type(self).__name__}.delete()")


class EventKind(models.TextChoices):
    """What happened to the order."""

    INTENT = "intent"
    DENIED = "denied"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    ADOPTED = "adopted"
    EXTERNAL = "external"


class OrderEvent(AppendOnlyModel):
    """One step in the life of an order: what was asked, denied, sent, answered, filled or cancelled, and by whom."""

    Event = EventKind

    seq = models.BigIntegerField(help_text="Place in its chain, from 1, without gaps")
    ts = models.DateTimeField("time")
    # A plain number, not a foreign key: this app imports nothing of the others, and history outlives what it tells of.
    bot_id = models.BigIntegerField("bot", null=True, blank=True)
    client_order_id = ByteOrderCharField(max_length=64)
    venue = models.CharField(max_length=32)
    symbol = ByteOrderCharField(max_length=64)
    side = models.CharField(max_length=16)
    ord_type = models.CharField("type", max_length=32)
    price = ExactDecimalField(null=True, blank=True)
    amount = ExactDecimalField(null=True, blank=True)
    venue_order_id = models.CharField(max_length=128, blank=True)
    event = ByteOrderCharField(max_length=32, choices=Event.choices)
    status = models.CharField(max_length=32)
    reason = models.CharField(max_length=2000, blank=True)
    is_live = models.PositiveSmallIntegerField("live", help_text="1 for real orders, 0 for paper and dry-run")
    actor = models.CharField(max_length=200)
    details = CanonicalJSONField()
    prev_hash = ByteOrderCharField(max_length=HASH_CHARS)
    hash = ByteOrderCharField(max_length=HASH_CHARS)

    class Meta:
        db_table = "order_events"
        constraints = [
            models.UniqueConstraint(fields=["is_live", "seq"], name="order_events_live_seq_uniq"),
            models.UniqueConstraint(fields=["prev_hash"], name="order_events_prev_hash_uniq"),
            models.CheckConstraint(condition=models.Q(is_live__in=[0, 1]), name="order_events_is_live_0_1"),
            models.CheckConstraint(condition=models.Q(seq__gte=1), name="order_events_seq_from_1"),
            models.CheckConstraint(condition=models.Q(event__in=EventKind.values), name="order_events_event_known"),
        ]
        indexes = [
            models.Index(fields=["is_live", "-id"], name="order_events_live_id"),
            models.Index(fields=["bot_id", "id"], name="order_events_bot_id"),
            models.Index(fields=["event", "id"], name="order_events_event_id"),
            models.Index(fields=["symbol", "id"], name="order_events_symbol_id"),
            models.Index(fields=["ts"], name="order_events_ts"),
            models.Index(fields=["client_order_id"], name="order_events_client_order"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.client_order_id}"

    @property
    def denials(self) -> list[dict[str, str]]:
        """Return the controls that spoke against the order: code, message, limit, actual; empty where none did."""
        found = self.details.get("reasons", []) if isinstance(self.details, dict) else []
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def why(self) -> str:
        """Return why it came about, as people read it: a denial's sentences, else the reason that is kept."""
        return " ".join(denial.get("message", "") for denial in self.denials) or self.reason


class OperatorEvent(AppendOnlyModel):
    """One act of a person, the API or the automatic safety: who changed what, from what, to what, and why."""

    seq = models.BigIntegerField(help_text="Place in its chain, from 1, without gaps")
    ts = models.DateTimeField("time")
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=64)
    object = models.CharField(max_length=200)
    old = models.TextField(blank=True)
    new = models.TextField(blank=True)
    reason = models.CharField(max_length=2000, blank=True)
    prev_hash = ByteOrderCharField(max_length=HASH_CHARS)
    hash = ByteOrderCharField(max_length=HASH_CHARS)

    class Meta:
        db_table = "operator_events"
        constraints = [
            models.UniqueConstraint(fields=["seq"], name="operator_events_seq_uniq"),
            models.UniqueConstraint(fields=["prev_hash"], name="operator_events_prev_hash_uniq"),
            models.CheckConstraint(condition=models.Q(seq__gte=1), name="operator_events_seq_from_1"),
        ]
        indexes = [
            models.Index(fields=["ts"], name="operator_events_ts"),
            models.Index(fields=["action", "id"], name="operator_events_action_id"),
            models.Index(fields=["actor", "id"], name="operator_events_actor_id"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object}"


class ChainHead(models.Model):
    """Where a chain stands: the seq and the hash of its last row. Locked last in a transaction, moved by ``audit.log`` only."""

    chain = models.CharField(primary_key=True, max_length=16, choices=[(chain.value, chain.value) for chain in Chain])
    seq = models.BigIntegerField()
    hash = ByteOrderCharField(max_length=HASH_CHARS)

    class Meta:
        db_table = "chain_heads"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(chain__in=["operator", "live", "paper"]), name="chain_heads_chain_known"
            ),
            models.CheckConstraint(condition=models.Q(seq__gte=0), name="chain_heads_seq_from_0"),
        ]

    def __str__(self) -> str:
        return f"{self.chain} {self.seq}"


class Anchor(AppendOnlyModel):
    """A note of where a chain stood, kept here and outside: a cut-off tail or an old backup can't agree with it."""

    chain = models.CharField(max_length=16, choices=[(chain.value, chain.value) for chain in Chain])
    seq = models.BigIntegerField()
    hash = ByteOrderCharField(max_length=HASH_CHARS)
    ts = models.DateTimeField("time")

    class Meta:
        db_table = "anchors"
        constraints = [
            models.UniqueConstraint(fields=["chain", "seq"], name="anchors_chain_seq_uniq"),
            models.CheckConstraint(
                condition=models.Q(chain__in=["operator", "live", "paper"]), name="anchors_chain_known"
            ),
            models.CheckConstraint(condition=models.Q(seq__gte=1), name="anchors_seq_from_1"),
        ]

    def __str__(self) -> str:
        return f"{self.chain} {self.seq}"


class Tally(models.Model):
    """Running totals of something, kept so that nobody counts all of history again. ``version`` rises with each change."""

    name = models.CharField(primary_key=True, max_length=40)
    version = models.BigIntegerField(default=0)
    value = CanonicalJSONField(default=dict)

    class Meta:
        db_table = "tallies"

    def __str__(self) -> str:
        return self.name
