"""How history names a bot: rows keep its number only, and this app imports nothing of the bots. They tell their names here."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BotName:
    """A bot as lists and filters show it; ``url`` is its page."""

    bot_id: int
    name: str
    symbol: str
    url: str


Source = Callable[[], list[BotName]]
_sources: list[Source] = []


def tell(source: Source) -> None:
    """Use ``source`` for the names from now on, in place of any told before."""
    _sources[:] = [source]


def all_bots() -> list[BotName]:
    """Return every bot that is known, in the order in which people look for them."""
    return [name for source in _sources for name in source()]


def by_id() -> dict[int, BotName]:
    """Return the bots by their number."""
    return {name.bot_id: name for name in all_bots()}
