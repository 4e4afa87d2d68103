"""Totals that are kept up bit by bit, so that whoever asks for them never counts all of history.

A total only ever grows, and survives restarts. Whoever adds to one reads it, adds, and writes it back on condition that nobody
else did meanwhile.
"""

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction

from audit.models import Tally

TRIES_MAX = 5


def read(name: str) -> dict[str, Any]:
    """Return a tally's value, empty when it was never kept. Raises django.db.Error."""
    found: dict[str, Any] | None = Tally.objects.filter(pk=name).values_list("value", flat=True).first()
    return found or {}


def change(name: str, work: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Replace a tally's value by what ``work`` makes of it; return whether that was written.

    ``work`` may be called again, when somebody else was quicker. Raises django.db.Error.
    """
    for _ in range(TRIES_MAX):
        row = Tally.objects.filter(pk=name).first()
        value = work(dict(row.value) if row is not None else {})
        if row is not None:
            if Tally.objects.filter(pk=name, version=row.version).update(value=value, version=row.version + 1):
                return True
            continue
        try:
            with transaction.atomic():
                Tally.objects.create(pk=name, value=value, version=1)
        except IntegrityError:
            # Somebody else made it just now.
            continue
        return True
    return False


class Histogram:
    """How often something took how long: counts by the upper bound of each bucket in seconds, and the sum in microseconds."""

    def __init__(self, bounds_s: tuple[float, ...], kept: dict[str, Any] | None = None) -> None:
        """Go on from what ``as_dict`` kept. Buckets that it did not have begin at nothing."""
        self.bounds_s = bounds_s
        counts = list((kept or {}).get("counts", ()))
        # One more than there are bounds: what took longer than all of them.
        self.counts = counts if len(counts) == len(bounds_s) + 1 else [0] * (len(bounds_s) + 1)
        self.sum_us = int((kept or {}).get("sum_us", 0)) if self.counts is counts else 0

    def add(self, seconds: float) -> None:
        """Count one. A time before 0, which a clock that was set back makes, counts as 0."""
        took_s = max(0.0, seconds)
        self.counts[next((at for at, bound in enumerate(self.bounds_s) if took_s <= bound), len(self.bounds_s))] += 1
        self.sum_us += round(took_s * 1_000_000)

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {"counts": self.counts, "sum_us": self.sum_us}
