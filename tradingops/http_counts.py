"""How many requests of which kind were answered how. Each web process counts, and adds what it counted to the common totals.

So every web process tells the same, and a restart loses the last few seconds at most.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from audit import tallies

NAME = "http"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What matches no route: pages that do not exist, static files.
NO_ROUTE = "none"
OTHER = "other"
#: Of kinds of requests. There are not so many routes; whatever comes after that counts as "other".
KINDS_MAX = 1_000

Counts = dict[str, list[int]]
_lock = threading.Lock()
_counts: Counts = {}


def count_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Count each answer by method, route and status, with the time to it. A stream counts when it begins."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began_s = time.perf_counter()
        response = get_response(request)
        _count(_kind(request, response.status_code), time.perf_counter() - began_s)
        return response

    return middleware


def _kind(request: HttpRequest, status: int) -> str:
    method = request.method if request.method in METHODS else OTHER
    match = request.resolver_match
    return f"{method} {status} {match.route if match is not None else NO_ROUTE}"


def _count(kind: str, took_s: float) -> None:
    with _lock:
        if kind not in _counts and len(_counts) >= KINDS_MAX:
            kind = f"{OTHER} 0 {OTHER}"
        entry = _counts.setdefault(kind, [0, 0])
        entry[0] += 1
        entry[1] += round(took_s * 1_000_000)


def keep() -> None:
    """Add what this process counted to the common totals. What could not be added is kept for the next time.

    Raises django.db.Error.
    """
    with _lock:
        mine = {kind: list(entry) for kind, entry in _counts.items()}
    if mine and tallies.change(NAME, lambda kept: _sum(kept, mine)):
        with _lock:
            for kind, (count, took_us) in mine.items():
                entry = _counts[kind]
                entry[0], entry[1] = entry[0] - count, entry[1] - took_us
                if not entry[0]:
                    del _counts[kind]


def _sum(kept: dict[str, Any], mine: Counts) -> dict[str, Any]:
    total = dict(kept)
    for kind, (count, took_us) in mine.items():
        name = kind if kind in total or len(total) < KINDS_MAX else f"{OTHER} 0 {OTHER}"
        before = total.get(name, [0, 0])
        total[name] = [before[0] + count, before[1] + took_us]
    return total


def read() -> list[tuple[str, str, str, int, float]]:
    """Return method, route, status, requests, and the seconds that they took together. Raises django.db.Error."""
    found = []
    for kind, (count, took_us) in sorted(tallies.read(NAME).items()):
        method, status, route = kind.split(" ", 2)
        found.append((method, route, status, int(count), took_us / 1_000_000))
    return found
