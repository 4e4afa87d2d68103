"""Chains prepared rows and inserts them: heads locked last, one insert per chain, heads moved by a counted update."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from audit import sql
from audit.chain import FORMS, Chain, Form
from audit.records import Prepared, database_time


class ChainHeadError(IntegrityError):
    """Raised when a chain's head is missing or was moved by someone who did not hold its lock. Nothing is written."""


def append_rows(connection: BaseDatabaseWrapper, rows: Sequence[Prepared]) -> None:
    """Write ``rows`` in their order, at the end of their chains, in the transaction that is open.

    Raises ChainHeadError when a head is not where it must be; the caller's transaction is then rolled back.
    """
    chains = {chain: [row for row in rows if row.chain is chain] for chain in Chain}
    chains = {chain: chained for chain, chained in chains.items() if chained}
    if not chains:
        return
    heads = _lock_heads(list(chains), connection.vendor)
    for chain, chained in chains.items():
        seq, last_hash = heads[chain]
        values, last_hash = _chain(chained, seq, last_hash)
        _insert(FORMS[chain], values, connection)
        moved = sql.change(
            "UPDATE chain_heads SET seq = %s, hash = %s WHERE chain = %s AND seq = %s",
            [seq + len(chained), last_hash, chain.value, seq],
        )
        if moved != 1:
            raise ChainHeadError(f"the head of the {chain.value} chain is no longer at seq {seq}")


def _lock_heads(chains: list[Chain], vendor: str) -> dict[Chain, tuple[int, str]]:
    """Lock the heads in their one order: operator, live, paper. SQLite's transaction holds the only write lock already."""
    lock = " FOR UPDATE" if vendor == "postgresql" else ""
    condition, params = sql.any_of("chain", [chain.value for chain in chains])
    found = sql.rows(
        f"SELECT chain, seq, hash FROM chain_heads WHERE {condition} ORDER BY chain <> 'operator', chain{lock}", params
    )
    heads = {Chain(name): (int(seq), str(hash_)) for name, seq, hash_ in found}
    lost = [chain.value for chain in chains if chain not in heads]
    if lost:
        raise ChainHeadError(f"no head row for {', '.join(lost)} in chain_heads")
    return heads


def _chain(rows: Sequence[Prepared], seq: int, last_hash: str) -> tuple[list[list[Any]], str]:
    """Return the rows' column values, the hash last, chained on after row ``seq``; and the last hash."""
    form = FORMS[rows[0].chain]
    prev_hash_at, seq_at = form.prev_hash_at, form.seq_at
    chained = []
    for row in rows:
        seq += 1
        values = row.values
        values[prev_hash_at], values[seq_at] = last_hash, seq
        last_hash = row.blank.hash(last_hash, seq)
        chained.append([*values, last_hash])
    return chained, last_hash


def _insert(form: Form, rows: list[list[Any]], connection: BaseDatabaseWrapper) -> None:
    columns = ", ".join([*(f'"{column}"' for column in form.columns), '"hash"'])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # COPY takes a fifth of the time of a multi-row INSERT, and this is the time for which the head is locked.
            statement = f'COPY "{form.table}" ({columns}) FROM STDIN'
            with connection.wrap_database_errors, cursor.cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
            return
        ts_at = form.columns.index("ts")
        for row in rows:
            row[ts_at] = database_time(row[ts_at], connection.vendor)
        marks = ", ".join(["%s"] * (len(form.columns) + 1))
        cursor.executemany(f'INSERT INTO "{form.table}" ({columns}) VALUES ({marks})', rows)
