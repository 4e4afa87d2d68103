"""What the books are worth: marks, equity snapshots, and P&L since a moment. Paper and live are never added together."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

from django.db.models import F, OuterRef, Q, Subquery, Window
from django.db.models.functions import RowNumber, TruncHour

from bots.books import EXACT
from bots.ledger import book_of
from bots.market_data.base import MarketDataError
from bots.market_data.feeds import feed_for
from bots.markets import Moment
from bots.models import Bot, BotStatus, EquitySnapshot, PaperBroker, Position

KEEP_EVERY_SNAPSHOT = timedelta(days=2)
THIN_AT_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Worth:
    """One book at its mark, in the quote currency. ``pnl`` is realised and unrealised, net of fees."""

    equity: Decimal
    position_value: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal

    @property
    def pnl(self) -> Decimal:
        """Return realised and unrealised profit together."""
        return self.realised_pnl + self.unrealised_pnl


def worth(position: Position, starting_cash: Decimal, mark_price: Decimal) -> Worth:
    """Return what a book is worth at ``mark_price``: starting cash, cash flow and the position's value."""
    book = book_of(position)
    with localcontext(EXACT):
        value = book.quantity * mark_price
        return Worth(starting_cash + book.cash_flow + value, value, book.realised_pnl, value - book.cost)


def take_snapshots(now: datetime) -> int:
    """Mark every book that has traded at the bid and keep what it is worth; return how many were taken.

    A book whose market gives no quote is left out: an old mark would be a guess.
    """
    moment = Moment(now)
    snapshots = []
    marked = []
    for position in _books_in_use():
        try:
            bid = moment.mark(position.bot.venue, position.bot.symbol)
        except MarketDataError:
            continue
        figures = worth(position, _starting_cash(position), bid)
        snapshots.append(_snapshot(position, figures, now))
        position.mark_price, position.marked_at = bid, _priced_at(position.bot, now)
        marked.append(position)
    EquitySnapshot.objects.bulk_create(snapshots, ignore_conflicts=True)
    # Only these two columns: the ledger may write the others at the same moment.
    for position in marked:
        Position.objects.filter(pk=position.pk).update(mark_price=position.mark_price, marked_at=position.marked_at)
    return len(snapshots)


def _priced_at(bot: Bot, now: datetime) -> datetime | None:
    """Return when the price of a bot's market was quoted; None when that is not known: a mark never seems younger than it is."""
    try:
        return min(feed_for(bot.venue).quote(bot.symbol, now).seen_at, now)
    except MarketDataError:
        return None


def thin_snapshots(now: datetime) -> int:
    """Delete old snapshots but the first of each hour and book; return how many were deleted, a bounded number a call."""
    old = EquitySnapshot.objects.filter(taken_at__lt=now - KEEP_EVERY_SNAPSHOT)
    hour = TruncHour("taken_at", tzinfo=UTC)
    place = Window(RowNumber(), partition_by=[F("bot_id"), F("is_live"), F("hour")], order_by="taken_at")
    # What is kept is not counted: a long history must not use up the bound of what is deleted.
    surplus = list(
        old.annotate(hour=hour).annotate(place=place).filter(place__gt=1).values_list("pk", flat=True)[:THIN_AT_MOST]
    )
    for start in range(0, len(surplus), 500):
        EquitySnapshot.objects.filter(pk__in=surplus[start : start + 500]).delete()
    return len(surplus)


def pnl_since(moment: datetime, *, is_live: bool) -> Decimal:
    """Return how much all books of one kind gained since ``moment``, at their last marks.

    A book's gain is counted from its last snapshot before the moment, or from its beginning when it is younger. An archived
    bot gets no snapshots, so its gain ends with its last trade.
    """
    idle = Q(bot__status=BotStatus.ARCHIVED) & ~Q(last_entry_at__gte=moment) & ~Q(last_exit_at__gte=moment)
    before = EquitySnapshot.objects.filter(bot=OuterRef("bot"), is_live=is_live, taken_at__lt=moment)
    books = Position.objects.filter(is_live=is_live).exclude(idle)
    books = books.annotate(snapshot_id=Subquery(before.order_by("-taken_at").values("pk")[:1]))
    rows = list(books)
    snapshots = EquitySnapshot.objects.in_bulk([row.snapshot_id for row in rows if row.snapshot_id is not None])
    with localcontext(EXACT):
        gains = (_pnl_now(row) - _pnl_at(snapshots.get(row.snapshot_id)) for row in rows)
        return sum(gains, Decimal(0))


def _pnl_now(position: Position) -> Decimal:
    unrealised = position.unrealised_pnl
    return position.realised_pnl + (Decimal(0) if unrealised is None else unrealised)


def _pnl_at(snapshot: EquitySnapshot | None) -> Decimal:
    return Decimal(0) if snapshot is None else snapshot.realised_pnl + snapshot.unrealised_pnl


def _books_in_use() -> Iterable[Position]:
    """Return every book that ever traded, but those of archived bots; of these, what is left at a venue (dust).

    The limits of all the account's bots count it at its mark, and deny entries while that is not known.
    """
    over = Q(bot__status=BotStatus.ARCHIVED) & (Q(is_live=False) | Q(quantity=Decimal(0)))
    books = Position.objects.select_related("bot").exclude(over)
    return [position for position in books if position.cash_flow or position.quantity]


def _starting_cash(position: Position) -> Decimal:
    """Return what a book began with: the paper account's cash, or the capital that the bot was given of a venue's account."""
    is_shared = position.is_live or position.bot.paper_broker == PaperBroker.VENUE
    return position.bot.capital_usd if is_shared else position.bot.paper_equity_usd


def _snapshot(position: Position, figures: Worth, now: datetime) -> EquitySnapshot:
    return EquitySnapshot(
        bot_id=position.bot_id,
        is_live=position.is_live,
        taken_at=now,
        equity=figures.equity,
        position_value=figures.position_value,
        realised_pnl=figures.realised_pnl,
        unrealised_pnl=figures.unrealised_pnl,
    )
