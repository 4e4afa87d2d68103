"""A live bot's paper twin: switching it on and off, and what its orders say when they are held against the live ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, localcontext

from django.utils import timezone

from audit.log import OperatorEventRecord, record
from bots import manager
from bots.books import EXACT
from bots.manager import BotActionError
from bots.models import Bot, BotStatus, Fill, Order, ShadowBot, ShadowOrder, Venue
from bots.order_states import OrderStatus
from safety.intents import Side

BASIS_POINTS = Decimal(10_000)
ON, OFF = "on", "off"
#: Of these the venue never had anything: there is nothing to compare.
NEVER_PLACED = (
    OrderStatus.REJECTED,
    OrderStatus.NOT_SENT,
    OrderStatus.DENIED,
    OrderStatus.SUBMITTING,
    OrderStatus.UNKNOWN,
)


def is_shadowed(bot: Bot) -> bool:
    """Return whether the bot's live orders have a paper twin now."""
    return ShadowBot.objects.filter(bot=bot, is_on=True).exists()


def has_twins(bot: Bot) -> bool:
    """Return whether there is anything to see of a paper twin of this bot: it is on, or it was."""
    return ShadowBot.objects.filter(bot=bot).exists()


def set_shadow(bot_id: int, *, on: bool, actor: str) -> Bot:
    """Let a bot's live orders have a paper twin from now on, or no longer; audited. The same again changes nothing.

    Nothing that the bot does changes by it. Raises BotActionError for a bot that can never be live.
    """
    with manager.locked(bot_id) as bot:
        if on and (bot.venue == Venue.REPLAY or bot.status == BotStatus.ARCHIVED):
            raise BotActionError(
                "This bot can't be live, so there is nothing that a paper twin could be compared with."
            )
        setting = ShadowBot.objects.filter(bot=bot).first() or ShadowBot(bot=bot, since=timezone.now())
        if setting.is_on == on:
            return bot
        setting.is_on = on
        setting.since = timezone.now() if on else setting.since
        setting.save()
        record(
            OperatorEventRecord(
                actor=actor, action="bot_shadow_changed", object=f"bot:{bot.pk} {bot.name}",
                old=OFF if on else ON, new=ON if on else OFF,
            )
        )  # fmt: skip
    return bot


@dataclass(frozen=True, slots=True)
class Compared:
    """A live order against its twin. What is above zero is worse for the live one; None: one of them got nothing yet.

    ``quantity`` is what both got; the figures are of that much. ``slippage_bps`` is the live mean price against the twin's,
    ``delay_s`` how much later the live fills were in the mean, ``cost_usd`` and ``cost_bps`` the difference, fees included, in
    the quote currency and as a part of the twin's ``notional_usd``.
    """

    order: Order
    twin: ShadowOrder
    quantity: Decimal
    notional_usd: Decimal
    slippage_bps: Decimal | None = None
    delay_s: Decimal | None = None
    cost_usd: Decimal | None = None
    cost_bps: Decimal | None = None

    @property
    def twin_average_price(self) -> Decimal | None:
        """Return the mean price of what the twin got, or None."""
        return self.twin.filled_notional / self.twin.filled_quantity if self.twin.filled_quantity else None


@dataclass(frozen=True, slots=True)
class Summed:
    """Many comparisons in one: slippage and delay weighted by notional, the cost added up.

    ``live_only`` and ``twin_only`` count orders of which only one side got anything; they are in no other figure.
    """

    compared: int
    live_only: int
    twin_only: int
    slippage_bps: Decimal | None
    delay_s: Decimal | None
    cost_usd: Decimal | None
    cost_bps: Decimal | None


def compare(order: Order, fills: Sequence[Fill], twin: ShadowOrder) -> Compared:
    """Return how a live order did against its twin, over the quantity that both got."""
    with localcontext(EXACT):
        quantity = min(order.filled_quantity, twin.filled_quantity)
        if not quantity:
            return Compared(order, twin, quantity, Decimal(0))
        live, paper = order.filled_notional / order.filled_quantity, twin.filled_notional / twin.filled_quantity
        worse = live - paper if order.side == Side.BUY else paper - live
        fees = order.fees / order.filled_quantity - twin.fees / twin.filled_quantity
        notional = quantity * paper
        cost = quantity * (worse + fees)
        return Compared(
            order=order,
            twin=twin,
            quantity=quantity,
            notional_usd=notional,
            slippage_bps=worse / paper * BASIS_POINTS,
            delay_s=_mean_delay_s(fills, twin),
            cost_usd=cost,
            cost_bps=cost / notional * BASIS_POINTS,
        )


def sum_up(compared: Iterable[Compared]) -> Summed:
    """Return many comparisons in one. Orders that the venue never had count nowhere."""
    every = [one for one in compared if one.order.status not in NEVER_PLACED]
    both = [one for one in every if one.quantity]
    with localcontext(EXACT):
        notional = sum((one.notional_usd for one in both), Decimal(0))
        cost = sum((one.cost_usd or Decimal(0) for one in both), Decimal(0))
        slippage = sum((one.notional_usd * (one.slippage_bps or Decimal(0)) for one in both), Decimal(0))
        delay = sum((one.notional_usd * (one.delay_s or Decimal(0)) for one in both), Decimal(0))
        return Summed(
            compared=len(both),
            live_only=sum(1 for one in every if one.order.filled_quantity and not one.twin.filled_quantity),
            twin_only=sum(1 for one in every if one.twin.filled_quantity and not one.order.filled_quantity),
            slippage_bps=slippage / notional if both else None,
            delay_s=delay / notional if both else None,
            cost_usd=cost if both else None,
            cost_bps=cost / notional * BASIS_POINTS if both else None,
        )


def compared_of(bot: Bot, count_max: int) -> list[Compared]:
    """Return the comparisons of a bot's latest live orders that have a twin, newest first."""
    orders = Order.objects.filter(bot=bot, shadow__isnull=False).select_related("shadow").prefetch_related("fills")
    return [compare(order, list(order.fills.all()), order.shadow) for order in orders.order_by("-id")[:count_max]]


def compared_one(order: Order) -> Compared | None:
    """Return an order's comparison, or None when it has no twin."""
    twin = ShadowOrder.objects.filter(order=order).first()
    return None if twin is None else compare(order, list(order.fills.all()), twin)


def _mean_delay_s(fills: Sequence[Fill], twin: ShadowOrder) -> Decimal | None:
    """Return how many seconds after the twin's fills the live ones were, each side's mean weighted by quantity.

    Live fills have the venue's time and the twin's have ours: where the clocks differ, so does this, by as much.
    """
    total = sum((fill.quantity for fill in fills), Decimal(0))
    if not total or not twin.filled_quantity:
        return None
    live = sum((fill.quantity * _seconds(fill.filled_at - twin.started_at) for fill in fills), Decimal(0)) / total
    return live - twin.fill_unit_seconds / twin.filled_quantity


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)).scaleb(-6)
