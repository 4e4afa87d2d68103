"""The books that ticks and actions work on: a bot with position, deal, orders and account, read for many bots at a time."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from audit import sql
from audit.table import Columns
from bots.models import Bot, BotStatus, Deal, Order, Position
from bots.order_states import OPEN_STATES
from bots.strategies.base import Proposal
from bots.tables import BOTS, DEALS, ORDERS, POSITIONS
from safety.intents import Side

TICKING = (BotStatus.RUNNING, BotStatus.PAUSED)
# Orders of this long are kept in mind, for the rate limit and against duplicates.
RECENT = timedelta(minutes=1)
# How long a leg that was denied is not proposed again: a denial each tick would only bury the others.
ENTRY_HOLD_OFF = timedelta(seconds=60)
EXIT_HOLD_OFF = timedelta(seconds=5)
HOLD_OFFS_MAX = 100_000
_hold_offs: dict[tuple[int, str], datetime] = {}


class AccountFigures(NamedTuple):
    """What a paper bot's own account was measured to be, in USD: see bots.models.Account."""

    day: date | None
    equity_usd: Decimal | None
    day_start_equity_usd: Decimal | None
    peak_equity_usd: Decimal | None


class RecentOrder(NamedTuple):
    """An order that has ended, as far as the pace of orders and duplicates are judged by it."""

    id: int
    client_order_id: str
    bot_id: int | None
    side: str
    type: str
    status: str
    quantity: Decimal
    limit_price: Decimal | None
    is_live: bool
    submitting_at: datetime | None
    cancel_requested_at: datetime | None


_IN_SHORT = Columns(Order, RecentOrder._fields)
_IN_SHORT_SQL = f"SELECT {_IN_SHORT.columns()} FROM {_IN_SHORT.table}"
# Selects of their own, so that an index answers each: for an OR SQLite would read the whole table.
_OPEN_OR_RECENT = (
    "status IN ({})".format(", ".join(f"'{state}'" for state in sorted(OPEN_STATES))),
    "created_at >= %s",
    "cancel_requested_at >= %s",
)


@dataclass(slots=True)
class BotBooks:
    """One bot and the book that it trades in. ``orders`` are those that are open or recent, oldest first.

    ``account`` is the one that a built-in paper bot is by itself; None when it was never measured.
    """

    bot: Bot
    position: Position
    deal: Deal | None = None
    orders: list[Order | RecentOrder] = field(default_factory=list)
    account: AccountFigures | None = None

    @property
    def open_orders(self) -> list[Order]:
        """Return the orders that have not ended."""
        return open_among(self.orders)

    def holds_off(self, proposal: Proposal, now: datetime) -> bool:
        """Return whether this leg was denied a moment ago, so that it is not tried again yet."""
        until = _hold_offs.get((self.bot.pk, proposal.leg))
        # One that reaches further than any can was noted before the clock was set back: an exit must not wait for that long.
        return until is not None and now < until <= now + ENTRY_HOLD_OFF

    def hold_off(self, proposal: Proposal, now: datetime) -> None:
        """Do not propose this leg again for a while. Kept in this process only: forgetting it is harmless."""
        if len(_hold_offs) >= HOLD_OFFS_MAX:
            _hold_offs.clear()
        wait = ENTRY_HOLD_OFF if proposal.side == Side.BUY else EXIT_HOLD_OFF
        _hold_offs[(self.bot.pk, proposal.leg)] = now + wait


def open_among(orders: Iterable[Order | RecentOrder]) -> list[Order]:
    """Return the orders that have not ended."""
    return [order for order in orders if isinstance(order, Order) and order.status in OPEN_STATES]


def load_books(
    bot_ids: Collection[int], since: datetime, *, lock: bool = False, is_live: bool | None = None
) -> dict[int, BotBooks]:
    """Return the books of these bots by bot id, with their open orders and all orders since ``since``.

    Each is the book that its bot trades in now, or the one that ``is_live`` names. With ``lock`` the bots' rows are locked in the
    order of their ids: whoever writes to a book holds its bot's lock.
    """
    if not bot_ids:
        return {}
    if lock:
        _lock(bot_ids)
    books = _read_books(bot_ids, is_live)
    for order in load_orders(books, since):
        of_bot = books[order.bot_id or 0]
        if order.is_live == of_bot.position.is_live:
            of_bot.orders.append(order)
    return books


