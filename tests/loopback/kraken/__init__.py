"""A venue that speaks as Kraken does, for tests and rehearsals."""

from tests.loopback.kraken.venue import KrakenVenue
from tests.loopback.server import LoopbackServer

__all__ = ["KrakenVenue", "start_kraken"]


def start_kraken(port: int = 0) -> LoopbackServer:
    """Start the venue on a port of this machine (0: any that is free)."""
    return LoopbackServer(KrakenVenue(), port).start()
