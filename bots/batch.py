"""The books that ticks and actions work on: a bot with position, deal, orders and account, read for many bots in five queries."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Model

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
Row = TypeVar("Row", bound=Model)
# A condition and its parameters.
Part = tuple[str, list[Any]]
EVERYTHING: tuple[Part, ...] = (("TRUE", []),)
_hold_offs: dict[tuple[int, str], datetime] = {}


class AccountFigures(NamedTuple):
    """What a paper bot's own account was measured to be, in USD: see bots.models.Account."""

    day: date | None
    equity_usd: Decimal | None
    day_start_equity_usd: Decimal | None
    peak_equity_usd: Decimal | None


@dataclass(slots=True)
class BotBooks:
    """One bot and the book that it trades in. ``orders`` are those that are open or recent, oldest first.

    ``account`` is the one that a built-in paper bot is by itself; None when it was never measured.
    """

    bot: Bot
    position: Position
    deal: Deal | None = None
    orders: list[Order] = field(default_factory=list)
    account: "AccountFigures | None" = None

    @property
    def open_orders(self) -> list[Order]:
        """Return the orders that have not ended."""
        return [order for order in self.orders if order.status in OPEN_STATES]

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


def load_books(
    bot_ids: Collection[int], since: datetime, *, lock: bool = False, is_live: bool | None = None
) -> dict[int, BotBooks]:
    """Return the books of these bots by bot id, with their open orders and all orders since ``since``.

    Each is the book that its bot trades in now, or the one that ``is_live`` names. With ``lock`` the bots' rows are locked in the
    order of their ids: whoever writes to a book holds its bot's lock.
    """
    bots = {bot.pk: bot for bot in _read(Bot, "id", bot_ids, lock=lock)}
    positions = {(one.bot_id, one.is_live): one for one in _read(Position, "bot_id", bots)}
    deals = {(one.bot_id, one.is_live): one for one in _read(Deal, "bot_id", bots, [("closed_at IS NULL", [])])}
    orders: dict[tuple[int, bool], list[Order]] = defaultdict(list)
    for order in load_orders(bots, since):
        orders[order.bot_id or 0, order.is_live].append(order)
    accounts = _own_accounts(bots)
    books = {}
    for pk, bot in bots.items():
        key = (pk, bot.is_live if is_live is None else is_live)
        position = positions.get(key) or Position(bot=bot, is_live=key[1])
        books[pk] = BotBooks(bot, position, deals.get(key), orders.get(key, []), accounts.get(pk))
    return books


def _own_accounts(bot_ids: Collection[int]) -> dict[int, AccountFigures]:
    """Return what these bots' own accounts were measured to be, by bot id. Four columns and no model: every order reads it."""
    if not bot_ids:
        return {}
    places = ", ".join(["%s"] * len(bot_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bot_id, day, equity_usd, day_start_equity_usd, peak_equity_usd FROM accounts"
            f" WHERE bot_id IN ({places})",
            [*bot_ids],
        )
        rows = cursor.fetchall()
    return {
        bot_id: AccountFigures(
            None if day is None else date.fromisoformat(str(day)),
            *(None if one is None else Decimal(str(one)) for one in money),
        )
        for bot_id, day, *money in rows
    }


def load_orders(bot_ids: Collection[int], since: datetime) -> Iterable[Order]:
    """Return these bots' orders that are open, or were made or cancelled since, by id. An index answers each part."""
    states = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))
    moment = connection.ops.adapt_datetimefield_value(since)
    parts: tuple[Part, ...] = (
        (f"status IN ({states})", []),
        ("created_at >= %s", [moment]),
        ("cancel_requested_at >= %s", [moment]),
    )
    return _read(Order, "bot_id", bot_ids, parts)


def _read(
    model: type[Row],
    column: str,
    ids: Collection[int],
    parts: Sequence[Part] = EVERYTHING,
    *,
    lock: bool = False,
) -> Iterable[Row]:
    """Return the rows of these ids that meet the condition of one of the parts, by id. Only a single part can be locked.

    Plain SQL: putting query sets into words took most of an order's time. The parts are selects of their own, since for an OR
    SQLite would read the whole table.
    """
    if not ids:
        return ()
    fields = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)
    places = ", ".join(["%s"] * len(ids))
    rows = f'SELECT {fields} FROM "{model._meta.db_table}" WHERE {column} IN ({places}) AND '
    selects = " UNION ".join(rows + condition for condition, _ in parts)
    # Not FOR UPDATE: a snapshot's row that names the bot would wait for it at its commit, and the two could wait for each other.
    tail = " FOR NO KEY UPDATE" if lock and connection.features.has_select_for_no_key_update else ""
    sql = f"{selects} ORDER BY id{tail}"
    return model._default_manager.raw(sql, [value for _, params in parts for value in (*ids, *params)])


def locked_books(bot: Bot, now: datetime) -> BotBooks:
    """Return the books of one bot, its row locked. Raises KeyError when the bot is gone."""
    return load_books([bot.pk], now - RECENT, lock=True)[bot.pk]
