"""Checks the three chains against themselves, their heads and the anchors. Reads only; holds no transaction and no lock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from audit.anchors import KnownAnchor, anchors_file, newest_anchors, read_anchors, stored_anchors
from audit.chain import FORMS, BadRow, Chain, Walker
from audit.reading import read_rows, where

ANCHORS_PER_QUERY = 500
HEADS = "chain_heads"

Progress = Callable[[Chain, int, int], object]


class VerificationError(Exception):
    """Raised when the chains could not be checked at all: nothing is known then, and nothing must be taken as intact."""


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What was found of one chain. ``bad`` is the first row that is not what was written, None when all are."""

    chain: Chain
    rows_checked: int
    head_seq: int
    anchors_checked: int
    bad: BadRow | None

    @property
    def intact(self) -> bool:
        return self.bad is None


@dataclass(frozen=True, slots=True)
class _Head:
    """A chain's head, and the lowest and highest seq its rows had at the same moment."""

    seq: int
    hash: str
    row_seq_min: int
    row_seq_max: int


def verify_chains(
    from_seq: int = 0, anchors_path: Path | None = None, progress: Progress | None = None
) -> list[ChainReport]:
    """Check every chain from row ``from_seq`` on, trusting the stored hash of the row before, and return what was found.

    ``anchors_path`` None takes settings.ANCHORS_FILE when it is there. ``progress`` gets chain, seq done and seq of the head.
    Raises VerificationError when ``from_seq`` lies behind every chain's end, AnchorFileError or OSError for the anchors file,
    django.db.Error when the database can't be read.
    """
    anchors = _all_anchors(anchors_path)
    heads = {chain: _head(chain) for chain in Chain}
    ends = [head.seq for head in heads.values() if head is not None]
    if from_seq > 1 and from_seq > max(ends, default=0):
        raise VerificationError(f"no chain has a row {from_seq}: nothing to check")
    return [
        _verify(chain, heads[chain], from_seq, [anchor for anchor in anchors if anchor.chain is chain], progress)
        for chain in Chain
    ]


def verify_part(chain: Chain, from_seq: int, rows_max: int) -> tuple[int, BadRow | None]:
    """Check at most ``rows_max`` rows of a chain from ``from_seq`` on, and what is before its beginning and after its head.

    Return the seq to go on from, 1 once the end was reached, and the first bad row. From its first row on, the chain is checked
    against every anchor too, else against the newest ones. Raises as ``verify_chains`` does.
    """
    starts_anew = from_seq <= 1
    # Before the head: an anchor that is written meanwhile must not seem to be ahead of it.
    known = _all_anchors(None) if starts_anew else newest_anchors()
    anchors = [anchor for anchor in known if anchor.chain is chain]
    head = _head(chain)
    if head is None:
        return 1, BadRow(HEADS, None, chain, 0, "the chain has no head row")
    start = from_seq if from_seq <= head.seq else 1
    last = min(max(start, 1) + rows_max - 1, head.seq)
    _, walked = _walk(chain, head, start, None, last)
    findings = [walked, *_outside(chain, head), _strays(chain), _check_anchors(chain, head, anchors)]
    first = min((bad for bad in findings if bad is not None), key=lambda bad: bad.seq, default=None)
    return (1 if last >= head.seq else last + 1), first


def head_seq(chain: Chain) -> int:
    """Return the seq of a chain's last row, 0 where there is none."""
    head = _head(chain)
    return 0 if head is None else head.seq


def _all_anchors(path: Path | None) -> list[KnownAnchor]:
    if path is None and anchors_file().exists():
        path = anchors_file()
    found = [*(read_anchors(path) if path is not None else ()), *stored_anchors()]
    once = {(anchor.chain, anchor.seq, anchor.hash): anchor for anchor in reversed(found)}
    return sorted(once.values(), key=lambda anchor: anchor.seq)


def _head(chain: Chain) -> _Head | None:
    rows = f'FROM "{FORMS[chain].table}" WHERE {where(chain)}'
    with connection.cursor() as cursor:
        # One statement, so that head and rows are of the same moment.
        cursor.execute(
            f"SELECT seq, hash, (SELECT min(seq) {rows}), (SELECT max(seq) {rows}) FROM {HEADS} WHERE chain = %s",
            [chain.value],
        )
        found = cursor.fetchone()
    if found is None:
        return None
    seq, hash_, seq_min, seq_max = found
    return _Head(seq, hash_, 1 if seq_min is None else seq_min, seq_max or 0)


