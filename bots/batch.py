"""The books that ticks and actions work on: a bot with its position, deal and orders, read for many bots in four queries."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q

from bots.models import Bot, BotStatus, Deal, Order, Position
from bots.order_states import OPEN_STATES
from bots.strategies.base import Proposal
from safety.intents import Side

TICKING = (BotStatus.RUNNING, BotStatus.PAUSED)
# Orders of this long are kept in mind, for the rate limit and against duplicates.
RECENT = timedelta(minutes=1)
# How long a leg that was denied is not proposed again: a denial each tick would only bury the others.
ENTRY_HOLD_OFF = timedelta(seconds=60)
EXIT_HOLD_OFF = timedelta(seconds=5)
HOLD_OFFS_MAX = 100_000
_hold_offs: dict[tuple[int, str], datetime] = {}


@dataclass(slots=True)
class BotBooks:
    """One bot and the book that it trades in. ``orders`` are those that are open or recent, oldest first."""

    bot: Bot
    position: Position
    deal: Deal | None = None
    orders: list[Order] = field(default_factory=list)

    @property
    def open_orders(self) -> list[Order]:
        """Return the orders that have not ended."""
        return [order for order in self.orders if order.status in OPEN_STATES]

    def holds_off(self, proposal: Proposal, now: datetime) -> bool:
        """Return whether this leg was denied a moment ago, so that it is not tried again yet."""
        until = _hold_offs.get((self.bot.pk, proposal.leg))
        return until is not None and now < until

    def hold_off(self, proposal: Proposal, now: datetime) -> None:
        """Do not propose this leg again for a while. Kept in this process only: forgetting it is harmless."""
        if len(_hold_offs) >= HOLD_OFFS_MAX:
            _hold_offs.clear()
        wait = ENTRY_HOLD_OFF if proposal.side == Side.BUY else EXIT_HOLD_OFF
        _hold_offs[(self.bot.pk, proposal.leg)] = now + wait


def load_books(bot_ids: Collection[int], since: datetime, *, lock: bool = False) -> dict[int, BotBooks]:
    """Return the books of these bots by bot id, with their open orders and all orders since ``since``.

    With ``lock`` the bots' rows are locked in the order of their ids: whoever writes to a book holds its bot's lock.
    """
    query = Bot.objects.filter(pk__in=bot_ids).order_by("pk")
    bots = {bot.pk: bot for bot in (query.select_for_update() if lock else query)}
    ids = list(bots)
    positions = {(one.bot_id, one.is_live): one for one in Position.objects.filter(bot_id__in=ids)}
    open_deals = Deal.objects.filter(bot_id__in=ids, closed_at__isnull=True).order_by()
    deals = {(one.bot_id, one.is_live): one for one in open_deals}
    orders: dict[tuple[int, bool], list[Order]] = defaultdict(list)
    recent = Q(status__in=OPEN_STATES) | Q(created_at__gte=since) | Q(cancel_requested_at__gte=since)
    for order in Order.objects.filter(recent, bot_id__in=ids).order_by("pk"):
        orders[order.bot_id or 0, order.is_live].append(order)
    books = {}
    for pk, bot in bots.items():
        key = (pk, bot.is_live)
        position = positions.get(key) or Position(bot=bot, is_live=bot.is_live)
        books[pk] = BotBooks(bot, position, deals.get(key), orders.get(key, []))
    return books


def locked_books(bot: Bot, now: datetime) -> BotBooks:
    """Return the books of one bot, its row locked. Raises KeyError when the bot is gone."""
    return load_books([bot.pk], now - RECENT, lock=True)[bot.pk]
