"""Which feed answers for which venue."""

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from django.conf import settings

from bots.market_data.base import Feed, MarketDataError
from bots.market_data.replay import ReplayFeed

if TYPE_CHECKING:
    from bots.market_data.kraken import KrakenFeed

_REPLAY = ReplayFeed()
#: One per address; a process that was forked makes its own, since threads and connections do not survive a fork.
_kraken: "dict[str, KrakenFeed]" = {}
_lock = threading.Lock()


def feed_for(venue: str) -> Feed:
    """Return the feed of ``venue``, one per process, without asking the venue. Raises MarketDataError when there is none."""
    if venue == _REPLAY.venue:
        return _REPLAY
    if venue == "kraken":
        return _kraken_feed()
    if venue == "alpaca":
        raise MarketDataError("There are no market data of Alpaca yet: this bot cannot trade in this version")
    raise MarketDataError(f"There is no venue called {venue!r}: choose replay, kraken or alpaca")


def replay_feed() -> ReplayFeed:
    """Return this process's replay feed, which can also change its speed."""
    return _REPLAY


def known_symbols() -> dict[str, tuple[str, ...]]:
    """Return the symbols that can be traded, by venue. A venue that can't be reached now is left out."""
    known = {_REPLAY.venue: _REPLAY.symbols()}
    # Without a network the recordings still play, and forms open.
    with suppress(MarketDataError):
        known["kraken"] = feed_for("kraken").symbols()
    return known


def forget_feeds() -> None:
    """Drop the venues' feeds with all they know; the next question makes new ones."""
    global _lock
    _lock = threading.Lock()
    _kraken.clear()


def _kraken_feed() -> "KrakenFeed":
    url = settings.ENVIRONMENT.kraken_base_url.url
    found = _kraken.get(url)
    if found is not None:
        return found
    # Only now: a process that asks Kraken nothing does not load its client.
    from bots.market_data.kraken import KrakenFeed

    with _lock:
        return _kraken.setdefault(url, KrakenFeed(url))


os.register_at_fork(after_in_child=forget_feeds)
