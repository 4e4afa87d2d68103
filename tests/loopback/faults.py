"""What can go wrong with a request, ordered in advance: by path, and for so many requests."""

import threading
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

#: A fault for every path.
ANY = "*"
FOR_EVER = 10**9


class Reply(StrEnum):
    """How a request is answered."""

    NORMAL = "normal"
    HANG = "hang"
    RESET = "reset"
    HALF = "half"
    EMPTY = "empty"
    HTML = "html"
    STATUS = "status"
    ERROR = "error"
    TRICKLE = "trickle"
    TRICKLE_HEAD = "trickle_head"


@dataclass(frozen=True)
class Fault:
    """One fault, for the next ``count`` requests to ``path`` after ``skip`` of them.

    ``delay_s`` passes between the arrival of a request and its being carried out; whether it is, says ``is_carried_out``.
    HANG gives no answer for ``hang_s`` and then closes the connection; RESET breaks it in mid-body; HALF, EMPTY and HTML come
    under HTTP 200; STATUS answers with ``status`` and a page; ERROR with the venue's own ``error``. What is carried out stays
    invisible to every question for ``invisible_s``.
    """

    path: str = ANY
    reply: Reply = Reply.NORMAL
    count: int = 1
    skip: int = 0
    delay_s: float = 0.0
    is_carried_out: bool = True
    hang_s: float = 60.0
    status: int = 503
    error: str = ""
    invisible_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Fault":
        """Return the fault that ``raw`` describes. Raises ValueError for an unknown field."""
        unknown = raw.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        return cls(**{**raw, "reply": Reply(raw.get("reply", Reply.NORMAL))})


class FaultPlan:
    """The faults that are still to come. The first that fits a request is the one it gets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def waiting(self) -> list[Fault]:
        """Return the faults that have not come yet."""
        with self._lock:
            return list(self._faults)

    def take(self, path: str) -> Fault | None:
        """Return the fault for a request to ``path`` that has just arrived, and count it."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.path not in (ANY, path):
                    continue
                if fault.skip:
                    self._faults[index] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.count > 1:
                    self._faults[index] = replace(fault, count=fault.count - 1)
                else:
                    del self._faults[index]
                return fault
        return None


def answer_lost(path: str, *, count: int = 1, hang_s: float = 60.0) -> Fault:
    """Return: the venue does what it is asked, and the client never hears of it."""
    return Fault(path, Reply.HANG, count, hang_s=hang_s)


def request_lost(path: str, *, count: int = 1, hang_s: float = 60.0) -> Fault:
    """Return: the request never reaches the venue, and the client waits."""
    return Fault(path, Reply.HANG, count, is_carried_out=False, hang_s=hang_s)


def arrives_late(path: str, delay_s: float, *, count: int = 1) -> Fault:
    """Return: the venue does what it is asked only after ``delay_s``, when the client may have given up."""
    return Fault(path, Reply.NORMAL, count, delay_s=delay_s)


def reset(path: str, *, count: int = 1, is_carried_out: bool = True) -> Fault:
    """Return: the connection breaks in the middle of the answer."""
    return Fault(path, Reply.RESET, count, is_carried_out=is_carried_out)


def page(path: str, *, count: int = 1, is_carried_out: bool = True) -> Fault:
    """Return: HTTP 200 with a page of HTML."""
    return Fault(path, Reply.HTML, count, is_carried_out=is_carried_out)


def half(path: str, *, count: int = 1, is_carried_out: bool = True) -> Fault:
    """Return: HTTP 200 with half of the JSON."""
    return Fault(path, Reply.HALF, count, is_carried_out=is_carried_out)


def http_status(path: str, status: int, *, count: int = 1, is_carried_out: bool = True) -> Fault:
    """Return: an HTTP status with a page, after or without doing what was asked."""
    return Fault(path, Reply.STATUS, count, status=status, is_carried_out=is_carried_out)


def venue_error(path: str, error: str, *, count: int = 1, is_carried_out: bool = False) -> Fault:
    """Return: the venue's own error, without (or after) doing what was asked."""
    return Fault(path, Reply.ERROR, count, error=error, is_carried_out=is_carried_out)


def trickle(path: str, *, count: int = 1) -> Fault:
    """Return: the answer comes byte by byte, two in a second, so that no single wait is ever long."""
    return Fault(path, Reply.TRICKLE, count)


def trickle_head(path: str, *, count: int = 1, is_carried_out: bool = True) -> Fault:
    """Return: the headers come byte by byte, two in a second, so that the answer itself is far away."""
    return Fault(path, Reply.TRICKLE_HEAD, count, is_carried_out=is_carried_out)


def invisible(path: str, invisible_s: float, *, count: int = 1) -> Fault:
    """Return: what is done is answered normally, but shows up in no question for a while."""
    return Fault(path, count=count, invisible_s=invisible_s)
