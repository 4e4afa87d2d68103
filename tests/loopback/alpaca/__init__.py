"""A venue that speaks as Alpaca does, for tests and rehearsals: a live account, a paper account, and the data host."""

from dataclasses import dataclass

from tests.loopback.alpaca.access import ApiKey
from tests.loopback.alpaca.data import DataVenue
from tests.loopback.alpaca.market import Market
from tests.loopback.alpaca.trading import TradingVenue
from tests.loopback.server import LoopbackServer

__all__ = ["AlpacaServers", "DataVenue", "TradingVenue", "start_alpaca"]


@dataclass(frozen=True)
class AlpacaServers:
    """The three hosts, over one market. As a context manager it closes them."""

    live: LoopbackServer
    paper: LoopbackServer
    data: LoopbackServer

    def close(self) -> None:
        for server in (self.live, self.paper, self.data):
            server.close()

    def __enter__(self) -> "AlpacaServers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_alpaca(live_port: int = 0, paper_port: int = 0, data_port: int = 0) -> AlpacaServers:
    """Start the three hosts on ports of this machine (0: any that is free). Each account has a key and a ledger of its own."""
    market = Market()
    live_key, paper_key = ApiKey(key=_key_id("AK")), ApiKey()
    return AlpacaServers(
        LoopbackServer(TradingVenue(market, "live", live_key), live_port).start(),
        LoopbackServer(TradingVenue(market, "paper", paper_key), paper_port).start(),
        LoopbackServer(DataVenue(market, (live_key, paper_key)), data_port).start(),
    )


def _key_id(first: str) -> str:
    """Return a key's id; a live one begins with AK, a paper one with PK."""
    return f"{first}{ApiKey().key[2:]}"
