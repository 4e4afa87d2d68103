"""What is traded at the venue: its symbols, their books, and the candles that come of what was traded."""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

BARS_MAX = 720
PRINTS_MAX = 20_000
DAY_S = 86_400


@dataclass(frozen=True)
class Instrument:
    """One symbol, in the venue's own names."""

    id: str
    altname: str
    wsname: str
    base: str
    quote: str
    tick_size: Decimal
    lot_decimals: int
    ordermin: Decimal
    costmin: Decimal
    cost_decimals: int
    price: Decimal

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.id, self.altname, self.wsname})


def _instrument(
    id_: str, wsname: str, base: str, quote: str, tick: str, ordermin: str, price: str, altname: str = ""
) -> Instrument:
    return Instrument(
        id=id_,
        altname=altname or wsname.replace("/", ""),
        wsname=wsname,
        base=base,
        quote=quote,
        tick_size=Decimal(tick),
        lot_decimals=8,
        ordermin=Decimal(ordermin),
        costmin=Decimal("0.5"),
        cost_decimals=5,
        price=Decimal(price),
    )


INSTRUMENTS = (
    _instrument("XXBTZUSD", "XBT/USD", "XXBT", "ZUSD", "0.1", "0.00005", "60000"),
    _instrument("XETHZUSD", "ETH/USD", "XETH", "ZUSD", "0.01", "0.002", "3000"),
    _instrument("SOLUSD", "SOL/USD", "SOL", "ZUSD", "0.01", "0.02", "150"),
    _instrument("XDGUSD", "XDG/USD", "XXDG", "ZUSD", "0.0000001", "50", "0.15"),
    _instrument("XBTUSDT", "XBT/USDT", "XXBT", "USDT", "0.1", "0.00005", "60000"),
    _instrument("XXBTZEUR", "XBT/EUR", "XXBT", "ZEUR", "0.1", "0.00005", "55000"),
)


@dataclass
class Book:
    """The best prices; ``depth`` is how much a taker finds there (None: as much as it likes)."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    depth: Decimal | None = None
    #: What the ticker says instead of bid and ask, sound or not.
    shown: tuple[str, str] | None = None
    #: (time, price, volume) of everything that was traded since the start.
    prints: deque[tuple[float, Decimal, Decimal]] = field(default_factory=lambda: deque(maxlen=PRINTS_MAX))


class Market:
    """Every symbol with its book. Before the start of the server prices swung gently around the first one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.started = time.time()
        self.instruments = {one.id: one for one in INSTRUMENTS}
        self.status = dict.fromkeys(self.instruments, "online")
        self._by_name = {name: one.id for one in INSTRUMENTS for name in one.names}
        self._books = {one.id: _first_book(one) for one in INSTRUMENTS}

    def find(self, name: str) -> Instrument | None:
        """Return the symbol that any of its names stands for."""
        id_ = self._by_name.get(name)
        return None if id_ is None else self.instruments[id_]

    def instrument(self, pair: str) -> Instrument:
        return self.instruments[pair]

    def book(self, pair: str) -> Book:
        return self._books[pair]

    def move(self, pair: str, bid: Decimal, ask: Decimal, volume: Decimal) -> None:
        """Put the market at these prices; ``volume`` is traded between them on the way."""
        if not 0 < bid <= ask:
            raise ValueError("a bid above zero and an ask not below it are needed")
        with self.lock:
            book = self._books[pair]
            book.bid, book.ask = bid, ask
            if volume:
                tick = self.instruments[pair].tick_size
                self.printed(pair, (bid + ask) / 2 // tick * tick, volume)

    def printed(self, pair: str, price: Decimal, volume: Decimal) -> None:
        """Note that something was traded."""
        with self.lock:
            book = self._books[pair]
            book.last = price
            book.prints.append((time.time(), price, volume))

    def today(self, pair: str) -> list[tuple[float, Decimal, Decimal]]:
        """Return what was traded since midnight UTC."""
        midnight = time.time() // DAY_S * DAY_S
        with self.lock:
            return [one for one in self._books[pair].prints if one[0] >= midnight]

    def bars(self, pair: str, interval_s: int, since: float) -> list[list[object]]:
        """Return up to 720 bars that opened after ``since``, the last one unfinished, in Kraken's form."""
        now = time.time()
        last = int(now // interval_s * interval_s)
        first = max(
            last - (BARS_MAX - 1) * interval_s, int(since) // interval_s * interval_s + interval_s if since else 0
        )
        with self.lock:
            prints = list(self._books[pair].prints)
        by_bar: dict[int, list[tuple[Decimal, Decimal]]] = {}
        for at, price, volume in prints:
            by_bar.setdefault(int(at // interval_s * interval_s), []).append((price, volume))
        return [
            self._bar(pair, opened, interval_s, by_bar.get(opened)) for opened in range(first, last + 1, interval_s)
        ]

    def _bar(
        self, pair: str, opened: int, interval_s: int, prints: list[tuple[Decimal, Decimal]] | None
    ) -> list[object]:
        tick = self.instruments[pair].tick_size
        if prints is None and opened + interval_s > self.started:
            # Nobody traded: the bar stands where the one before ended.
            last = next(
                (p for at, p, _ in reversed(self._books[pair].prints) if at < opened), self.instruments[pair].price
            )
            return [opened, *[f"{last:f}"] * 4, "0.0", "0.00000000", 0]
        if prints is None:
            wave = [self._swing(pair, opened + part * interval_s / 4) // tick * tick for part in range(5)]
            prices, volume, count = wave, Decimal("12.5"), 40
        else:
            prices, volume, count = [p for p, _ in prints], sum((v for _, v in prints), Decimal(0)), len(prints)
        figures = (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            sum(prices, Decimal(0)) / len(prices) // tick * tick,
        )
        return [opened, *(f"{figure:f}" for figure in figures), f"{volume:.8f}", count]

    def _swing(self, pair: str, at: float) -> Decimal:
        return self.instruments[pair].price * Decimal(f"{1 + 0.004 * math.sin(at / 3_600):.6f}")


def _first_book(one: Instrument) -> Book:
    half = max(one.tick_size, one.price / 10_000 // one.tick_size * one.tick_size)
    return Book(one.price - half, one.price + half, one.price)
