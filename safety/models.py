"""What may happen: trading states, limits, settings and notification preferences."""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField, ExactDecimalField, canonical_json
from safety.api_models import ApiFailure as ApiFailure
from safety.api_models import ApiToken as ApiToken
from safety.intents import Level
from safety.notification_models import ChannelState as ChannelState
from safety.notification_models import Delivery as Delivery
from safety.notification_models import DeliveryStatus as DeliveryStatus
from safety.notification_models import Notification as Notification


class Setting(models.Model):
    """One setting by its key. ``kill_switch`` set to 1 halts; setting it to 0 asks for a release."""

    key = models.CharField(max_length=64, primary_key=True)
    value = models.TextField()

    class Meta:
        db_table = "settings"
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class TradingState(models.Model):
    """How much trading a scope allows: ``global``, ``venue:NAME`` or ``bot:ID``. A missing global row reads as halted."""

    scope = models.CharField(max_length=80, primary_key=True)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.HALTED)
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=150, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "trading_states"
        ordering = ["scope"]
        permissions = [
            ("engage_kill_switch", "Can engage the kill switch"),
            ("release_kill_switch", "Can release the kill switch"),
            ("run_readiness", "Can run the readiness checks"),
        ]
        constraints = [models.CheckConstraint(condition=Q(level__in=Level.values), name="trading_state_level_known")]

    def __str__(self) -> str:
        return f"{self.scope}: {self.level}"


class RiskLimits(models.Model):
    """Limits for one scope: ``global`` or ``bot:ID``. An empty figure inherits; where both are set the stricter holds."""

    scope = models.CharField(max_length=80, primary_key=True)
    notional_usd_max_paper = ExactDecimalField(null=True, blank=True)
    notional_usd_max_live = ExactDecimalField(null=True, blank=True)
    rate_per_minute_bot = models.PositiveIntegerField(null=True, blank=True)
    rate_per_minute_account = models.PositiveIntegerField(null=True, blank=True)
    open_orders_bot_max = models.PositiveIntegerField(null=True, blank=True)
    open_orders_account_max = models.PositiveIntegerField(null=True, blank=True)
    quote_age_s_max = ExactDecimalField(null=True, blank=True)
    intent_age_s_max = ExactDecimalField(null=True, blank=True)
    notional_equity_pct = ExactDecimalField(null=True, blank=True)
    notional_floor_usd = ExactDecimalField(null=True, blank=True)
    size_outlier_multiple = ExactDecimalField(null=True, blank=True)
    collar_pct_major = ExactDecimalField(null=True, blank=True)
    collar_pct_other = ExactDecimalField(null=True, blank=True)
    collar_passive_pct = ExactDecimalField(null=True, blank=True)
    candle_periods_max = ExactDecimalField(null=True, blank=True)
    repeat_per_day = models.PositiveIntegerField(null=True, blank=True)
    position_equity_pct = ExactDecimalField(null=True, blank=True)
    position_floor_usd = ExactDecimalField(null=True, blank=True)
    gross_equity_pct = ExactDecimalField(null=True, blank=True)
    gross_floor_usd = ExactDecimalField(null=True, blank=True)
    daily_loss_pct = ExactDecimalField(null=True, blank=True)
    drawdown_pct = ExactDecimalField(null=True, blank=True)
    losing_streak_max = models.PositiveIntegerField(null=True, blank=True)
    losing_pause_h = ExactDecimalField(null=True, blank=True)
    reject_streak_max = models.PositiveIntegerField(null=True, blank=True)
    ramp_usd_max = ExactDecimalField(null=True, blank=True)
    switched_off = CanonicalJSONField(
        default=list,
        blank=True,
        help_text="Codes of the controls that are switched off; in the row for all bots only.",
    )

    class Meta:
        db_table = "risk_limits"
        verbose_name_plural = "risk limits"
        ordering = ["scope"]
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gt": Decimal(0)}),
                name=f"risk_limits_{name}_positive",
            )
            for name in (
                "notional_usd_max_paper",
                "notional_usd_max_live",
                "quote_age_s_max",
                "intent_age_s_max",
                "notional_equity_pct",
                "notional_floor_usd",
                "size_outlier_multiple",
                "collar_pct_major",
                "collar_pct_other",
                "collar_passive_pct",
                "candle_periods_max",
                "position_equity_pct",
                "position_floor_usd",
                "gross_equity_pct",
                "gross_floor_usd",
                "daily_loss_pct",
                "drawdown_pct",
                "losing_pause_h",
                "ramp_usd_max",
            )
        ]

    def __str__(self) -> str:
        return self.scope


