"""Fixtures that start loopback venues. Every test can use them: see ``pytest_plugins`` in tests/conftest.py."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pytest_django import Settings

from bots.brokers.factory import forget_brokers
from bots.market_data.feeds import forget_feeds
from tests.loopback.client import KrakenLoopback
from tests.loopback.kraken import start_kraken
from tradingops.environment_values import Endpoint


@pytest.fixture
def kraken(settings: Settings) -> Iterator[KrakenLoopback]:
    """Start a loopback Kraken of this test's own and point this process's settings at it, keys included.

    Other processes are pointed at it by ``kraken.environ()``. The gates on live trading stay as they are.
    """
    with start_kraken() as server:
        venue = KrakenLoopback(server.url)
        settings.ENVIRONMENT = replace(
            settings.ENVIRONMENT,
            kraken_base_url=Endpoint(server.url, is_loopback=True),
            kraken_api_key=venue.key,
            kraken_api_secret=venue.secret,
        )
        try:
            yield venue
        finally:
            forget_brokers()
            forget_feeds()
