"""Which feed answers for which venue."""

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from django.conf import settings

from bots.market_data.base import DAY_S, Feed, MarketDataError
from bots.market_data.replay import ReplayFeed

if TYPE_CHECKING:
    from bots.market_data.alpaca import AlpacaFeed, Keys
    from bots.market_data.kraken import KrakenFeed

_REPLAY = ReplayFeed()
#: One per address; a process that was forked makes its own, since threads and connections do not survive a fork.
_kraken: "dict[str, KrakenFeed]" = {}
_alpaca: "dict[Keys, AlpacaFeed]" = {}
_lock = threading.Lock()


def feed_for(venue: str) -> Feed:
    """Return the feed of ``venue``, one per process, without asking the venue. Raises MarketDataError when there is none."""
    if venue == _REPLAY.venue:
        return _REPLAY
    if venue == "kraken":
        return _kraken_feed()
    if venue == "alpaca":
        return _alpaca_feed()
    raise MarketDataError(f"There is no venue called {venue!r}: choose replay, kraken or alpaca")


def replay_feed() -> ReplayFeed:
    """Return this process's replay feed, which can also change its speed."""
    return _REPLAY


def known_symbols() -> dict[str, tuple[str, ...]]:
    """Return the symbols that can be traded, by venue. A venue that can't be reached now is left out."""
    known = {_REPLAY.venue: _REPLAY.symbols()}
    for venue in ("kraken", "alpaca"):
        # Without a network, or a key, the recordings still play, and forms open.
        with suppress(MarketDataError):
            known[venue] = feed_for(venue).symbols()
    return known


def forget_feeds() -> None:
    """Drop the venues' feeds with all they know; the next question makes new ones."""
    global _lock
    _lock = threading.Lock()
    _kraken.clear()
    _alpaca.clear()


def _kraken_feed() -> "KrakenFeed":
    address = settings.ENVIRONMENT.kraken_base_url
    if settings.ENVIRONMENT.is_rehearsal and not address.is_loopback:
        raise MarketDataError("In a rehearsal Kraken is off: KRAKEN_BASE_URL is not a loopback one")
    url = address.url
    found = _kraken.get(url)
    if found is not None:
        return found
    # Only now: a process that asks Kraken nothing does not load its client.
    from bots.market_data.kraken import KrakenFeed

    with _lock:
        return _kraken.setdefault(url, KrakenFeed(url))


def _alpaca_feed() -> "AlpacaFeed":
    trading_variable, key, secret = _alpaca_key()
    addresses = [settings.ENVIRONMENT.endpoints[name] for name in ("ALPACA_DATA_URL", trading_variable)]
    is_rehearsal = settings.ENVIRONMENT.is_rehearsal
    if is_rehearsal and not all(address.is_loopback for address in addresses):
        raise MarketDataError(
            f"In a rehearsal Alpaca is off: ALPACA_DATA_URL and {trading_variable} are not both loopback ones"
        )
    # Only now: a process that asks Alpaca nothing does not load its client.
    from bots.market_data.alpaca import AlpacaFeed, Keys
    from bots.market_data.market_hours import ROUND_THE_CLOCK, SESSION_S, sessions_at

    account = "alpaca-paper" if trading_variable == "ALPACA_BASE_URL_PAPER" else "alpaca"
    keys = Keys(addresses[0].url, addresses[1].url, key, secret, account)
    found = _alpaca.get(keys)
    if found is not None:
        return found
    with _lock:
        if is_rehearsal:
            # It goes on at night: its venue's own clock alone says whether it is open.
            return _alpaca.setdefault(keys, AlpacaFeed(keys, lambda now: ROUND_THE_CLOCK, DAY_S))
        return _alpaca.setdefault(keys, AlpacaFeed(keys, sessions_at, SESSION_S))


def _alpaca_key() -> tuple[str, str, str]:
    """Return the variable of the trading host to ask, and the key: the paper account's if there is one.

    Raises MarketDataError without a key, which says what to set.
    """
    env = settings.ENVIRONMENT
    if env.alpaca_api_key_paper and env.alpaca_api_secret_paper:
        return "ALPACA_BASE_URL_PAPER", env.alpaca_api_key_paper, env.alpaca_api_secret_paper
    hint = ""
    if env.alpaca_api_key_live and env.alpaca_api_secret_live:
        if env.live_trading_enabled.is_open is True:
            return "ALPACA_BASE_URL_LIVE", env.alpaca_api_key_live, env.alpaca_api_secret_live
        hint = " (the live key is used only with LIVE_TRADING_ENABLED=1)"
    raise MarketDataError(
        f"Alpaca gives no market data without a key: set ALPACA_API_KEY_PAPER and ALPACA_API_SECRET_PAPER in .env{hint}"
    )


os.register_at_fork(after_in_child=forget_feeds)