def _verify(
    chain: Chain, head: _Head | None, from_seq: int, anchors: Sequence[KnownAnchor], progress: Progress | None
) -> ChainReport:
    if head is None:
        bad = BadRow(HEADS, None, chain, 0, "the chain has no head row")
        return ChainReport(chain, 0, 0, 0, bad)
    rows_checked, walked = _walk(chain, head, from_seq, progress)
    findings = [walked, *_outside(chain, head), _strays(chain), _check_anchors(chain, head, anchors)]
    first = min((bad for bad in findings if bad is not None), key=lambda bad: bad.seq, default=None)
    return ChainReport(chain, rows_checked, head.seq, len(anchors), first)


def _walk(
    chain: Chain, head: _Head, from_seq: int, progress: Progress | None, last: int | None = None
) -> tuple[int, BadRow | None]:
    """Check the rows up to the head, or to row ``last``; return how many were good, and the first bad one."""
    last = head.seq if last is None else last
    start = min(max(from_seq, 1), head.seq + 1)
    walker = Walker(chain)
    if start > 1:
        trusted = _stored_rows(chain, [start - 1]).get(start - 1)
        if trusted is None:
            return 0, BadRow(FORMS[chain].table, None, chain, start - 1, "the row is missing")
        walker = Walker(chain, start - 1, trusted[1])
    bad: BadRow | None = None
    for end, rows in read_rows(connection, chain, start, last):
        bad = walker.check(rows)
        if bad is None and walker.seq != end:
            bad = walker.missing(f"the row is missing; the chain's head is at seq {head.seq}")
        if bad is not None:
            break
        if progress is not None:
            progress(chain, walker.seq, head.seq)
    if bad is None and last == head.seq and walker.hash != head.hash:
        bad = BadRow(HEADS, None, chain, head.seq, "the head's hash is not the hash of the last row")
    return walker.seq - start + 1, bad


def _strays(chain: Chain) -> BadRow | None:
    """Return a row that belongs to no chain, if any; the live chain answers for it."""
    if chain is not Chain.LIVE:
        return None
    stray = _first("order_events", "is_live < 0 OR is_live > 1")
    return stray and BadRow("order_events", stray[0], chain, stray[1], "is_live is neither 0 nor 1")


def _outside(chain: Chain, head: _Head) -> Iterator[BadRow]:
    """Yield the first row before seq 1 and the first one after the head."""
    table = FORMS[chain].table
    if head.row_seq_min < 1:
        row = _first(table, f"{where(chain)} AND seq < 1")
        yield BadRow(
            table, row and row[0], chain, head.row_seq_min, "seq is below 1: the row was not written by the log"
        )
    if head.row_seq_max > head.seq:
        row = _first(table, f"{where(chain)} AND seq > {int(head.seq)}")
        why = f"the row is beyond the chain's head, which is at seq {head.seq}"
        yield BadRow(table, row and row[0], chain, row[1] if row else head.row_seq_max, why)


def _first(table: str, condition: str) -> tuple[int, int, str] | None:
    """Return (id, seq, hash) of the first row on ``condition``, which never holds text from outside."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT id, seq, hash FROM "{table}" WHERE {condition} ORDER BY seq, id LIMIT 1')
        row: tuple[int, int, str] | None = cursor.fetchone()
    return row


def _check_anchors(chain: Chain, head: _Head, anchors: Sequence[KnownAnchor]) -> BadRow | None:
    """Return the first row, by seq, that an anchor knows otherwise."""
    for start in range(0, len(anchors), ANCHORS_PER_QUERY):
        some = anchors[start : start + ANCHORS_PER_QUERY]
        rows = _stored_rows(chain, [anchor.seq for anchor in some])
        for anchor in some:
            why = _disagreement(anchor, head, rows.get(anchor.seq))
            if why is not None:
                id_ = rows[anchor.seq][0] if anchor.seq in rows else None
                return BadRow(FORMS[chain].table, id_, chain, anchor.seq, why)
    return None


def _disagreement(anchor: KnownAnchor, head: _Head, row: tuple[int, str] | None) -> str | None:
    noted = f"the anchor of {anchor.ts} ({anchor.source})"
    if anchor.seq > head.seq:
        return f"{noted} is ahead of the chain, which ends at seq {head.seq}: its tail was cut off, or an old backup restored"
    if row is None:
        return f"{noted} knows a row that is missing"
    if row[1] != anchor.hash:
        return f"{noted} has another hash: the chain was written anew"
    return None


def _stored_rows(chain: Chain, seqs: list[int]) -> dict[int, tuple[int, str]]:
    marks = ", ".join(["%s"] * len(seqs))
    query = f'SELECT seq, id, hash FROM "{FORMS[chain].table}" WHERE {where(chain)} AND seq IN ({marks})'
    with connection.cursor() as cursor:
        cursor.execute(query, seqs)
        return {seq: (id_, hash_) for seq, id_, hash_ in cursor.fetchall()}
