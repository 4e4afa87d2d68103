"""The hash chain, pure: the canonical form of a row, its hash, and the check of a run of rows. No database here.

The form is described in docs/audit-chain.md, with a page of Python that checks an export without this code.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from json.encoder import encode_basestring as quote  # the C one: the same text as json.dumps(..., ensure_ascii=False)
from typing import Any

DOMAIN = "tradingops-audit"
VERSION = 1
# Stands for a prev_hash or seq that is not known yet. Canonical JSON never holds a bare NUL: it would be written as \\u0000.
OPEN = "\0"


class Chain(StrEnum):
    """The three chains, in the order in which their heads are locked."""

    OPERATOR = "operator"
    LIVE = "live"
    PAPER = "paper"


# Every column but id and hash, sorted: the order of the keys in the canonical JSON.
ORDER_COLUMNS = (
    "actor", "amount", "bot_id", "client_order_id", "details", "event", "is_live", "ord_type", "prev_hash", "price",
    "reason", "seq", "side", "status", "symbol", "ts", "venue", "venue_order_id",
)  # fmt: skip
OPERATOR_COLUMNS = ("action", "actor", "new", "object", "old", "prev_hash", "reason", "seq", "ts")


def prefix(chain: Chain) -> str:
    """Return the line before the JSON of every row of ``chain``: a hash of one chain can't be taken for another's."""
    return f"{DOMAIN} {VERSION} {chain.value}\n"


def genesis(chain: Chain) -> str:
    """Return the prev_hash of the first row of ``chain``; each chain has its own."""
    return sha256(f"{DOMAIN} {VERSION} {chain.value} genesis\n".encode()).hexdigest()


def _template(columns: Sequence[str]) -> str:
    return "{" + ",".join(f'"{column}":%s' for column in columns) + "}"


_ORDER_TEMPLATE = _template(ORDER_COLUMNS)
_OPERATOR_TEMPLATE = _template(OPERATOR_COLUMNS)


def order_json(values: Sequence[Any]) -> str:
    """Return the canonical JSON of an order event from the texts of ORDER_COLUMNS, in that order.

    Decimals and the time come as text, ``details`` as the text of its column, ``bot_id``, ``is_live`` and ``seq`` as whole
    numbers. Raises TypeError or ValueError when a value has another type.
    """
    # Spelt out, not looped: this is the inner loop of verify_audit, and twice as fast this way.
    (
        actor,
        amount,
        bot_id,
        order_id,
        details,
        event,
        live,
        kind,
        prev,
        price,
        reason,
        seq,
        side,
        status,
        symbol,
        ts,
        venue,
        ref,
    ) = values
    return _ORDER_TEMPLATE % (
        quote(actor), "null" if amount is None else quote(amount), "null" if bot_id is None else int(bot_id),
        quote(order_id), quote(details), quote(event), int(live), quote(kind), OPEN if prev is None else quote(prev),
        "null" if price is None else quote(price), quote(reason), OPEN if seq is None else int(seq), quote(side),
        quote(status), quote(symbol), quote(ts), quote(venue), quote(ref),
    )  # fmt: skip


def operator_json(values: Sequence[Any]) -> str:
    """Return the canonical JSON of an operator event from the texts of OPERATOR_COLUMNS; as ``order_json`` otherwise."""
    action, actor, new, object_, old, prev, reason, seq, ts = values
    return _OPERATOR_TEMPLATE % (
        quote(action), quote(actor), quote(new), quote(object_), quote(old), OPEN if prev is None else quote(prev),
        quote(reason), OPEN if seq is None else int(seq), quote(ts),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """How the rows of one table are put into their canonical form."""

    table: str
    columns: tuple[str, ...]
    json: Callable[[Sequence[Any]], str]

    @property
    def seq_at(self) -> int:
        return self.columns.index("seq")

    @property
    def prev_hash_at(self) -> int:
        return self.columns.index("prev_hash")


ORDER_FORM = Form("order_events", ORDER_COLUMNS, order_json)
OPERATOR_FORM = Form("operator_events", OPERATOR_COLUMNS, operator_json)
FORMS = {Chain.OPERATOR: OPERATOR_FORM, Chain.LIVE: ORDER_FORM, Chain.PAPER: ORDER_FORM}


def canonical_bytes(chain: Chain, values: Sequence[Any]) -> bytes:
    """Return what is hashed: the chain's prefix line, then the canonical JSON of every column but id and hash, in UTF-8."""
    return (prefix(chain) + FORMS[chain].json(values)).encode()


