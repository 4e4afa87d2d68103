"""A live bot's paper twin: what the built-in paper broker would have made of its live orders. For comparing only.

Nothing of it is a position, a fill or a deal, and nothing that judges or counts orders reads these tables.
"""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from audit.fields import ExactDecimalField
from bots.models.bot import Bot
from bots.models.order import Order


class ShadowBot(models.Model):
    """Whether a bot's live orders have a paper twin. ``since`` is when that was switched on last; older orders get none."""

    bot = models.OneToOneField(Bot, on_delete=models.PROTECT, primary_key=True, related_name="shadow_setting")
    is_on = models.BooleanField(default=False)
    since = models.DateTimeField()

    class Meta:
        db_table = "shadow_bots"

    def __str__(self) -> str:
        return f"{self.bot_id} {'on' if self.is_on else 'off'}"


class ShadowOrder(models.Model):
    """The paper twin of one live order: same side, quantity, limit and client order id, and the quote that the live one met.

    Money is in the quote currency. ``started_at`` is when the live order was claimed; ``fill_unit_seconds`` adds up each
    fill's quantity times its seconds after that. ``ended_at`` is set when it is full, or when the live order ended.
    """

    order = models.OneToOneField(Order, on_delete=models.PROTECT, primary_key=True, related_name="shadow")
    bid = ExactDecimalField()
    ask = ExactDecimalField()
    filled_quantity = ExactDecimalField(default=Decimal(0))
    filled_notional = ExactDecimalField(default=Decimal(0))
    fees = ExactDecimalField(default=Decimal(0))
    fill_unit_seconds = ExactDecimalField(default=Decimal(0))
    fills = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=200, blank=True, default="")
    started_at = models.DateTimeField()
    matched_until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "shadow_orders"
        constraints = [
            models.CheckConstraint(condition=Q(filled_quantity__gte=Decimal(0)), name="shadow_filled_not_negative"),
        ]
        indexes = [models.Index(fields=["order"], name="shadow_open", condition=Q(ended_at__isnull=True))]

    def __str__(self) -> str:
        return f"twin of {self.order_id}"
