"""Order events as plain texts, in the contract's column order: what an export holds, and what a stranger can verify."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from audit.reading import ROWS_PER_QUERY, canonical_times, expression
from audit.records import database_time, utc_text

COLUMNS = (
    "id", "seq", "ts", "bot_id", "client_order_id", "venue", "symbol", "side", "ord_type", "price", "amount",
    "venue_order_id", "event", "status", "reason", "is_live", "actor", "details", "prev_hash", "hash",
)  # fmt: skip


def export_order_events(
    *, live_only: bool = False, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Sequence[Any]]:
    """Yield the values of COLUMNS, oldest first: times, decimals and details as their canonical texts. Memory stays constant.

    ``since`` is included, ``until`` is not. Rows that are added meanwhile may come too.
    """
    conditions, values = ["id > %s"], list[Any]()
    if live_only:
        conditions.append("is_live = 1")
    for comparison, moment in (("ts >= %s", since), ("ts < %s", until)):
        if moment is not None:
            conditions.append(comparison)
            values.append(database_time(utc_text(moment), connection.vendor))
    columns = ", ".join(expression(column, connection.vendor) for column in COLUMNS)
    query = f"SELECT {columns} FROM order_events WHERE {' AND '.join(conditions)} ORDER BY id LIMIT {ROWS_PER_QUERY}"
    last_id = 0
    while True:  # ends: ids rise, and a short run is the last
        with connection.cursor() as cursor:
            cursor.execute(query, [last_id, *values])
            rows = cursor.fetchall()
        yield from rows if connection.vendor == "postgresql" else canonical_times(rows, COLUMNS.index("ts"))
        if len(rows) < ROWS_PER_QUERY:
            return
        last_id = rows[-1][0]


def json_line(row: Sequence[Any]) -> str:
    """Return one exported row as a JSON object on one line, without the newline."""
    return json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False)
