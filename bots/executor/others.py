"""Orders that are at the venue and not in our books: somebody else's, which are only watched, and lost ones of our own."""

import base64
import hashlib
from datetime import datetime
from decimal import Decimal, localcontext

from django.utils import timezone

from audit.log import unit
from audit.models import EventKind
from bots.books import EXACT
from bots.brokers.base import ListedOrder
from bots.executor import steps
from bots.executor.aftermath import hold_entries
from bots.models import Account, Bot, Order
from bots.order_ids import LENGTH_MAX
from bots.order_states import OrderStatus, move
from bots.reconciliation.alarms import RISK, UNKNOWN, alarm
from bots.reconciliation.compare import looks_like_ours
from bots.telling import about_order
from safety.intents import OrderType, Side

SOMEBODY = "venue"


def note_external(account: Account, listed: ListedOrder) -> Order | None:
    """Keep an order of somebody else as EXTERNAL, or bring what is kept of it up to date; return it.

    None for one that can't be kept, since it has no quantity. It is never cancelled or counted as ours by anything here.
    """
    if not listed.quantity.is_finite() or listed.quantity <= 0:
        return None
    with unit():
        # The account's lock: two rounds must not keep one order twice.
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        rows = Order.objects.select_for_update().filter(venue=account.venue, is_live=account.is_live)
        order = rows.filter(status=OrderStatus.EXTERNAL, venue_order_id=listed.venue_order_id).first()
        if order is None:
            order = _external(account, listed)
            order.save(force_insert=True)
            steps.event(
                order,
                EventKind.EXTERNAL,
                reason="somebody else placed it at the venue",
                details={"client_order_id": listed.client_order_id, "type": listed.type},
            )
            _tell_if_like_ours(order, listed)
        elif not _is_news(order, listed):
            return order
        _update(order, listed)
        return order


def note_ended(account: Account, venue_order_ids: list[str], at: datetime) -> None:
    """Keep that these orders of others are no longer open."""
    rows = Order.objects.filter(venue=account.venue, is_live=account.is_live, status=OrderStatus.EXTERNAL)
    rows.filter(venue_order_id__in=venue_order_ids, external_ended_at__isnull=True).update(
        external_ended_at=at, updated_at=at
    )


def adopt_lost(account: Account, listed: ListedOrder, bot: Bot, leg: str, due_at: datetime) -> Order:
    """Take up an order whose id proves that a tick of this installation made it, though no book has it; return it, UNKNOWN.

    The database lost its last seconds, or is a restored backup. The caller looks the order up for its state and fills. The bot's
    entries are held, since it decides on figures that were wrong.
    """
    with unit():
        bot = Bot.objects.select_for_update(no_key=True).get(pk=bot.pk)
        order = Order(
            client_order_id=listed.client_order_id,
            bot=bot,
            venue=account.venue,
            symbol=listed.symbol,
            side=listed.side,
            type=OrderType.MARKET if listed.limit_price is None else OrderType.LIMIT,
            status=OrderStatus.PENDING,
            quantity=listed.quantity,
            limit_price=listed.limit_price,
            is_live=account.is_live,
            reduce_only=listed.side == Side.SELL,
            is_entry=listed.side == Side.BUY,
            leg=leg,
            reason="It was found at the venue; our database had lost it",
            actor=f"bot:{bot.pk}",
            venue_order_id=listed.venue_order_id,
            submitting_at=listed.opened_at,
            deadline_at=listed.opened_at,
            created_at=due_at,
            updated_at=timezone.now(),
        )
        order.status = move(order.status, OrderStatus.SUBMITTING)
        order.status = move(order.status, OrderStatus.UNKNOWN)
        order.save(force_insert=True)
        steps.event(order, EventKind.UNKNOWN, reason="found at the venue; our database had lost it")
        text = f"order {order.client_order_id} of {bot.name} was at the venue and not in the database"
        hold_entries(bot, f"{text}: look at its position, then let entries go on")
        alarm(
            UNKNOWN,
            f"order:{order.client_order_id}",
            f"{text}. It was taken up again, and the bot's entries are held.",
            title=f"The database had lost an order of {bot.name}",
            facts=about_order(order),
        )
        return order


def _external(account: Account, listed: ListedOrder) -> Order:
    return Order(
        client_order_id=_id_for(account, listed.venue_order_id),
        venue=account.venue,
        symbol=listed.symbol[:30],
        side=listed.side,
        type=OrderType.MARKET if _limit(listed) is None else OrderType.LIMIT,
        status=OrderStatus.EXTERNAL,
        quantity=listed.quantity,
        limit_price=_limit(listed),
        is_live=account.is_live,
        is_entry=listed.side == Side.BUY,
        leg="external",
        reason=f"{listed.type} order of somebody else"[:300],
        actor=SOMEBODY,
        venue_order_id=listed.venue_order_id,
        created_at=listed.opened_at,
        updated_at=listed.opened_at,
    )


def _id_for(account: Account, venue_order_id: str) -> str:
    """Return an id for the row of an order that has none of ours, the same each time. No order of ours begins with ``e``."""
    digest = hashlib.sha256(f"external|{account.name}|{venue_order_id}".encode()).digest()
    return "e" + base64.b32encode(digest).decode().lower()[: LENGTH_MAX - 1]


def _limit(listed: ListedOrder) -> Decimal | None:
    price = listed.limit_price
    return price if price is not None and price.is_finite() and price > 0 else None


def _is_news(order: Order, listed: ListedOrder) -> bool:
    if listed.filled_quantity > order.filled_quantity:
        return True
    return order.external_ended_at is None and listed.ended_at is not None


def _update(order: Order, listed: ListedOrder) -> None:
    with localcontext(EXACT):
        order.filled_quantity = max(order.filled_quantity, min(listed.filled_quantity, order.quantity))
        order.filled_notional = order.filled_quantity * (order.limit_price or Decimal(0))
    order.external_ended_at = order.external_ended_at or listed.ended_at
    order.updated_at = timezone.now()
    order.save()


def _tell_if_like_ours(order: Order, listed: ListedOrder) -> None:
    if looks_like_ours(listed.client_order_id):
        alarm(
            RISK,
            f"order:{listed.venue_order_id}",
            f"The order {listed.client_order_id} at {order.venue} has an id like ours, and this console does not know it: another"
            " console uses the same key, or it was made before a backup was restored. It counts as somebody else's.",
            title=f"An order at {order.venue.capitalize()} looks like ours and is not known here",
            facts=about_order(order),
        )
