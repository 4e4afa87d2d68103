"""Reads server-sent events as a browser does, from any source of bytes."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Told:
    """One event, or a ``heartbeat``. ``id`` is the last event id as it stood then."""

    kind: str
    data: Any
    id: str


class Listening:
    """What a stream tells, event by event. ``last_id`` moves with heartbeats too, as a browser's does."""

    def __init__(self, chunks: Iterable[bytes], close: Callable[[], object] = lambda: None) -> None:
        self.last_id = ""
        self._events = self._parse(chunks)
        self.close = close

    def __iter__(self) -> Iterator[Told]:
        return (told for told in self._events if told.kind != "heartbeat")

    def next(self, kind: str) -> Told:
        """Return the next event of a kind; those of others are passed over. Fails the test when the stream ends first."""
        for told in self._events:
            if told.kind == kind:
                return told
        raise AssertionError(f"the stream ended without {kind}")

    def orders(self, count: int) -> list[Any]:
        """Return what the next ``count`` order events say."""
        return [self.next("order").data for _ in range(count)]

    def _parse(self, chunks: Iterable[bytes]) -> Iterator[Told]:
        buffer = b""
        for chunk in chunks:
            buffer += chunk
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                told = self._block(block.decode())
                if told is not None:
                    yield told

    def _block(self, block: str) -> Told | None:
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            fields[name] = value
        self.last_id = fields.get("id", self.last_id)
        if fields.get("") == "heartbeat":
            return Told("heartbeat", None, self.last_id)
        return Told(fields["event"], json.loads(fields["data"]), self.last_id) if "data" in fields else None
