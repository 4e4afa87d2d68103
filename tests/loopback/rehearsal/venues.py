"""The rehearsal's venues, all in this process: a Kraken, an Alpaca with two accounts, and a Discord."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.loopback.alpaca import AlpacaServers, TradingVenue, start_alpaca
from tests.loopback.client import AlpacaLoopback, DiscordLoopback, KrakenLoopback
from tests.loopback.discord import DiscordVenue, start_discord
from tests.loopback.kraken import KrakenVenue, start_kraken
from tests.loopback.rehearsal.places import Ports
from tests.loopback.server import LoopbackServer

T = TypeVar("T")
RATE_LIMIT = 200
KRAKEN_TIER = "intermediate"
DISCORD_LIMIT = (5, 2.0)


@dataclass(frozen=True)
class Venues:
    """The running venues. ``servers`` has them by the name that the page knows them by."""

    kraken: LoopbackServer
    alpaca: AlpacaServers
    discord: LoopbackServer

    @property
    def servers(self) -> Mapping[str, LoopbackServer]:
        return {
            "kraken": self.kraken,
            "alpaca-live": self.alpaca.live,
            "alpaca-paper": self.alpaca.paper,
            "alpaca-data": self.alpaca.data,
            "discord": self.discord,
        }

    def kraken_venue(self) -> KrakenVenue:
        return _one(self.kraken, KrakenVenue)

    def account(self, name: str) -> TradingVenue:
        """Return an account at Alpaca by its server's name."""
        return _one(self.servers[name], TradingVenue)

    def discord_venue(self) -> DiscordVenue:
        return _one(self.discord, DiscordVenue)

    def environ(self) -> dict[str, str]:
        """Return the variables that point a console here."""
        alpaca = AlpacaLoopback(self.alpaca.live.url, self.alpaca.paper.url, self.alpaca.data.url)
        return {
            **KrakenLoopback(self.kraken.url).environ(),
            **alpaca.environ(),
            **DiscordLoopback(self.discord.url).environ(),
        }

    def close(self) -> None:
        for server in self.servers.values():
            server.close()


def start_venues(ports: Ports) -> Venues:
    """Start them all, limited as the real ones are. Raises OSError for a port that is in use."""
    venues = Venues(
        start_kraken(ports.kraken),
        start_alpaca(ports.alpaca_live, ports.alpaca_paper, ports.alpaca_data),
        start_discord(ports.discord),
    )
    # Made today, or readiness would rightly ask for a younger key.
    venues.kraken_venue().key.created = int(time.time())
    limit(venues)
    return venues


def limit(venues: Venues) -> None:
    """Set the limits on requests as the real venues have them."""
    venues.kraken.control("set_tier", {"tier": KRAKEN_TIER})
    for server in (venues.alpaca.live, venues.alpaca.paper, venues.alpaca.data):
        server.control("set_rate_limit", {"per_minute": RATE_LIMIT})
    messages, window_s = DISCORD_LIMIT
    venues.discord.control("set_limit", {"messages": messages, "window_s": window_s})


def _one(server: LoopbackServer, kind: type[T]) -> T:
    if not isinstance(server.venue, kind):
        raise TypeError(f"{kind.__name__} is wanted, {type(server.venue).__name__} is there")
    return server.venue
