"""What an account held when bots were armed on it, what moved that since, and where our books and the venue differ."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField, ExactDecimalField
from bots.models.account import Account


class AccountSync(models.Model):
    """How far the reconciliation of one account has come, and whose turn it is.

    Only the holder works, until ``expires_at`` by the database's clock; ``epoch`` rises with each turn. ``listed_at`` is when the
    open orders were last read soundly, ``sound_at`` when the balances were last compared; ``history_since`` is from when on
    fills and transfers have to be read again. ``reading`` is how far a history has come that did not fit into one round, in the
    words of bots/reconciliation/history.py; rounds have left it unfinished since ``reading_since``. While ``baseline_at`` is
    null, what the account held is not known yet. ``doubts`` are what one round found and the next has to confirm, by asset.
    """

    account = models.OneToOneField(Account, on_delete=models.PROTECT, primary_key=True, related_name="sync")
    holder = models.CharField(max_length=64, blank=True, default="")
    epoch = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField()
    wanted_at = models.DateTimeField(null=True, help_text="Somebody asked for a round before the next is due.")
    wanted_by = models.CharField(max_length=20, blank=True, default="")
    started_at = models.DateTimeField(null=True)
    listed_at = models.DateTimeField(null=True)
    sound_at = models.DateTimeField(null=True)
    history_at = models.DateTimeField(null=True)
    history_since = models.DateTimeField(null=True)
    reading = CanonicalJSONField(default=dict, blank=True)
    reading_since = models.DateTimeField(null=True)
    baseline_at = models.DateTimeField(null=True)
    doubts = CanonicalJSONField(default=dict, blank=True)
    failing_since = models.DateTimeField(null=True)
    failure = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        db_table = "account_syncs"

    def __str__(self) -> str:
        return self.account_id


class RunState(models.TextChoices):
    """How a reconciliation run ended. FAILED changed no figure: an answer was missing or unsound."""

    AGREES = "agrees"
    DIFFERS = "differs"
    WAITS = "waits"
    FAILED = "failed"


class ReconciliationRun(models.Model):
    """One run over one account. WAITS: something was under way, or what was found has to be confirmed by the next run.

    ``figures`` holds, by asset and as decimal texts, what both sides say; ``found`` counts what was done about orders.
    Kept for two days.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="reconciliations")
    trigger = models.CharField(max_length=20)
    state = models.CharField(max_length=10, choices=RunState.choices)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    reason = models.CharField(max_length=500, blank=True, default="")
    figures = CanonicalJSONField(default=dict, blank=True)
    found = CanonicalJSONField(default=dict, blank=True)

    class Meta:
        db_table = "reconciliation_runs"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="reconciliation_state_known"),
        ]
        indexes = [models.Index(fields=["account", "-id"], name="reconciliation_account_id")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.state}"


class AssetBaseline(models.Model):
    """What an account holds of one asset that no bot's book accounts for: the owner's, never sold by us.

    ``quantity`` is what the account held when it was armed, moved by what happened since without us. ``external_quantity`` is
    what others bought less what they sold since then, and ``external_price`` what they last traded at.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="baselines")
    asset = models.CharField(max_length=20)
    quantity = ExactDecimalField(default=Decimal(0))
    external_quantity = ExactDecimalField(default=Decimal(0))
    external_price = ExactDecimalField(null=True)
    agreed_at = models.DateTimeField(null=True, help_text="When both sides last agreed about it.")

    class Meta:
        db_table = "asset_baselines"
        ordering = ["account_id", "asset"]
        constraints = [models.UniqueConstraint(fields=["account", "asset"], name="baseline_one_an_asset")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.asset}"


class MovementKind(models.TextChoices):
    """What moved a baseline."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    REWARD = "reward"
    FEE = "fee"
    OTHER = "other"
    EXTERNAL_FILL = "external_fill"
    OVERSOLD = "oversold"
    SETTLED = "settled"
    CARRIED = "carried"
    SHARE_CHANGE = "share_change"


class AccountMovement(models.Model):
    """One movement of one asset that no order of ours caused. ``reference`` is the venue's own id of it, and counts once.

    Unless ``counts`` it happened before the baseline was taken, and is in it already. ``value_usd`` is by how much it moved the
    baselines that losses are judged by; null for what moves none. ``undone_at``: what it was taken for turned out to be ours.
    ``what`` is the venue's name of a change of shares, and ``share_difference`` what asks a person about it.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="movements")
    reference = models.CharField(max_length=120)
    asset = models.CharField(max_length=20)
    kind = models.CharField(max_length=20, choices=MovementKind.choices)
    quantity = ExactDecimalField()
    value_usd = ExactDecimalField(null=True)
    counts = models.BooleanField(default=True)
    happened_at = models.DateTimeField()
    noted_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True)
    what = models.CharField(max_length=20, blank=True, default="")
    share_difference = models.ForeignKey(
        "bots.Difference", on_delete=models.PROTECT, null=True, related_name="share_movements"
    )

    class Meta:
        db_table = "account_movements"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "reference", "asset"], name="movement_counts_once"),
            models.CheckConstraint(condition=Q(kind__in=MovementKind.values), name="movement_kind_known"),
        ]
        indexes = [models.Index(fields=["account", "happened_at"], name="movement_account_time")]

    def __str__(self) -> str:
        return self.reference


class DifferenceKind(models.TextChoices):
    """What our books and the venue disagree about."""

    SHORTAGE = "shortage"
    SURPLUS = "surplus"
    ORDER = "order"
    OVERSOLD = "oversold"
    SHARES = "shares"


class Difference(models.Model):
    """Something about which our books and the venue differ, and nobody knows why. While it is open, entries wait.

    ``asset`` closes every symbol that it is part of; ``symbol`` that one alone. Of figures, as of ``seen_at``: ``venue`` is what
    the venue shows, ``expected`` what ought to be there, ``held`` what our positions say, ``flows`` what our trades brought.
    ``outcome`` says how it was closed: ``agrees`` by itself, ``accepted`` or ``noted`` by ``closed_by``.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="differences")
    kind = models.CharField(max_length=10, choices=DifferenceKind.choices)
    key = models.CharField(max_length=120, help_text="What it is about; one difference at a time is open about it.")
    asset = models.CharField(max_length=20, blank=True, default="")
    symbol = models.CharField(max_length=30, blank=True, default="")
    venue_order_id = models.CharField(max_length=80, blank=True, default="")
    client_order_id = models.CharField(max_length=80, blank=True, default="")
    text = models.CharField(max_length=500)
    venue = ExactDecimalField(null=True)
    expected = ExactDecimalField(null=True)
    held = ExactDecimalField(null=True)
    flows = ExactDecimalField(null=True)
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=150, blank=True, default="")
    outcome = models.CharField(max_length=10, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        db_table = "reconciliation_differences"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=DifferenceKind.values), name="difference_kind_known"),
            models.UniqueConstraint(
                fields=["account", "key"], condition=Q(closed_at__isnull=True), name="difference_one_open"
            ),
        ]

    def __str__(self) -> str:
        return self.text
