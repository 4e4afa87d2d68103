"""What is used of a venue's rate limit, and what the venue said of a key: for all workers and hosts in one place."""

from datetime import UTC, datetime

from django.db import models
from django.db.models import Q

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class KrakenTier(models.TextChoices):
    """How far an account at Kraken is verified, which decides how much it may ask."""

    STARTER = "starter", "Starter"
    INTERMEDIATE = "intermediate", "Intermediate"
    PRO = "pro", "Pro"


class VenueAccess(models.Model):
    """What is known of an account's access to its venue. ``account`` is the account's name: kraken, alpaca, alpaca-paper.

    ``tier`` is Kraken's and is chosen by a person. ``rate_refused_at`` is when the venue last said that it was asked too much.
    ``nonce_refused_at`` is when it last refused a request's number, for the ``nonce_refusals``-th time in a row of refusals that
    began at ``nonce_refused_since``: something else uses the key. ``key_refused_at`` is when it last did not accept the key.
    ``locked_out_since`` is when it first locked the key out, ``locked_out_until`` until when nothing is asked on its account.
    """

    account = models.CharField(max_length=40, primary_key=True)
    tier = models.CharField(max_length=20, choices=KrakenTier.choices, default=KrakenTier.STARTER)
    rate_refused_at = models.DateTimeField(null=True)
    rate_refused_reason = models.CharField(max_length=300, blank=True, default="")
    nonce_refused_at = models.DateTimeField(null=True)
    nonce_refused_since = models.DateTimeField(null=True)
    nonce_refusals = models.PositiveIntegerField(default=0)
    key_refused_at = models.DateTimeField(null=True)
    key_refused_reason = models.CharField(max_length=300, blank=True, default="")
    locked_out_since = models.DateTimeField(null=True)
    locked_out_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "venue_access"
        verbose_name_plural = "venue access"
        ordering = ["account"]
        constraints = [
            models.CheckConstraint(condition=Q(tier__in=KrakenTier.values), name="venue_access_tier_known"),
        ]

    def __str__(self) -> str:
        return self.account


class RateCounter(models.Model):
    """One of a venue's counters of an account's requests, as we reckon it.

    ``scope`` is empty for the requests themselves, or the symbol whose orders and cancels Kraken's engine counts. The counter
    falls by itself at the limit's pace; ``empty_at`` is when it is at nothing if nothing more is asked, so how much is used
    follows from the time alone. ``spent_*`` is what each purpose was counted with since the hour ``hour`` began; ``held_back``
    is how often something was not asked in it because too little was left.
    """

    account = models.CharField(max_length=40)
    scope = models.CharField(max_length=30, blank=True, default="")
    empty_at = models.DateTimeField(default=LONG_AGO)
    hour = models.DateTimeField(default=LONG_AGO)
    spent_cancels = models.PositiveIntegerField(default=0)
    spent_exits = models.PositiveIntegerField(default=0)
    spent_orders = models.PositiveIntegerField(default=0)
    spent_look_ups = models.PositiveIntegerField(default=0)
    spent_background = models.PositiveIntegerField(default=0)
    held_back = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "rate_counters"
        ordering = ["account", "scope"]
        constraints = [models.UniqueConstraint(fields=["account", "scope"], name="rate_counter_once")]

    def __str__(self) -> str:
        return f"{self.account} {self.scope}".strip()
