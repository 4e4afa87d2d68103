"""What the pages show of a bot: its position at the current quote, how it does, when it ticked and what holds it back.

A page reads its bots in three queries and asks each symbol's quote once, however many bots there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import QuerySet

from bots.blocks import TICKING, Block, Sight, blocks_now
from bots.books import EXACT
from bots.marks import Mark, mark_of, market_of, quote_problem
from bots.models import Bot, Position, Venue

SILENT_AFTER_S_MIN = 30
SILENT_AFTER_POLLS = 3


@dataclass(frozen=True, slots=True)
class BotOverview:
    """One bot in the book it trades in. Money is in the quote currency; None means *not known*, never zero."""

    bot: Bot
    quantity: Decimal
    cost: Decimal
    realised_pnl: Decimal
    fees: Decimal
    cash_flow: Decimal
    mark: Mark | None
    mark_problem: str
    ticked_at: datetime | None
    is_silent: bool
    note: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def average_price(self) -> Decimal | None:
        """Return the average cost of one unit, or None when flat."""
        return EXACT.divide(self.cost, self.quantity) if self.quantity else None

    @property
    def value(self) -> Decimal | None:
        """Return what the position is worth at the mark: zero when flat, None without a mark."""
        if not self.quantity:
            return Decimal(0)
        return None if self.mark is None else EXACT.multiply(self.quantity, self.mark.price)

    @property
    def unrealised_pnl(self) -> Decimal | None:
        """Return the value less the cost, or None without a mark."""
        return None if self.value is None else self.value - self.cost

    @property
    def pnl(self) -> Decimal | None:
        """Return realised and unrealised P&L together, or None without a mark."""
        return None if self.unrealised_pnl is None else self.realised_pnl + self.unrealised_pnl

    @property
    def equity(self) -> Decimal | None:
        """Return the paper book's worth: starting cash, cash flow and the position's value. None for one at a venue."""
        if self.value is None or self.bot.trades_at_venue:
            return None
        return self.bot.paper_equity_usd + self.cash_flow + self.value

    @property
    def blocked_by(self) -> list[str]:
        """Return what holds the bot back, as sentences."""
        return [block.message for block in self.blocks]

    @property
    def is_blocked_live(self) -> bool:
        """Return whether the bot is set live and a shut gate lets none of its orders out."""
        return self.bot.is_live and any(block.code == "LIVE_GATE_CLOSED" for block in self.blocks)

    @property
    def is_replay(self) -> bool:
        """Return whether the bot trades recorded market data."""
        return self.bot.venue == Venue.REPLAY

    @property
    def is_unmanaged(self) -> bool:
        """Return whether the bot holds something that nobody looks after."""
        return bool(self.quantity) and self.bot.status not in TICKING


def with_books(bots: QuerySet[Bot]) -> QuerySet[Bot]:
    """Return the query with all that ``overviews`` needs, so that no bot costs a query of its own."""
    return bots.select_related("tick").prefetch_related("positions")


def overviews(bots: Iterable[Bot], now: datetime) -> list[BotOverview]:
    """Return what is to be shown of each bot as of ``now``. Quotes come from this process's own feeds."""
    sight = Sight.at(now)
    return [_overview(bot, sight) for bot in bots]


def overview(bot: Bot, now: datetime) -> BotOverview:
    """Return what is to be shown of one bot."""
    return _overview(bot, Sight.at(now))


def _overview(bot: Bot, sight: Sight) -> BotOverview:
    position = next((one for one in bot.positions.all() if one.is_live == bot.is_live), None) or Position(
        bot=bot, is_live=bot.is_live
    )
    market, no_market = market_of(bot, sight.moment)
    tick = getattr(bot, "tick", None)
    ticked_at = None if tick is None else tick.ticked_at
    return BotOverview(
        bot=bot,
        quantity=position.quantity,
        cost=position.cost,
        realised_pnl=position.realised_pnl,
        fees=position.fees,
        cash_flow=position.cash_flow,
        mark=mark_of(position, market, sight.moment),
        mark_problem=no_market or quote_problem(market, sight.now),
        ticked_at=ticked_at,
        is_silent=_is_silent(bot, ticked_at, sight.now),
        note="" if tick is None else tick.note,
        blocks=blocks_now(bot, sight, market, no_market),
    )


def _is_silent(bot: Bot, ticked_at: datetime | None, now: datetime) -> bool:
    """Return whether a bot that should tick has not for too long."""
    if bot.status not in TICKING:
        return False
    patience = timedelta(seconds=max(SILENT_AFTER_S_MIN, SILENT_AFTER_POLLS * bot.poll_seconds))
    return ticked_at is None or now - ticked_at > patience
