"""Which feed answers for which venue."""

from bots.market_data.base import Feed, MarketDataError
from bots.market_data.replay import ReplayFeed

_REPLAY = ReplayFeed()
_NOT_YET = {"kraken": "Kraken", "alpaca": "Alpaca"}


def feed_for(venue: str) -> Feed:
    """Return the feed of ``venue``, one per process. Raises MarketDataError when there is none."""
    if venue == _REPLAY.venue:
        return _REPLAY
    if venue in _NOT_YET:
        raise MarketDataError(f"The {_NOT_YET[venue]} feed comes with the real venues; this bot cannot trade yet")
    raise MarketDataError(f"There is no venue called {venue!r}: choose replay, kraken or alpaca")


def replay_feed() -> ReplayFeed:
    """Return this process's replay feed, which can also change its speed."""
    return _REPLAY


def known_symbols() -> dict[str, tuple[str, ...]]:
    """Return the symbols that can be traded, by venue."""
    return {_REPLAY.venue: _REPLAY.symbols()}
