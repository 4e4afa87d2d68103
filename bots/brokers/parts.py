"""A long list of an account, read in parts: oldest first, each part whole, and the next goes on where the last one ended.

A venue gives so many rows at a time and counts each question. So a history that does not fit into one round of questions is read
over several, and what was read is read no more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from bots.brokers.budget import HISTORY_PCT, SHARES_PCT, Purpose

T = TypeVar("T")

#: So many pages are asked for before what they hold is counted and kept.
PART_PAGES = 4


def always() -> bool:
    """Return that there is time for one more page."""
    return True


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is to be read of a list: all that happened after ``since``, on from ``place``, where an earlier part ended.

    ``until`` is when the reading began: what happens later may be left out. ``has_time`` says whether one more page may be asked
    for. ``is_first``: the list has to be begun, even if there is little room under the venue's limit.
    """

    since: datetime
    until: datetime
    place: str = ""
    has_time: Callable[[], bool] = always
    is_first: bool = True


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Rows of a list that were read whole, the oldest of what was left; ``is_last``: the list is read to its end.

    ``place`` is where the next part begins; as before, when there was no time or room for a single page. ``upto`` is when the
    last of what was read happened, None when that was nothing.
    """

    rows: tuple[T, ...]
    place: str = ""
    upto: datetime | None = None
    is_last: bool = False


class MayAsk(Protocol):
    """Says whether one more page may be asked for; ``begins``: it is the first one of a list."""

    def __call__(self, *, begins: bool) -> bool:
        """Return whether there is time and room. Raises CallFailed when that is not known."""
        ...


def may_ask(stretch: Stretch, has_room: Callable[[int], bool]) -> MayAsk:
    """Return what says so of a stretch. ``has_room`` tells whether one more question fits into so many per cent of a limit.

    A list's first page is a question like any other in the background; the pages after it leave more room to others.
    """

    def answer(*, begins: bool) -> bool:
        if begins and stretch.is_first:
            return True
        return stretch.has_time() and has_room(SHARES_PCT[Purpose.BACKGROUND] if begins else HISTORY_PCT)

    return answer
