"""Which broker an order of a venue goes to."""

import os
import threading

from django.conf import settings

from bots.brokers.base import VenueBroker
from bots.brokers.kraken import KrakenBroker

#: One broker per venue address and key; a process that was forked makes its own, since connections can't be shared.
_brokers: dict[tuple[str, str, str], KrakenBroker] = {}
_lock = threading.Lock()


class BrokerUnavailable(Exception):
    """No order can go to this venue from here; the message is for people and says what to do."""


def broker_for(venue: str, *, is_live: bool) -> VenueBroker:
    """Return the broker of ``venue``, one per process, without asking the venue anything. Raises BrokerUnavailable."""
    if venue == "kraken":
        return _kraken(is_live=is_live)
    if venue == "alpaca":
        raise BrokerUnavailable("Orders cannot be sent to Alpaca yet: this version trades at Kraken only.")
    if venue == "replay":
        raise BrokerUnavailable("Replay plays recorded data: no order can be sent to it. Its bots trade on paper.")
    raise BrokerUnavailable(f"There is no venue called {venue!r}: choose kraken.")


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
    url = environment.kraken_base_url.url
    with _lock:
        broker = _brokers.get((url, key, secret))
        if broker is None:
            broker = _brokers[url, key, secret] = KrakenBroker(url, key, secret)
        return broker


os.register_at_fork(after_in_child=forget_brokers)
