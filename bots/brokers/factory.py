"""Which broker an order of a venue goes to."""

import os
import threading
from collections.abc import Callable

from django.conf import settings

from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.base import VenueBroker
from bots.brokers.kraken import KrakenBroker

#: One broker per account, venue address and key; a process that was forked makes its own, since connections can't be shared.
_brokers: dict[tuple[str, str, str, str], VenueBroker] = {}
_lock = threading.Lock()


class BrokerUnavailable(Exception):
    """No order can go to this venue from here; the message is for people and says what to do."""


def broker_for(venue: str, *, is_live: bool) -> VenueBroker:
    """Return the broker of ``venue``, one per process, without asking the venue anything. Raises BrokerUnavailable.

    Alpaca has two accounts: the live one, only while LIVE_TRADING_ENABLED is 1, and the paper one, with keys of its own.
    """
    if venue == "kraken":
        return _kraken(is_live=is_live)
    if venue == "alpaca":
        return _alpaca_live() if is_live else _alpaca_paper()
    if venue == "replay":
        raise BrokerUnavailable("Replay plays recorded data: no order can be sent to it. Its bots trade on paper.")
    raise BrokerUnavailable(f"There is no venue called {venue!r}: choose kraken or alpaca.")


def forget_brokers() -> None:
    """Drop every broker with its connections; the next question makes new ones."""
    global _lock
    _lock = threading.Lock()
    _brokers.clear()


def _kraken(*, is_live: bool) -> VenueBroker:
    if not is_live:
        raise BrokerUnavailable("Kraken has no paper account: its paper orders are filled by the built-in broker.")
    environment = settings.ENVIRONMENT
    key, secret = environment.kraken_api_key, environment.kraken_api_secret
    if not key or not secret:
        raise BrokerUnavailable(
            "No order can be sent to Kraken without KRAKEN_API_KEY and KRAKEN_API_SECRET: put both into .env, and restart."
        )
    url = _address("KRAKEN_BASE_URL")
    return _one("kraken", url, key, secret, lambda: KrakenBroker(url, key, secret))


def _alpaca_live() -> VenueBroker:
    environment = settings.ENVIRONMENT
    if environment.live_trading_enabled.is_open is not True:
        raise BrokerUnavailable(
            "Nothing is asked of Alpaca's live account while LIVE_TRADING_ENABLED is not 1: set it in .env, and restart."
        )
    key, secret = environment.alpaca_api_key_live, environment.alpaca_api_secret_live
    if not key or not secret:
        raise BrokerUnavailable(
            "No order can be sent to Alpaca without ALPACA_API_KEY_LIVE and ALPACA_API_SECRET_LIVE: put both into .env, and"
            " restart."
        )
    url = _address("ALPACA_BASE_URL_LIVE")
    return _one("alpaca", url, key, secret, lambda: AlpacaBroker(url, key, secret, is_live=True))


def _alpaca_paper() -> VenueBroker:
    environment = settings.ENVIRONMENT
    key, secret = environment.alpaca_api_key_paper, environment.alpaca_api_secret_paper
    if not key or not secret:
        raise BrokerUnavailable(
            "Alpaca's paper account needs ALPACA_API_KEY_PAPER and ALPACA_API_SECRET_PAPER: put both into .env, and restart."
        )
    url = _address("ALPACA_BASE_URL_PAPER")
    return _one("alpaca-paper", url, key, secret, lambda: AlpacaBroker(url, key, secret, is_live=False))


def _address(variable: str) -> str:
    """Return a venue's address. Raises BrokerUnavailable for a real one in a rehearsal: there it is off."""
    environment = settings.ENVIRONMENT
    endpoint = environment.endpoints[variable]
    if environment.is_rehearsal and not endpoint.is_loopback:
        raise BrokerUnavailable(f"In a rehearsal this venue is off: {variable} is not a loopback one.")
    return endpoint.url


def _one(account: str, url: str, key: str, secret: str, make: Callable[[], VenueBroker]) -> VenueBroker:
    with _lock:
        # By account, too: keys that were put in for both of Alpaca's accounts must not make one of them act for the other.
        broker = _brokers.get((account, url, key, secret))
        if broker is None:
            broker = _brokers[account, url, key, secret] = make()
        return broker


os.register_at_fork(after_in_child=forget_brokers)
