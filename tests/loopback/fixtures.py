"""Fixtures that start loopback venues. Every test can use them: see ``pytest_plugins`` in tests/conftest.py."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pytest_django import Settings

from bots.brokers.alpaca_budget import forget_asked
from bots.brokers.factory import forget_brokers
from bots.market_data.feeds import forget_feeds
from tests.loopback import limits
from tests.loopback.alpaca import start_alpaca
from tests.loopback.client import AlpacaLoopback, DiscordLoopback, KrakenLoopback
from tests.loopback.discord import start_discord
from tests.loopback.kraken import start_kraken
from tradingops.environment_values import Endpoint


@pytest.fixture
def kraken(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[KrakenLoopback]:
    """Start a loopback Kraken of this test's own and point this process's settings at it, keys included.

    Other processes are pointed at it by ``kraken.environ()``. The gates on live trading stay as they are. Our own budget of
    requests holds nothing back in this process: ``limits.restore`` brings back the limits that ship.
    """
    limits.widen(monkeypatch)
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


@pytest.fixture
def alpaca(settings: Settings) -> Iterator[AlpacaLoopback]:
    """Start a loopback Alpaca of this test's own and point this process's settings at it, keys of both accounts included.

    Its market is open round the clock until the test closes it. The gates on live trading stay as they are.
    """
    with start_alpaca() as servers:
        venue = AlpacaLoopback(servers.live.url, servers.paper.url, servers.data.url)
        settings.ENVIRONMENT = replace(
            settings.ENVIRONMENT,
            alpaca_base_url_live=Endpoint(venue.live.url, is_loopback=True),
            alpaca_base_url_paper=Endpoint(venue.paper.url, is_loopback=True),
            alpaca_data_url=Endpoint(venue.data.url, is_loopback=True),
            alpaca_api_key_live=venue.live.key,
            alpaca_api_secret_live=venue.live.secret,
            alpaca_api_key_paper=venue.paper.key,
            alpaca_api_secret_paper=venue.paper.secret,
        )
        try:
            yield venue
        finally:
            forget_brokers()
            forget_feeds()
            # Else the first request of a later test pays for all that was asked in the last minute: on a fast machine, too much.
            forget_asked()


@pytest.fixture
def discord(settings: Settings) -> Iterator[DiscordLoopback]:
    """Start a loopback Discord with one webhook, and point this process's settings at it."""
    with start_discord() as server:
        found = DiscordLoopback(server.url)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=found.webhook_url)
        yield found
