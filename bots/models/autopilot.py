"""The autopilot's settings, and what a scan thinks of each symbol."""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from audit.fields import CanonicalJSONField, ExactDecimalField


class AutopilotProfile(models.TextChoices):
    """How bold it is; each sets slots and the least score (``bots/autopilot_config.py``), which may then be changed."""

    CONSERVATIVE = "conservative"
    BALANCED = "balanced"
    AGGRESSIVE = "aggressive"


class CloseMode(models.TextChoices):
    """What becomes of a bot whose score fell: no more entries and exits as its strategy has them, or all is sold at once."""

    MANAGE_OUT = "manage_out"
    FLATTEN = "flatten"


class AutopilotConfig(models.Model):
    """What the autopilot may do. One row, id 1; off and on paper until a person says otherwise.

    ``universe`` lists symbols by venue. A symbol may get a bot from ``score_min`` on, loses it below ``score_demote``, and is
    watched in between. ``total_capital_usd`` is all that its bots may have together, ``slots`` how many there may be,
    ``sector_slots`` how many of one sector (crypto is one). ``cooldown_minutes`` is how long a symbol is left alone after its bot
    was closed. The losses are those of its own bots, in percent of ``total_capital_usd``: from then on it makes none until the
    next day or week.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    enabled = models.BooleanField(default=False)
    dry_run = models.BooleanField(default=True)
    profile = models.CharField(max_length=20, choices=AutopilotProfile.choices, default=AutopilotProfile.CONSERVATIVE)
    universe = CanonicalJSONField(default=dict, blank=True)
    asset_types = CanonicalJSONField(default=list, blank=True)
    total_capital_usd = ExactDecimalField(default=Decimal(1000))
    is_by_conviction = models.BooleanField(default=False)
    slots = models.PositiveSmallIntegerField(default=3)
    sector_slots = models.PositiveSmallIntegerField(default=2)
    score_min = models.PositiveSmallIntegerField(default=75)
    score_demote = models.PositiveSmallIntegerField(default=60)
    cooldown_minutes = models.PositiveIntegerField(default=240)
    scan_interval_s = models.PositiveIntegerField(default=300)
    daily_loss_pct = ExactDecimalField(default=Decimal(2))
    weekly_loss_pct = ExactDecimalField(default=Decimal(5))
    auto_start = models.BooleanField(default=True)
    close_mode = models.CharField(max_length=20, choices=CloseMode.choices, default=CloseMode.MANAGE_OUT)

    class Meta:
        db_table = "autopilot_config"
        verbose_name_plural = "autopilot config"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="autopilot_config_single_row"),
            models.CheckConstraint(condition=Q(score_demote__lte=F("score_min")), name="autopilot_demotes_below_min"),
            models.CheckConstraint(condition=Q(score_min__lte=100), name="autopilot_score_is_a_percentage"),
        ]

    def __str__(self) -> str:
        return "Autopilot"


class Recommendation(models.Model):
    """What one scan thought of a symbol: its score from 0 to 100 with its parts, the regime, what is allowed, and why."""

    venue = models.CharField(max_length=20)
    symbol = models.CharField(max_length=20)
    timeframe = models.CharField(max_length=10)
    score = models.PositiveSmallIntegerField()
    parts = CanonicalJSONField(default=dict, blank=True)
    regime = models.CharField(max_length=20)
    confidence = ExactDecimalField()
    action = models.CharField(max_length=20)
    reasons = CanonicalJSONField(default=list, blank=True)
    cost_bps = ExactDecimalField(null=True)
    scanned_at = models.DateTimeField()

    class Meta:
        db_table = "recommendations"
        ordering = ["-id"]
        indexes = [models.Index(fields=["venue", "symbol", "-id"], name="recommendation_latest")]

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol} {self.score}"
