"""What may happen: trading states, limits, settings and notification preferences."""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField, ExactDecimalField, canonical_json
from safety.intents import Level


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

    class Meta:
        db_table = "risk_limits"
        verbose_name_plural = "risk limits"
        ordering = ["scope"]
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gt": Decimal(0)}),
                name=f"risk_limits_{name}_positive",
            )
            for name in ("notional_usd_max_paper", "notional_usd_max_live", "quote_age_s_max", "intent_age_s_max")
        ]

    def __str__(self) -> str:
        return self.scope


class NotificationPrefs(models.Model):
    """What is sent to people. One row, id 1. ``events`` maps each event's name to true or false."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    enabled = models.BooleanField(default=True)
    discord = models.BooleanField(default=True)
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
                "events": self.events,
                "quiet_hours": {"from": quiet_from, "until": quiet_until},
            }
        )
