"""What a batch of ticks knows of its bots: each bot with its book, read together in a few queries."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bots import ledger
from bots.models import Bot, BotStatus, Deal, Order, Position
from bots.order_states import OPEN_STATES
from bots.strategies.base import Proposal
from safety.intents import Side

# How long a leg that was denied is not proposed again: a denial each tick would only bury the others.
ENTRY_HOLD_OFF = timedelta(seconds=60)
EXIT_HOLD_OFF = timedelta(seconds=5)
HOLD_OFFS_MAX = 100_000
_hold_offs: dict[tuple[int, str], datetime] = {}


@dataclass(slots=True)
class BotBooks:
    """One bot and the book that it trades in."""

    bot: Bot
    position: Position
    deal: Deal | None
    open_orders: list[Order] = field(default_factory=list)

    @classmethod
    def locked(cls, bot_id: int) -> "BotBooks | None":
        """Read one bot with its row locked, or return None when it no longer runs."""
        bot = Bot.objects.select_for_update().filter(pk=bot_id).first()
        if bot is None or bot.status not in (BotStatus.RUNNING, BotStatus.PAUSED):
            return None
        books = cls(bot, ledger.position_of(bot, is_live=bot.is_live), None)
        books.reload_after_fills()
        return books

    def reload_after_fills(self) -> None:
        """Read the deal and the open orders again."""
        book = {"bot": self.bot, "is_live": self.bot.is_live}
        self.deal = Deal.objects.filter(**book, closed_at__isnull=True).first()
        self.open_orders = list(Order.objects.filter(**book, status__in=OPEN_STATES).order_by("pk"))

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


@dataclass(slots=True)
class Batch:
    """The books of every bot of a batch that still runs, by bot id."""

    books: dict[int, BotBooks]

    @classmethod
    def load(cls, bot_ids: Collection[int]) -> "Batch":
        """Read the bots with positions, open deals and open orders: four queries, however many bots."""
        running = Bot.objects.filter(pk__in=bot_ids, status__in=(BotStatus.RUNNING, BotStatus.PAUSED))
        bots = {bot.pk: bot for bot in running}
        positions = {(one.bot_id, one.is_live): one for one in Position.objects.filter(bot__in=bots)}
        open_deals = Deal.objects.filter(bot__in=bots, closed_at__isnull=True)
        deals = {(one.bot_id, one.is_live): one for one in open_deals}
        orders: dict[tuple[int, bool], list[Order]] = defaultdict(list)
        for order in Order.objects.filter(bot__in=bots, status__in=OPEN_STATES).order_by("pk"):
            orders[order.bot_id or 0, order.is_live].append(order)
        books = {}
        for pk, bot in bots.items():
            key = (pk, bot.is_live)
            position = positions.get(key) or Position(bot=bot, is_live=bot.is_live)
            books[pk] = BotBooks(bot, position, deals.get(key), orders.get(key, []))
        return cls(books)
