"""Reads audit rows as the chain needs them: plain tuples in seq order, texts as stored, nothing parsed and nothing rounded."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from audit.chain import FORMS, Chain, Form

# Rows per query: a few MB each, and no transaction is held open in between.
ROWS_PER_QUERY = 5_000

# Outside the years that the canonical time can tell, the text as it stands: it can't pass for another time then.
_POSTGRESQL_TIME = (
    "CASE WHEN ts >= '0001-01-01 00:00:00+00' AND ts < '10000-01-01 00:00:00+00'"
    " THEN to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') ELSE ts::text END"
)
_DECIMALS = ("amount", "price")


def where(chain: Chain) -> str:
    """Return the condition that selects the rows of ``chain`` in its table."""
    return {Chain.OPERATOR: "TRUE", Chain.LIVE: "is_live = 1", Chain.PAPER: "is_live = 0"}[chain]


def select_list(form: Form, vendor: str) -> str:
    """Return the columns of ``form`` as SQL that yields their canonical texts (on SQLite all but the time's)."""
    return ", ".join(expression(column, vendor) for column in form.columns)


def expression(column: str, vendor: str) -> str:
    """Return the SQL that yields the canonical text of ``column`` (of a time on SQLite, see ``canonical_times``)."""
    if vendor == "postgresql":
        if column in _DECIMALS:
            return f"{column}::text"
        return _POSTGRESQL_TIME if column == "ts" else f'"{column}"'
    # An expression has no declared type, so the driver does not turn it into a datetime.
    return "CAST(ts AS TEXT)" if column == "ts" else f'"{column}"'


Rows = list[Sequence[Any]]


def read_rows(connection: BaseDatabaseWrapper, chain: Chain, first: int, last: int) -> Iterator[tuple[int, Rows]]:
    """Yield the rows of ``chain`` from seq ``first`` to ``last`` in runs: the seq the run must end at, and its rows.

    A row is (id, hash, the form's columns). What is missing in the table is missing in the run.
    """
    form = FORMS[chain]
    query = (
        f'SELECT id, hash, {select_list(form, connection.vendor)} FROM "{form.table}"'
        f" WHERE {where(chain)} AND seq BETWEEN %s AND %s ORDER BY seq, id"
    )
    for start in range(first, last + 1, ROWS_PER_QUERY):
        end = min(start + ROWS_PER_QUERY - 1, last)
        with connection.cursor() as cursor:
            # By range and not by LIMIT: a second row with the same seq can't hide between two runs.
            cursor.execute(query, [start, end])
            rows = cursor.fetchall()
        yield end, rows if connection.vendor == "postgresql" else canonical_times(rows, form.columns.index("ts") + 2)


def canonical_times(rows: Rows, ts_at: int) -> Rows:
    """Return SQLite's ``rows`` with the time at ``ts_at`` in its canonical form."""
    canonical: Rows = []
    for row in rows:
        text = row[ts_at]
        if len(text) == 19:  # Django leaves out a fraction of zero
            text += ".000000"
        if len(text) == 26 and text[10] == " ":
            text = f"{text[:10]}T{text[11:]}Z"
        # Anything else stays as it is, and no longer fits its hash.
        canonical.append((*row[:ts_at], text, *row[ts_at + 1 :]))
    return canonical
