"""Bots: who trades what, with how much, and how it is doing."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField, ExactDecimalField


class BotStatus(models.TextChoices):
    """What a bot is asked to do."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"
    ARCHIVED = "archived"


class PaperBroker(models.TextChoices):
    """Who fills a bot's paper orders."""

    BUILT_IN = "built_in"
    VENUE = "venue"


class Venue(models.TextChoices):
    """Where a symbol belongs. ``replay`` plays recorded candles and can never be live."""

    REPLAY = "replay"
    KRAKEN = "kraken"
    ALPACA = "alpaca"


class Bot(models.Model):
    """One bot. ``params`` follow its strategy's schema; capital and equity are in USD."""

    name = models.CharField(max_length=60, unique=True)
    venue = models.CharField(max_length=20, choices=Venue.choices)
    symbol = models.CharField(max_length=30)
    strategy = models.CharField(max_length=40)
    params = CanonicalJSONField(default=dict, blank=True)
    capital_usd = ExactDecimalField()
    dry_run = models.BooleanField(default=True, db_default=True)
    status = models.CharField(max_length=10, choices=BotStatus.choices, default=BotStatus.STOPPED)
    entries_held = models.CharField(
        max_length=200, blank=True, default="", help_text="Why new entries wait for a person."
    )
    paper_broker = models.CharField(max_length=10, choices=PaperBroker.choices, default=PaperBroker.BUILT_IN)
    paper_equity_usd = ExactDecimalField(default=Decimal(100_000))
    poll_seconds = models.PositiveIntegerField(default=5)
    status_reason = models.CharField(max_length=500, blank=True, default="")
    last_error = models.TextField(blank=True, default="")
    last_error_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(
        default=1, help_text="Rises with every change, so that workers reload the bot."
    )
    attended_at = models.DateTimeField(
        null=True, blank=True, help_text="When a person last started it or cleared what held it."
    )
    went_live_at = models.DateTimeField(null=True, blank=True, help_text="When it was last set live.")
    turning_to_paper = models.BooleanField(
        default=False, help_text="Live and reduce-only until flat; then it turns to paper."
    )
    by_autopilot = models.BooleanField(
        default=False, help_text="The autopilot made it and may close it. It touches no other bot."
    )
    score_min = models.PositiveSmallIntegerField(
        default=0, help_text="New entries only while the market's score is at least this, 0 to 100. 0: any score."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "bots"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(venue__in=Venue.values), name="bot_venue_known"),
            models.CheckConstraint(condition=Q(status__in=BotStatus.values), name="bot_status_known"),
            models.CheckConstraint(condition=Q(paper_broker__in=PaperBroker.values), name="bot_paper_broker_known"),
            models.CheckConstraint(condition=Q(capital_usd__gt=Decimal(0)), name="bot_capital_positive"),
            models.CheckConstraint(condition=Q(paper_equity_usd__gt=Decimal(0)), name="bot_paper_equity_positive"),
            models.CheckConstraint(condition=Q(poll_seconds__gte=1, poll_seconds__lte=86_400), name="bot_poll_bounded"),
            models.CheckConstraint(condition=~Q(venue="replay") | Q(dry_run=True), name="bot_replay_is_never_live"),
            models.CheckConstraint(condition=Q(score_min__lte=100), name="bot_score_min_is_a_score"),
            # However often a cycle is cut off and run again: one bot of the autopilot for a symbol.
            models.UniqueConstraint(
                fields=["venue", "symbol"],
                condition=Q(by_autopilot=True) & ~Q(status="archived"),
                name="bot_of_autopilot_once_a_symbol",
            ),
        ]
        indexes = [models.Index(fields=["status", "name"], name="bot_status_name")]
        permissions = [
            ("operate_bot", "Can start, stop, pause and close bots"),
            ("trade_live", "Can set a bot live and trade live"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        """Return whether the bot's orders are meant for real money."""
        return not self.dry_run

    @property
    def trades_at_venue(self) -> bool:
        """Return whether the bot's orders go over a network: live ones, and those for the venue's own paper account."""
        return self.is_live or self.paper_broker == PaperBroker.VENUE


class BotTick(models.Model):
    """When a bot last ticked and what it said. Apart from the bot, since it changes with every tick."""

    bot = models.OneToOneField(Bot, on_delete=models.PROTECT, primary_key=True, related_name="tick")
    due_at = models.DateTimeField(null=True, help_text="When the last finished tick was due.")
    ticked_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=300, blank=True, default="")
    blocked_by = CanonicalJSONField(default=list, blank=True)

    class Meta:
        db_table = "bot_ticks"