def row_hash(chain: Chain, values: Sequence[Any]) -> str:
    """Return the SHA-256 of the row's canonical bytes, as 64 hexadecimal digits."""
    return sha256(canonical_bytes(chain, values)).hexdigest()


class Blank:
    """A row's canonical form with prev_hash and seq still open, so that only the hash is left to do under the head's lock."""

    __slots__ = ("_after", "_before", "_between")

    def __init__(self, chain: Chain, values: Sequence[Any]) -> None:
        """Take the values of ``order_json`` or ``operator_json`` with None for prev_hash and seq."""
        self._before, self._between, self._after = (prefix(chain) + FORMS[chain].json(values)).split(OPEN)

    def hash(self, prev_hash: str, seq: int) -> str:
        """Return the row's hash as row ``seq`` after the row whose hash is ``prev_hash``."""
        return sha256(f'{self._before}"{prev_hash}"{self._between}{seq}{self._after}'.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first row of a chain that is not what was written. ``id`` is None when the row itself is gone."""

    table: str
    id: int | None
    chain: Chain
    seq: int
    why: str

    def __str__(self) -> str:
        row = "no row" if self.id is None else f"id {self.id}"
        return f"{self.table} {row}, chain {self.chain.value}, seq {self.seq}: {self.why}"


class Walker:
    """Checks the rows of one chain, run after run, in the order of their seq; ``seq`` and ``hash`` are the last good row's."""

    def __init__(self, chain: Chain, seq: int = 0, hash: str = "") -> None:
        """Start after row ``seq``, trusting its ``hash``; without them before the first row."""
        self.chain = chain
        self.seq = seq
        self.hash = hash if seq else genesis(chain)

    def check(self, rows: Iterable[Sequence[Any]]) -> BadRow | None:
        """Check rows of (id, hash, then the form's columns) and return the first bad one, or None when all are as written."""
        form, line = FORMS[self.chain], prefix(self.chain)
        json, seq_at, prev_hash_at = form.json, form.seq_at, form.prev_hash_at
        seq, last_hash = self.seq, self.hash
        for row in rows:
            values = row[2:]
            try:
                sound = (
                    values[seq_at] == seq + 1
                    and values[prev_hash_at] == last_hash
                    and sha256((line + json(values)).encode()).hexdigest() == row[1]
                )
            except (TypeError, ValueError):
                sound = False
            if not sound:
                return self._name(row, seq, last_hash)
            seq, last_hash = seq + 1, row[1]
            self.seq, self.hash = seq, last_hash
        return None

    def _name(self, row: Sequence[Any], last_seq: int, last_hash: str) -> BadRow:
        form, id_, seq = FORMS[self.chain], row[0], row[2 + FORMS[self.chain].seq_at]
        if seq != last_seq + 1:
            if isinstance(seq, int) and seq > last_seq + 1:
                return self.missing(f"the row is missing; the next row is seq {seq}, id {id_}")
            return BadRow(form.table, id_, self.chain, last_seq + 1, f"seq is {seq!r} where {last_seq + 1} is due")
        if row[2 + form.prev_hash_at] != last_hash:
            return BadRow(form.table, id_, self.chain, seq, "prev_hash is not the hash of the row before")
        return BadRow(
            form.table, id_, self.chain, seq, "the hash does not fit the row's columns: one of them was changed"
        )

    def missing(self, why: str) -> BadRow:
        """Return the finding that the row after the last good one is not there."""
        return BadRow(FORMS[self.chain].table, None, self.chain, self.seq + 1, why)
