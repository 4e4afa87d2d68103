"""Anchors: notes of where each chain stood, in the table ``anchors`` and, line by line, in a file outside the database.

A chain can't show that its end was cut off or that an old backup was restored. An anchor kept elsewhere can.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from audit.chain import Chain
from audit.models import Anchor, ChainHead
from audit.records import database_time, utc_text

LINE_BYTES_MAX = 1_000
#: How much of the end of the file is read for the newest anchors.
TAIL_BYTES = 16_384
_HASH = re.compile(r"[0-9a-f]{64}")


class AnchorFileError(ValueError):
    """Raised when a line of the anchors file is not an anchor; the message names file and line."""


@dataclass(frozen=True, slots=True)
class KnownAnchor:
    """An anchor and where it was found."""

    chain: Chain
    seq: int
    hash: str
    ts: str
    source: str


def anchors_file() -> Path:
    """Return where anchors are written: settings.ANCHORS_FILE, else ``var/anchors.jsonl``."""
    return Path(getattr(settings, "ANCHORS_FILE", None) or Path(settings.BASE_DIR) / "var" / "anchors.jsonl")


def write_anchors(*, now: datetime) -> list[KnownAnchor]:
    """Anchor each chain that moved since its last anchor, in the file and in the table; return the new anchors.

    Raises OSError when the file can't be written (then no row is added either), RuntimeError inside an open transaction,
    whose own heads might yet be rolled back.
    """
    path = anchors_file()
    with transaction.atomic(durable=True):
        last = {chain: _last_seq(chain) for chain in Chain}
        heads = list(ChainHead.objects.order_by("chain"))
    ts = utc_text(now)
    moved = [
        KnownAnchor(Chain(head.chain), head.seq, head.hash, ts, str(path))
        for head in heads
        if head.seq > last[Chain(head.chain)]
    ]
    if moved:
        # The file first: a row without its line would keep that line from ever being written.
        _append_lines(path, moved)
        for anchor in moved:
            _insert(anchor)
    return moved


def _last_seq(chain: Chain) -> int:
    last: int | None = Anchor.objects.filter(chain=chain.value).order_by("-seq").values_list("seq", flat=True).first()
    return last or 0


def _insert(anchor: KnownAnchor) -> None:
    insert = "INSERT INTO anchors (chain, seq, hash, ts) VALUES (%s, %s, %s, %s)"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                insert, [anchor.chain.value, anchor.seq, anchor.hash, database_time(anchor.ts, connection.vendor)]
            )
    except IntegrityError:
        # Another process anchored the same row just now; a different hash for it would come out in verify_audit.
        return


def _append_lines(path: Path, anchors: list[KnownAnchor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        json.dumps({"chain": anchor.chain.value, "seq": anchor.seq, "hash": anchor.hash, "ts": anchor.ts}) + "\n"
        for anchor in anchors
    )
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            # A line that a crash tore off must not swallow the next one too.
            lines = "\n" + lines
        file.write(lines.encode())
        os.fsync(file.fileno())
    if is_new:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_anchors(path: Path) -> Iterator[KnownAnchor]:
    """Yield the anchors of a file. Raises AnchorFileError at the first bad line, OSError when it can't be read."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX + 1), b""), start=1):
            try:
                yield _parse(line, f"{path} line {number}")
            except (ValueError, TypeError, KeyError) as error:
                raise AnchorFileError(f"{path} line {number}: not an anchor: {error}") from error


def newest_anchors() -> list[KnownAnchor]:
    """Return the last anchors of the file and of the table, cheaply: whoever restored an old backup has them ahead of its chains.

    Raises AnchorFileError when the file's last lines are not anchors, OSError when it can't be read.
    """
    found = []
    for chain in Chain:
        row = Anchor.objects.filter(chain=chain.value).order_by("-seq").first()
        if row is not None:
            found.append(KnownAnchor(chain, row.seq, row.hash, utc_text(row.ts), f"anchors id {row.pk}"))
    path = anchors_file()
    if not path.exists():
        return found
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).splitlines()
    whole = lines[1:] if size > TAIL_BYTES else lines
    for line in whole:
        try:
            found.append(_parse(line, f"the end of {path}"))
        except (ValueError, TypeError, KeyError) as error:
            raise AnchorFileError(f"the end of {path}: not an anchor: {error}") from error
    return found


def _parse(line: bytes, source: str) -> KnownAnchor:
    if len(line) > LINE_BYTES_MAX:
        raise ValueError(f"longer than {LINE_BYTES_MAX} bytes")
    found = json.loads(line)
    if not isinstance(found, dict) or set(found) != {"chain", "seq", "hash", "ts"}:
        raise ValueError("it must have chain, seq, hash and ts, and nothing else")
    seq, hash_, ts = found["seq"], found["hash"], found["ts"]
    if type(seq) is not int or seq < 1:
        raise ValueError(f"seq must be a whole number from 1, not {seq!r}")
    if not isinstance(hash_, str) or not _HASH.fullmatch(hash_):
        raise ValueError("hash must be 64 hexadecimal digits")
    if not isinstance(ts, str) or datetime.fromisoformat(ts).tzinfo is None:
        raise ValueError("ts must be a time with its zone")
    return KnownAnchor(Chain(found["chain"]), seq, hash_, ts, source)


def stored_anchors() -> Iterator[KnownAnchor]:
    """Yield the anchors of the table, oldest first."""
    for anchor in Anchor.objects.order_by("id").iterator(chunk_size=2_000):
        yield KnownAnchor(Chain(anchor.chain), anchor.seq, anchor.hash, utc_text(anchor.ts), f"anchors id {anchor.pk}")
