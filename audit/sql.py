"""Plain SQL for what every order does. PostgreSQL parses and plans each statement once for a connection, and not for each order.

Django writes parameters into the text of a statement, so that the server reads every one anew; that was most of an order's time
there. Here they are bound at the server. It is for constant statements of the order path; whatever varies goes through the ORM.
"""

from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, NotSupportedError, connection, connections
from django.db.backends.utils import CursorWrapper


class PreparedCursor(psycopg.Cursor[Any]):
    """A cursor that binds at the server, prepares each statement at its first run, and reads figures in their binary form."""

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = True, binary: bool | None = True
    ) -> Any:
        # Django forbids it for the whole connection, on which psycopg would else keep the text of every other statement, too.
        self.connection.prepare_threshold = 0
        try:
            return super().execute(query, params, prepare=prepare, binary=binary)
        finally:
            self.connection.prepare_threshold = None


def rows(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a constant statement that gives rows, and return them as the driver gives them. Raises django.db.Error."""
    return list(_run(sql, params).fetchall())


def change(sql: str, params: Sequence[Any] = ()) -> int:
    """Run a constant statement that changes rows, and return how many. Raises django.db.Error."""
    return int(_run(sql, params).rowcount)


def added(sql: str, params: Sequence[Any]) -> int:
    """Run a constant INSERT of one row, and return the id that it got. Raises django.db.Error."""
    if connection.vendor != "postgresql":
        return int(_run(sql, params).lastrowid)
    return int(_run(f"{sql} RETURNING id", params).fetchall()[0][0])


def any_of(column: str, values: Collection[Any]) -> tuple[str, list[Any]]:
    """Return the condition that a column is one of these values, with its parameters.

    One value has a text of its own: a plan for any number of them is so bad for one that PostgreSQL would go on planning.
    """
    if len(values) == 1:
        return f"{column} = %s", list(values)
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s)", [list(values)]
    return f"{column} IN ({', '.join(['%s'] * len(values))})", list(values)


def _run(statement: str, params: Sequence[Any]) -> CursorWrapper:
    cursor = _cursor()
    try:
        cursor.execute(statement, params)
    except NotSupportedError:
        # A migration changed the type of a column that a prepared statement reads. With the rollback of a transaction the driver
        # forgets what it has prepared; where there is none, it has to forget the connection.
        if not connection.in_atomic_block:
            connection.close()
        raise
    return cursor


def _cursor() -> CursorWrapper:
    own: Any = connections[DEFAULT_DB_ALIAS]
    # Django's log of statements, which is kept while debugging, is to show them with their values.
    if own.vendor != "postgresql" or own.queries_logged:
        ordinary: CursorWrapper = own.cursor()
        return ordinary
    # As own.cursor() does, but for the class of the cursor: Django's checks and its errors stay.
    own.close_if_health_check_failed()
    own.ensure_connection()
    own.validate_thread_sharing()
    # One cursor for as long as the connection lives: a new one has to learn every type anew.
    raw = own.connection
    cursor = getattr(raw, "order_path", None)
    if cursor is None:
        cursor = raw.order_path = PreparedCursor(raw)
    made: CursorWrapper = own.make_cursor(cursor)
    return made
