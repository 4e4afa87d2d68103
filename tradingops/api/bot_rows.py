"""A page of bots in one statement: each with its tick and the book it trades in.

Whoever watches bots asks for them again and again. By query sets it is two statements, and making their SQL takes longer than
answering them.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache
from typing import Any

from django.db import connection, models

from bots.models import Bot, BotTick, Position

#: The columns of a bot's fields.
_COLUMNS = {field.name: f"bots.{field.column}" for field in Bot._meta.concrete_fields}
#: What a page shows of the others, with their keys.
_OF_TICK = {"bot", "ticked_at", "blocked_by"}
_OF_BOOK = {"id", "bot", "is_live", "quantity", "cost", "realised_pnl", "fees", "mark_price", "marked_at"}
_JOINED = (
    "FROM bots LEFT JOIN bot_ticks ON bot_ticks.bot_id = bots.id"
    # A bot that is no dry run trades in its live book.
    " LEFT JOIN positions ON positions.bot_id = bots.id AND positions.is_live <> bots.dry_run"
)


class _Part:
    """What is read of one model: these fields of it, side by side from ``start`` on."""

    def __init__(self, model: type[models.Model], names: Container[str], start: int) -> None:
        fields = [field for field in model._meta.concrete_fields if field.name in names]
        self.columns = [f"{model._meta.db_table}.{field.column}" for field in fields]
        self.end = start + len(fields)
        self._start, self._model = start, model
        self._key = start + fields.index(model._meta.pk)
        self._names = [field.attname for field in fields]
        self._converters = [(number, *found) for number, field in enumerate(fields) for found in _converters(field)]

    def made(self, row: Sequence[Any]) -> Any:
        """Return the object that a row has of it, as a query set would make it; None where the row has none."""
        if row[self._key] is None:
            return None
        values = list(row[self._start : self.end])
        for number, convert, column in self._converters:
            values[number] = convert(values[number], column, connection)
        return self._model.from_db(connection.alias, self._names, values)


def _converters(field: Any) -> list[tuple[Callable[[Any, Any, Any], Any], Any]]:
    """Return what turns a column's values into the field's, in this order."""
    column = field.cached_col
    found = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
    return [(convert, column) for convert in found]


@cache
def _parts(vendor: str) -> tuple[str, _Part, _Part, _Part]:
    """Return the statement as far as no condition changes it, and what its rows hold."""
    bot = _Part(Bot, _COLUMNS, 0)
    tick = _Part(BotTick, _OF_TICK, bot.end)
    book = _Part(Position, _OF_BOOK, tick.end)
    return f"SELECT {', '.join([*bot.columns, *tick.columns, *book.columns])} {_JOINED}", bot, tick, book


def read_bots(where: Mapping[str, Any], *, below: int | None, count_max: int) -> list[tuple[Bot, Position | None]]:
    """Return the bots whose fields have these values, newest first and with their ticks, and the book that each trades in.

    With ``below``, those alone whose ids are less.
    """
    conditions = [f"{_COLUMNS[name]} = %s" for name in where]
    values = list(where.values())
    if below is not None:
        conditions.append("bots.id < %s")
        values.append(below)
    statement, bot_part, tick_part, book_part = _parts(connection.vendor)
    filters = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} {filters} ORDER BY bots.id DESC LIMIT %s", [*values, count_max])
        rows = cursor.fetchall()
    found = []
    for row in rows:
        bot: Bot = bot_part.made(row)
        Bot._meta.get_field("tick").set_cached_value(bot, tick_part.made(row))
        found.append((bot, book_part.made(row)))
    return found
