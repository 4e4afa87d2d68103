"""Lists that are read in parts, as tests want them: whole."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.utils import timezone

from bots.brokers.parts import Part, Stretch

T = TypeVar("T")
PARTS_MAX = 1_000


def as_long_as_it_takes(*, begins: bool) -> bool:
    """Return that there is always room for one more page."""
    return True


def stretch(since: datetime, **changes: object) -> Stretch:
    """Return all since then until now."""
    return Stretch(since, timezone.now(), **changes)  # type: ignore[arg-type]


def rows_of(read: Callable[[Stretch], Part[T]], since: datetime) -> tuple[T, ...]:
    """Return every row of a list since then, read part after part. The last page of two parts may be the same."""
    found, place, until = list[T](), "", timezone.now() + timedelta(seconds=1)
    for _ in range(PARTS_MAX):
        part = read(Stretch(since, until, place))
        found += part.rows
        if part.is_last:
            return tuple(dict.fromkeys(found))
        assert part.place != place
        place = part.place
    raise AssertionError("the list does not come to an end")