def _lock(bot_ids: Collection[int]) -> None:
    """Lock the bots' rows. A statement of its own: what it waited for is seen by the next statement, and not by itself."""
    if not connection.features.has_select_for_no_key_update:
        return
    condition, params = sql.any_of("id", bot_ids)
    # Not FOR UPDATE: a snapshot's row that names the bot would wait for it at its commit, and the two could wait for each other.
    sql.rows(f"SELECT id FROM bots WHERE {condition} ORDER BY id FOR NO KEY UPDATE", params)


_ACCOUNT_COLUMNS = "a.day, a.equity_usd, a.day_start_equity_usd, a.peak_equity_usd"
_BOOKS_SQL = (
    f"SELECT {BOTS.columns('b')}, {POSITIONS.columns('p')}, {DEALS.columns('d')}, {_ACCOUNT_COLUMNS} FROM bots b"
    " LEFT JOIN positions p ON p.bot_id = b.id"
    " LEFT JOIN deals d ON d.bot_id = b.id AND d.is_live = p.is_live AND d.closed_at IS NULL"
    " LEFT JOIN accounts a ON a.bot_id = b.id WHERE "
)


def _read_books(bot_ids: Collection[int], is_live: bool | None) -> dict[int, BotBooks]:
    """Return the bots with position, deal and account, in one statement. A bot with both books has a row for each."""
    books: dict[int, BotBooks] = {}
    condition, params = sql.any_of("b.id", bot_ids)
    for row in sql.rows(f"{_BOOKS_SQL}{condition} ORDER BY b.id", params):
        of_bot, of_position, of_deal, of_account = _parts(row)
        found = books.get(of_bot[0])
        if found is None:
            bot = BOTS.row(of_bot)
            empty = Position(bot=bot, is_live=bot.is_live if is_live is None else is_live)
            found = books[bot.pk] = BotBooks(bot, empty, account=_figures(of_account))
        if of_position[0] is not None:
            position = POSITIONS.row(of_position)
            if position.is_live == found.position.is_live:
                found.position = position
                found.deal = None if of_deal[0] is None else DEALS.row(of_deal)
    return books


def _parts(row: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield what a row of the books says of the bot, its position, its deal and its account."""
    start = 0
    for width in (BOTS.width, POSITIONS.width, DEALS.width, len(AccountFigures._fields)):
        yield row[start : start + width]
        start += width


def _figures(values: tuple[Any, ...]) -> AccountFigures:
    day, *money = values
    return AccountFigures(
        None if day is None else date.fromisoformat(str(day)),
        *(None if one is None else Decimal(str(one)) for one in money),
    )


def load_orders(bot_ids: Collection[int], since: datetime) -> list[Order | RecentOrder]:
    """Return these bots' orders that are open, and in short those that ended, of all that were made or cancelled since; by id."""
    if not bot_ids:
        return []
    whose, ids = sql.any_of("bot_id", bot_ids)
    moment = connection.ops.adapt_datetimefield_value(since)
    selects = " UNION ".join(f"{_IN_SHORT_SQL} WHERE {whose} AND {part}" for part in _OPEN_OR_RECENT)
    found = sql.rows(f"{selects} ORDER BY id", [*ids, *ids, moment, *ids, moment])
    recent = [RecentOrder(*_IN_SHORT.values(row)) for row in found]
    # What is open now is read whole, and may have ended between the two: then it says so.
    whole = {order.pk: order for order in ORDERS.read("id", [one.id for one in recent if one.status in OPEN_STATES])}
    return [whole.get(one.id, one) for one in recent]


def locked_books(bot: Bot, now: datetime) -> BotBooks:
    """Return the books of one bot, its row locked. Raises KeyError when the bot is gone."""
    return load_books([bot.pk], now - RECENT, lock=True)[bot.pk]
