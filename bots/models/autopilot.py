"""The autopilot's settings, and what a scan thinks of each symbol."""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from audit.fields import CanonicalJSONField, ExactDecimalField
from bots.models.bot import Bot


class AutopilotProfile(models.TextChoices):
    """How bold it is; each sets slots and the least score (``bots/autopilot/config.py``), which may then be changed."""

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


class CycleStatus(models.TextChoices):
    """How far a cycle came. FAILED: as a whole, or an act in it for a fault; its error says which. One that was cut off stays
    RUNNING until the next one begins, which calls it LOST.
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


class AutopilotCycle(models.Model):
    """One cycle: scan, close or demote, create. ``trigger`` is ``schedule`` or who ran it; ``summary`` counts what it came to."""

    trigger = models.CharField(max_length=150)
    status = models.CharField(max_length=10, choices=CycleStatus.choices, default=CycleStatus.RUNNING)
    holder = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    summary = CanonicalJSONField(default=dict, blank=True)
    error = models.TextField(blank=True, default="")

    class Meta:
        db_table = "autopilot_cycles"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=CycleStatus.values), name="autopilot_cycle_status_known"),
            # Never two at once, on any number of hosts: the lease sees to that, and the database refuses the rest.
            models.UniqueConstraint(
                fields=["status"], condition=Q(status="running"), name="autopilot_one_cycle_at_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trigger} {self.started_at:%Y-%m-%d %H:%M:%S}"


class AutopilotDecision(models.Model):
    """One decision of a cycle about a symbol, or about everything (no symbol), with its reason: a code, and a sentence.

    ``kind`` is created, started, closed, demoted, promoted, kept, watched, skipped or failed.
    """

    cycle = models.ForeignKey(AutopilotCycle, on_delete=models.CASCADE, related_name="decisions")
    decided_at = models.DateTimeField()
    kind = models.CharField(max_length=20)
    venue = models.CharField(max_length=20, blank=True, default="")
    symbol = models.CharField(max_length=30, blank=True, default="")
    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, null=True, related_name="+")
    score = models.PositiveSmallIntegerField(null=True)
    code = models.CharField(max_length=40)
    reason = models.TextField()
    facts = CanonicalJSONField(default=dict, blank=True)

    class Meta:
        db_table = "autopilot_decisions"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["venue", "symbol", "-id"], name="autopilot_decision_of_symbol"),
            models.Index(fields=["decided_at"], name="autopilot_decision_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.venue} {self.symbol}"


class AutopilotState(models.Model):
    """How the autopilot does. One row, id 1.

    ``heartbeat_at`` is when its last whole cycle ended, ``next_at`` when the next one is due, ``enabled_at`` when it was last
    switched on, and ``told_late_at`` the heartbeat of which people were told that it is too old.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    heartbeat_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(null=True)
    enabled_at = models.DateTimeField(null=True)
    told_late_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "autopilot_state"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="autopilot_state_single_row")]

    def __str__(self) -> str:
        return "Autopilot state"


class AutopilotLosses(models.Model):
    """What the autopilot's own bots made, and what it may still lose. Two rows: paper and live are never added together.

    ``pnl_usd`` is what they had made together when that was last known. A day's loss (UTC) and a week's (from Monday) are counted
    from what they had made by its start. ``stopped_at`` is when a limit was reached, ``stopped_until`` when that lets it go on,
    and ``stopped_by`` says which.
    """

    is_live = models.BooleanField(unique=True)
    pnl_usd = ExactDecimalField(null=True)
    measured_at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    day_start_pnl_usd = ExactDecimalField(null=True)
    week = models.DateField(null=True)
    week_start_pnl_usd = ExactDecimalField(null=True)
    stopped_at = models.DateTimeField(null=True)
    stopped_until = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        db_table = "autopilot_losses"

    def __str__(self) -> str:
        return f"Autopilot losses, {'live' if self.is_live else 'paper'}"


class Phase(models.TextChoices):
    """How the autopilot left one of its bots. What a person made of it since is seen by comparing that with the bot.

    STARTING: made, and about to be set live and started. WAITING: made, for a person to start. TRADING: it trades. LEAVING: no
    more entries, archived when it holds nothing. LOSS_HOLD: no entries, since a loss limit was reached. KEPT: a person let it go
    on, so its score has to recover once before it may be closed; it stays so while a loss limit holds its entries.
    """

    STARTING = "starting"
    WAITING = "waiting"
    TRADING = "trading"
    LEAVING = "leaving"
    LOSS_HOLD = "loss_hold"
    KEPT = "kept"


class AutopilotBot(models.Model):
    """What the autopilot knows of a bot that it made: why, at what price, how it left it, and when it was closed.

    ``reason`` is what it wrote as the bot's status reason when it paused it. ``closed_at`` is when it saw the bot archived, by
    whomever; the cooldown of the symbol counts from there. A price is null where none was known.
    """

    bot = models.OneToOneField(Bot, on_delete=models.PROTECT, primary_key=True, related_name="autopilot")
    made_at = models.DateTimeField()
    made_score = models.PositiveSmallIntegerField()
    made_regime = models.CharField(max_length=20)
    made_price = ExactDecimalField(null=True)
    phase = models.CharField(max_length=20, choices=Phase.choices)
    phase_at = models.DateTimeField()
    reason = models.CharField(max_length=500, blank=True, default="")
    closed_at = models.DateTimeField(null=True)
    closed_price = ExactDecimalField(null=True)

    class Meta:
        db_table = "autopilot_bots"
        constraints = [
            models.CheckConstraint(condition=Q(phase__in=Phase.values), name="autopilot_bot_phase_known"),
        ]

    def __str__(self) -> str:
        return f"bot {self.bot_id}: {self.phase}"


class Recommendation(models.Model):
    """What one scan thought of a symbol: its score from 0 to 100 with its parts, the regime, what is allowed, and why.

    ``score_before`` is the score of the scan before, ``trend`` the change over the last ones, in points a scan.
    """

    venue = models.CharField(max_length=20)
    symbol = models.CharField(max_length=20)
    timeframe = models.CharField(max_length=10)
    cycle = models.ForeignKey(AutopilotCycle, on_delete=models.SET_NULL, null=True, related_name="recommendations")
    score = models.PositiveSmallIntegerField()
    score_before = models.PositiveSmallIntegerField(null=True)
    trend = ExactDecimalField(null=True)
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
