"""Orders and their fills."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from audit.fields import ExactDecimalField
from bots.models.bot import Bot, Venue
from bots.order_states import OPEN_STATES, OrderStatus
from safety.intents import OrderType, Side


class Order(models.Model):
    """One order, from intent to its end. ``is_live`` is true for real money; fees are in the quote currency."""

    client_order_id = models.CharField(max_length=18, unique=True)
    bot = models.ForeignKey(Bot, on_delete=models.PROTECT, related_name="orders", null=True)
    venue = models.CharField(max_length=20, choices=Venue.choices)
    symbol = models.CharField(max_length=30)
    side = models.CharField(max_length=4, choices=Side.choices)
    type = models.CharField(max_length=6, choices=OrderType.choices)
    status = models.CharField(max_length=20, choices=OrderStatus.choices, default=OrderStatus.PENDING)
    quantity = ExactDecimalField()
    limit_price = ExactDecimalField(null=True)
    filled_quantity = ExactDecimalField(default=Decimal(0))
    filled_notional = ExactDecimalField(default=Decimal(0))
    fees = ExactDecimalField(default=Decimal(0))
    is_live = models.BooleanField()
    reduce_only = models.BooleanField(default=False)
    is_entry = models.BooleanField(default=True, help_text="Meant to open or enlarge a position when it was claimed.")
    leg = models.CharField(max_length=30)
    reason = models.CharField(max_length=300, blank=True, default="")
    actor = models.CharField(max_length=150)
    venue_order_id = models.CharField(max_length=80, blank=True, default="")
    fence_token = models.CharField(max_length=60, blank=True, default="")
    submitting_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    is_flatten = models.BooleanField(default=False)
    empty_look_ups = models.PositiveSmallIntegerField(
        default=0, help_text="Whole look-ups in a row that did not find it at the venue."
    )
    looked_up_at = models.DateTimeField(null=True)
    missed_since = models.DateTimeField(
        null=True, help_text="When a whole look-up first did not find it, though it rests as far as we know."
    )
    missed_at = models.DateTimeField(null=True, help_text="When a whole look-up last did not find it.")
    external_ended_at = models.DateTimeField(
        null=True, help_text="When an order of somebody else's was seen to have ended."
    )
    matched_until = models.DateTimeField(
        null=True, help_text="Market data up to here has been tried against this order."
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "orders"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="order_status_known"),
            models.CheckConstraint(condition=Q(side__in=Side.values), name="order_side_known"),
            models.CheckConstraint(condition=Q(type__in=OrderType.values), name="order_type_known"),
            models.CheckConstraint(condition=Q(quantity__gt=Decimal(0)), name="order_quantity_positive"),
            models.CheckConstraint(condition=Q(filled_quantity__gte=Decimal(0)), name="order_filled_not_negative"),
            models.CheckConstraint(
                condition=Q(limit_price__isnull=True) | Q(limit_price__gt=Decimal(0)), name="order_limit_price_positive"
            ),
            models.CheckConstraint(
                condition=Q(type=OrderType.MARKET, limit_price__isnull=True)
                | Q(type=OrderType.LIMIT, limit_price__isnull=False),
                name="order_limit_has_price",
            ),
            models.CheckConstraint(condition=~Q(venue="replay") | Q(is_live=False), name="order_replay_is_never_live"),
        ]
        indexes = [
            models.Index(fields=["bot", "-id"], name="order_bot_id"),
            models.Index(fields=["is_live", "-id"], name="order_live_id"),
            models.Index(fields=["status", "-id"], name="order_status_id"),
            models.Index(fields=["bot", "created_at"], name="order_bot_created"),
            models.Index(fields=["symbol", "-id"], name="order_symbol_id"),
            models.Index(fields=["venue", "-id"], name="order_of_venue_id"),
            models.Index(fields=["created_at"], name="order_created"),
            models.Index(
                fields=["bot", "cancel_requested_at"],
                name="order_bot_cancel",
                condition=Q(cancel_requested_at__isnull=False),
            ),
            models.Index(fields=["bot"], name="order_open", condition=Q(status__in=sorted(OPEN_STATES))),
            models.Index(
                fields=["venue", "status"],
                name="order_live_open",
                condition=Q(status__in=sorted(OPEN_STATES), is_live=True),
            ),
            models.Index(
                fields=["venue", "symbol", "submitting_at"], name="order_live_symbol", condition=Q(is_live=True)
            ),
            models.Index(fields=["venue", "venue_order_id"], name="order_venue_id", condition=~Q(venue_order_id="")),
            models.Index(
                fields=["venue"],
                name="order_external_open",
                condition=Q(status=OrderStatus.EXTERNAL, external_ended_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.client_order_id

    @property
    def remaining_quantity(self) -> Decimal:
        """Return the quantity that has not been filled."""
        return self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Return the mean price of the fills, or None while there are none."""
        return self.filled_notional / self.filled_quantity if self.filled_quantity else None


class Fill(models.Model):
    """One execution. ``trade_id`` is the venue's and counts once; the fee is in the quote currency."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="fills")
    venue = models.CharField(max_length=20)
    is_live = models.BooleanField()
    trade_id = models.CharField(max_length=80)
    quantity = ExactDecimalField()
    price = ExactDecimalField()
    fee = ExactDecimalField()
    is_maker = models.BooleanField()
    filled_at = models.DateTimeField()

    class Meta:
        db_table = "fills"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["venue", "is_live", "trade_id"], name="fill_trade_counts_once"),
            models.CheckConstraint(condition=Q(quantity__gt=Decimal(0)), name="fill_quantity_positive"),
            models.CheckConstraint(condition=Q(price__gt=Decimal(0)), name="fill_price_positive"),
        ]

    def __str__(self) -> str:
        return self.trade_id
