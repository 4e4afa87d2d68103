"""Prices that move by themselves: a gentle random walk that comes back to where a person last put it."""

import logging
import math
import threading
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from tests.loopback.rehearsal.venues import Venues
from tests.loopback.server import LoopbackServer

log = logging.getLogger(__name__)
EVERY_S = 1.0
#: How far a price goes in a step, and how strongly it is drawn back.
STEP, PULL = 0.0006, 0.004
KRAKEN_SYMBOLS = {
    "BTC/USD": ("XXBTZUSD", "0.1", "0.4"),
    "ETH/USD": ("XETHZUSD", "0.01", "6"),
    "SOL/USD": ("SOLUSD", "0.01", "90"),
}
ALPACA_SYMBOLS = ("AAPL", "MSFT", "SPY", "KO")
SHARES = "400"


@dataclass
class Symbol:
    """One price that moves. ``home`` is what it is drawn back to; a still one stays as a person left it."""

    venue: str
    name: str
    tick: Decimal
    volume: Decimal
    home: Decimal
    is_still: bool = False


class Drift:
    """Moves every symbol once a second, the same way for the same seed."""

    def __init__(self, venues: Venues, seed: int) -> None:
        self._venues = venues
        self._random = Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self.symbols = {one.name: one for one in self._all()}

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def prices(self, name: str) -> tuple[Decimal, Decimal]:
        """Return the best bid and ask. Raises KeyError for a symbol that does not move."""
        one = self.symbols[name]
        if one.venue == "kraken":
            book = self._venues.kraken_venue().market.book(KRAKEN_SYMBOLS[name][0])
            return book.bid, book.ask
        shares = self._venues.account("alpaca-live").market.books[name]
        return shares.bid, shares.ask

    def put(self, name: str, middle: Decimal) -> None:
        """Put a price there, and let it go on from there. Raises KeyError or ValueError."""
        one = self.symbols[name]
        one.home, one.is_still = middle, False
        self._move(one, middle, one.volume)

    def put_still(self, name: str, bid: Decimal, ask: Decimal) -> None:
        """Set a bid and an ask, odd ones too, that stay until the price is put elsewhere."""
        one = self.symbols[name]
        one.is_still = True
        self._set(one, bid, ask, Decimal(0))

    def step(self) -> None:
        """Move every price a little."""
        for one in self.symbols.values():
            away = self._random.gauss(0, STEP)
            busy = Decimal(f"{self._random.uniform(0.2, 1.8):.4f}")
            bid, ask = self.prices(one.name)
            if one.is_still or not 0 < bid <= ask:
                continue
            middle = (bid + ask) / 2
            pulled = away + PULL * math.log(one.home / middle)
            self._move(one, middle * Decimal(f"{math.exp(pulled):.8f}"), one.volume * busy)

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self.step()
            except Exception:  # a price that could not be moved must not end the rehearsal
                log.exception("a price could not be moved")

    def _move(self, one: Symbol, middle: Decimal, volume: Decimal) -> None:
        half = max(one.tick, middle / 10_000)
        bid = (middle - half) // one.tick * one.tick
        ask = max(bid + one.tick, (middle + half) // one.tick * one.tick)
        self._set(one, bid, ask, volume)

    def _set(self, one: Symbol, bid: Decimal, ask: Decimal, volume: Decimal) -> None:
        server: LoopbackServer = self._venues.servers["kraken" if one.venue == "kraken" else "alpaca-data"]
        name = {"pair" if one.venue == "kraken" else "symbol": one.name}
        figures = {"bid": f"{bid:f}", "ask": f"{ask:f}", "volume": f"{volume.quantize(Decimal('0.0001')):f}"}
        server.control("set_price", {**name, **figures})

    def _all(self) -> list[Symbol]:
        kraken = self._venues.kraken_venue().market
        shares = self._venues.account("alpaca-live").market
        return [
            *(
                Symbol("kraken", name, Decimal(tick), Decimal(volume), kraken.book(id_).last)
                for name, (id_, tick, volume) in KRAKEN_SYMBOLS.items()
            ),
            *(
                Symbol("alpaca", name, Decimal("0.01"), Decimal(SHARES), shares.books[name].last)
                for name in ALPACA_SYMBOLS
            ),
        ]
