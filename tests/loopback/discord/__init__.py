"""One webhook of a Discord that is on this machine, for tests and rehearsals."""

from tests.loopback.discord.venue import DiscordVenue
from tests.loopback.server import LoopbackServer

__all__ = ["DiscordVenue", "start_discord"]


def start_discord(port: int = 0) -> LoopbackServer:
    """Start it on a port of this machine (0: any that is free)."""
    return LoopbackServer(DiscordVenue(), port).start()
