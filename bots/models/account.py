"""Accounts: what the limits of all bots together are judged by, and the one signer of a venue's key."""

from django.db import models

from audit.fields import CanonicalJSONField, ExactDecimalField
from bots.models.bot import Bot, Venue


class Account(models.Model):
    """One account: a venue key for live (``kraken``, ``alpaca``), Alpaca's paper account, or a built-in paper bot by itself.

    Money is in USD. ``equity_usd`` and ``cash_usd`` are as of ``measured_at``; ``day_start_equity_usd`` and
    ``peak_equity_usd`` are baselines, moved by deposits, withdrawals and resets. ``flags`` are those that the venue set
    against the account (null: not known). ``worthless`` are the assets that count for nothing, since they have no market there.
    """

    name = models.CharField(max_length=40, primary_key=True)
    venue = models.CharField(max_length=20, choices=Venue.choices)
    is_live = models.BooleanField()
    bot = models.OneToOneField(Bot, on_delete=models.PROTECT, null=True, related_name="account")
    cash_usd = ExactDecimalField(null=True)
    equity_usd = ExactDecimalField(null=True)
    measured_at = models.DateTimeField(null=True)
    flags = CanonicalJSONField(null=True)
    worthless = CanonicalJSONField(default=list, blank=True)
    day = models.DateField(null=True, help_text="The UTC day that day_start_equity_usd belongs to.")
    day_start_equity_usd = ExactDecimalField(null=True)
    peak_equity_usd = ExactDecimalField(null=True)
    reset_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "accounts"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class NonceKey(models.Model):
    """The one signer of a venue's key: who may send a request that needs a nonce, until when, and the last nonce used.

    ``name`` is a digest of the key, never the key. Until ``urgent_until`` a kill
    switch's cancel waits, and others let it pass.
    """

    name = models.CharField(max_length=64, primary_key=True)
    holder = models.CharField(max_length=100, blank=True, default="")
    expires_at = models.DateTimeField()
    nonce = models.PositiveBigIntegerField(default=0)
    urgent_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "nonce_keys"

    def __str__(self) -> str:
        return self.name