class KillRun(models.Model):
    """One engagement of the kill switch and what came of it. Kept up by whoever works on it, so that a death loses nothing.

    ``blocked_ms`` is how long it took until nothing new could be sent. ``canceled``, ``cancel_failed`` and ``in_flight`` are
    lists of client order ids. ``drained_at``: from then on no further order reaches a venue. A flatten was confirmed by a
    person and may send until ``flatten_until``. ``ended_at``: nothing is left to do.
    """

    scope = models.CharField(max_length=80)
    level = models.CharField(max_length=10, choices=Level.choices)
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=150)
    cancel_resting = models.BooleanField(default=True)
    is_flatten = models.BooleanField(default=False)
    flatten_until = models.DateTimeField(null=True)
    engaged_at = models.DateTimeField()
    blocked_ms = models.PositiveIntegerField(null=True)
    drained_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    canceled = CanonicalJSONField(default=list, blank=True)
    cancel_failed = CanonicalJSONField(default=list, blank=True)
    in_flight = CanonicalJSONField(default=list, blank=True)

    class Meta:
        db_table = "kill_runs"
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=Q(level__in=Level.values), name="kill_run_level_known")]
        indexes = [models.Index(fields=["scope"], name="kill_run_unfinished", condition=Q(ended_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.scope} {self.level} {self.engaged_at:%Y-%m-%d %H:%M:%S}"


class ReadinessRun(models.Model):
    """One run of the readiness checks: what each found in ``results``, under which version and configuration."""

    trigger = models.CharField(max_length=20)
    actor = models.CharField(max_length=150, blank=True, default="")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    version = models.CharField(max_length=40)
    config_hash = models.CharField(max_length=64)
    results = CanonicalJSONField(default=list, blank=True)

    class Meta:
        db_table = "readiness_runs"
        ordering = ["-id"]
        indexes = [models.Index(fields=["-finished_at"], name="readiness_finished")]

    def __str__(self) -> str:
        return f"{self.trigger} {self.started_at:%Y-%m-%d %H:%M:%S}"


class NotificationPrefs(models.Model):
    """What is sent to people. One row, id 1. ``events`` maps each event's name to true or false."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    enabled = models.BooleanField(default=True)
    discord = models.BooleanField(default=True)
    email = models.BooleanField(default=True)
    events = CanonicalJSONField(default=dict, blank=True)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)

    class Meta:
        db_table = "notification_prefs"
        verbose_name_plural = "notification preferences"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="notification_prefs_single_row")]

    def __str__(self) -> str:
        return "Notification preferences"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and keep the setting ``notification_prefs`` telling the same to whoever reads the settings table."""
        super().save(*args, **kwargs)
        Setting.objects.update_or_create(key="notification_prefs", defaults={"value": self.as_text()})

    def as_text(self) -> str:
        """Return the preferences as canonical JSON; times as ``HH:MM``, null where there is none."""
        times = (one.strftime("%H:%M") if one else None for one in (self.quiet_from, self.quiet_until))
        quiet_from, quiet_until = times
        return canonical_json(
            {
                "enabled": self.enabled,
                "discord": self.discord,
                "email": self.email,
                "events": self.events,
                "quiet_hours": {"from": quiet_from, "until": quiet_until},
            }
        )


class ApiRequest(models.Model):
    """A request over the API that carried an Idempotency-Key: what it asked for, and what it made.

    Written before anything is done. ``made`` is the client order id that its order has or will have, or the id of the bot that it
    made. What became of an order is read from the order; ``outcome`` holds a denial that left none. ``holder`` is the attempt
    that works on it, until ``claimed_until``; when that has passed, another attempt may take over.
    """

    caller = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    endpoint = models.CharField(max_length=40)
    body_hash = models.CharField(max_length=64)
    made = models.CharField(max_length=20, blank=True)
    outcome = CanonicalJSONField(null=True)
    holder = models.CharField(max_length=32)
    claimed_at = models.DateTimeField()
    claimed_until = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "api_requests"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="api_request_key_is_used_once")]
        indexes = [models.Index(fields=["created_at"], name="api_request_age")]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.created_at:%Y-%m-%d %H:%M:%S}"
