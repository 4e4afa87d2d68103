"""The books: positions, deals and equity, keyed by (bot, is_live) and never mixed."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from audit.fields import CanonicalJSONField, ExactDecimalField
from bots.models.bot import Bot


class Position(models.Model):
    """What one bot holds in one book. Long only; money is in the quote currency.

    ``cost`` is what the held quantity was bought for without fees; ``realised_pnl`` is net of all ``fees``;
    ``cash_flow`` is money received less money spent, fees included, since the book began. ``recent_notionals`` are the values of
    the last 30 orders that filled, oldest first, as decimal texts.
    """

    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, related_name="positions")
    is_live = models.BooleanField()
    quantity = ExactDecimalField(default=Decimal(0))
    cost = ExactDecimalField(default=Decimal(0))
    realised_pnl = ExactDecimalField(default=Decimal(0))
    fees = ExactDecimalField(default=Decimal(0))
    cash_flow = ExactDecimalField(default=Decimal(0))
    mark_price = ExactDecimalField(null=True, help_text="The last price used to value the position.")
    marked_at = models.DateTimeField(null=True)
    last_entry_at = models.DateTimeField(null=True)
    last_exit_at = models.DateTimeField(null=True)
    filled_orders = models.PositiveIntegerField(default=0, help_text="Orders of this book that filled.")
    recent_notionals = CanonicalJSONField(default=list, blank=True)
    losing_streak = models.PositiveIntegerField(default=0, help_text="Deals in a row that closed with a loss.")
    last_loss_at = models.DateTimeField(null=True)
    reject_streak = models.PositiveIntegerField(default=0, help_text="Orders in a row that the venue rejected.")

    class Meta:
        db_table = "positions"
        ordering = ["bot_id", "is_live"]
        constraints = [
            models.UniqueConstraint(fields=["bot", "is_live"], name="position_one_a_book"),
            models.CheckConstraint(condition=Q(quantity__gte=Decimal(0)), name="position_is_long_or_flat"),
            models.CheckConstraint(condition=Q(cost__gte=Decimal(0)), name="position_cost_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.bot_id} {'live' if self.is_live else 'paper'}"

    @property
    def average_price(self) -> Decimal | None:
        """Return the average cost of one unit, or None when flat."""
        return self.cost / self.quantity if self.quantity else None

    @property
    def unrealised_pnl(self) -> Decimal | None:
        """Return the value at the last mark less the cost, or None while there is no mark to judge by."""
        if not self.quantity:
            return Decimal(0)
        return None if self.mark_price is None else self.quantity * self.mark_price - self.cost


class Deal(models.Model):
    """One round trip, from the first entry until flat; quote currency.

    ``pnl`` is what the deal realised so far, net of ``fees``; dust that it leaves keeps its cost in the position.
    """

    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, related_name="deals")
    is_live = models.BooleanField()
    symbol = models.CharField(max_length=30)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    bought_quantity = ExactDecimalField(default=Decimal(0))
    bought_notional = ExactDecimalField(default=Decimal(0))
    sold_quantity = ExactDecimalField(default=Decimal(0))
    sold_notional = ExactDecimalField(default=Decimal(0))
    fees = ExactDecimalField(default=Decimal(0))
    pnl = ExactDecimalField(default=Decimal(0))
    peak_price = ExactDecimalField(
        null=True, help_text="Highest bid seen while the deal was open; trailing exits use it."
    )
    legs = models.PositiveIntegerField(default=0, help_text="Entry orders that have filled in this deal.")

    class Meta:
        db_table = "deals"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["bot", "is_live"], condition=Q(closed_at__isnull=True), name="deal_one_open_a_book"
            )
        ]
        indexes = [models.Index(fields=["bot", "is_live", "-id"], name="deal_bot_live_id")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.opened_at:%Y-%m-%d %H:%M}"


class EquitySnapshot(models.Model):
    """One book's worth at a moment: equity = starting cash + cash flow + position at the mark. Paper and live apart."""

    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, related_name="equity_snapshots")
    is_live = models.BooleanField()
    taken_at = models.DateTimeField()
    equity = ExactDecimalField()
    position_value = ExactDecimalField()
    realised_pnl = ExactDecimalField()
    unrealised_pnl = ExactDecimalField()

    class Meta:
        db_table = "equity_snapshots"
        constraints = [
            models.UniqueConstraint(fields=["bot", "is_live", "taken_at"], name="equity_one_a_moment"),
        ]
        indexes = [
            models.Index(fields=["is_live", "taken_at"], name="equity_live_taken"),
            models.Index(fields=["taken_at"], name="equity_taken"),
            models.Index(fields=["bot", "taken_at"], name="equity_bot_taken"),
        ]
