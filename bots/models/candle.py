"""Candles that have been seen, shared by every bot and page."""

from django.db import models

from audit.fields import ExactDecimalField
from bots.models.bot import Venue


class Candle(models.Model):
    """One closed candle. Prices in the quote currency, volume in base units (0 where none is known)."""

    venue = models.CharField(max_length=20, choices=Venue.choices)
    symbol = models.CharField(max_length=30)
    timeframe = models.CharField(max_length=5)
    opened_at = models.DateTimeField()
    open = ExactDecimalField()
    high = ExactDecimalField()
    low = ExactDecimalField()
    close = ExactDecimalField()
    volume = ExactDecimalField()

    class Meta:
        db_table = "candles"
        constraints = [
            models.UniqueConstraint(fields=["venue", "symbol", "timeframe", "opened_at"], name="candle_once"),
            models.CheckConstraint(condition=models.Q(low__gt=0), name="candle_low_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol} {self.timeframe} {self.opened_at:%Y-%m-%d %H:%M}"
