"""What is traded at the venue: shares, their books, and the bars that come of what was traded."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import NAMESPACE_URL, uuid5

from tests.loopback.alpaca.hours import DAY, NEW_YORK, Hours, midnight

PRINTS_MAX = 20_000
DAY_MIN = 1440
#: How far from its middle a price swung before the server started.
SWING = 0.004


@dataclass
class Asset:
    """One share as the venue lists it. A test may change what is not its name."""

    symbol: str
    name: str
    price: Decimal
    exchange: str = "NASDAQ"
    fractionable: bool = True
    tradable: bool = True
    shortable: bool = True
    status: str = "active"
    asset_class: str = "us_equity"
    #: Whether anybody knows a price of it: bars, trades and quotes.
    has_bars: bool = True

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"loopback/{self.symbol}"))


def assets() -> list[Asset]:
    """Return the shares that every loopback Alpaca begins with."""
    return [
        Asset("AAPL", "Apple Inc. Common Stock", Decimal("230.00")),
        Asset("MSFT", "Microsoft Corporation Common Stock", Decimal("420.00")),
        Asset("SPY", "SPDR S&P 500 ETF Trust", Decimal("600.00"), "ARCA"),
        Asset("KO", "Coca-Cola Company", Decimal("86.80"), "NYSE"),
        Asset("BRK.B", "Berkshire Hathaway Inc. Class B", Decimal("470.00"), "NYSE"),
        Asset("OCGN", "Ocugen, Inc. Common Stock", Decimal("1.20"), fractionable=False),
        Asset("SNDL", "SNDL Inc. Common Shares", Decimal("0.4321"), fractionable=False, shortable=False),
        Asset("GONE", "A share that is no longer traded", Decimal("3.00"), status="inactive", tradable=False),
    ]


@dataclass
class Book:
    """The best prices. ``depth`` is how much a taker finds (None: all it likes); ``quoted_at`` None says: just now."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    depth: Decimal | None = None
    quoted_at: float | None = None
    last_at: float = field(default_factory=time.time)
    #: (time, price, volume) of everything that was traded since the start.
    prints: deque[tuple[float, Decimal, Decimal]] = field(default_factory=lambda: deque(maxlen=PRINTS_MAX))


@dataclass(frozen=True)
class Bar:
    """One candle; ``opened`` is its stamp."""

    opened: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    count: int
    average: Decimal


class Market:
    """Every share with its book, and the hours. Ledgers listen to it: what moves the market may fill their orders."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.started = time.time()
        self.hours = Hours()
        self.assets = {one.symbol: one for one in assets()}
        self.books = {symbol: _first_book(one) for symbol, one in self.assets.items()}
        self.on_move: list[Callable[[str], None]] = []
        self.on_hours: list[Callable[[bool], None]] = []

    def find(self, name: str) -> Asset | None:
        """Return the share of a symbol or an asset's id."""
        return self.assets.get(name) or next((one for one in self.assets.values() if one.id == name), None)

    def asset(self, symbol: str) -> Asset:
        """Return the share. Raises ValueError for a stranger."""
        if symbol not in self.assets:
            raise ValueError(f"no such symbol: {symbol}")
        return self.assets[symbol]

    def move(self, symbol: str, bid: Decimal, ask: Decimal, volume: Decimal) -> None:
        """Put the market at these prices, odd ones too (zero, crossed); ``volume`` is traded between them on the way."""
        self.asset(symbol)
        with self.lock:
            book = self.books[symbol]
            book.bid, book.ask = bid, ask
            if book.quoted_at is not None:
                book.quoted_at = time.time()
            if volume and 0 < bid <= ask:
                self.printed(symbol, ((bid + ask) / 2).quantize(Decimal("0.0001")), volume)
        if 0 < bid <= ask:
            for tell in self.on_move:
                tell(symbol)

    def freeze(self, symbol: str, age_s: float | None) -> None:
        """Let a quote keep the time it had ``age_s`` ago; None lets it be quoted anew at every question."""
        self.asset(symbol)
        self.books[symbol].quoted_at = None if age_s is None else time.time() - age_s

    def open_or_close(self, is_open: bool | None) -> None:
        """Open or close the market by order, or leave it to the schedule again (None)."""
        self.hours.forced = is_open
        now = self.hours.is_open(self.hours.now())
        for symbol in self.assets:
            self.freeze(symbol, None if now else 0)
        for tell in self.on_hours:
            tell(now)

    def printed(self, symbol: str, price: Decimal, volume: Decimal) -> None:
        """Note that something was traded."""
        with self.lock:
            book = self.books[symbol]
            book.last, book.last_at = price, time.time()
            book.prints.append((book.last_at, price, volume))

    def bars(
        self, symbol: str, minutes: int, start: datetime, end: datetime, *, newest_first: bool = False
    ) -> Iterator[Bar]:
        """Yield the bars that opened from start to end, the unfinished one too. Where nobody traded there is none.

        Each is made when it is taken, so that a page costs what it shows and not what was asked for.
        """
        if not self.assets[symbol].has_bars:
            return
        with self.lock:
            prints = list(self.books[symbol].prints)
        stamp = _stamps(minutes)
        by_bar: dict[datetime, list[tuple[Decimal, Decimal]]] = {}
        for at, price, volume in prints:
            by_bar.setdefault(stamp(datetime.fromtimestamp(at, UTC)), []).append((price, volume))
        for opened in _openings(minutes, start, min(end, self.hours.now()), newest_first=newest_first):
            if opened in by_bar:
                yield _bar(opened, by_bar[opened])
            elif opened.timestamp() < self.started and self._is_traded(opened, minutes):
                yield self._past(symbol, opened, minutes)

    def _is_traded(self, opened: datetime, minutes: int) -> bool:
        return self.hours.is_round_the_clock or self.hours.overlaps(opened, opened + timedelta(minutes=minutes))

    def _past(self, symbol: str, opened: datetime, minutes: int) -> Bar:
        """Return a bar from before the start: prices swung gently, and met the first one at the start."""
        parts = [self._swing(symbol, opened.timestamp() + part * minutes * 15) for part in range(5)]
        return _bar(opened, [(price, Decimal(250 * minutes)) for price in parts])

    def _swing(self, symbol: str, at: float) -> Decimal:
        share = self.assets[symbol]
        away = SWING * (math.sin(at / 3_600) - math.sin(self.started / 3_600))
        return (share.price * Decimal(f"{1 + away:.6f}")).quantize(Decimal("0.01") if share.price > 1 else TICK_LOW)


TICK_LOW = Decimal("0.0001")


def _first_book(one: Asset) -> Book:
    half = Decimal("0.01") if one.price > 1 else TICK_LOW
    return Book(one.price - half, one.price + half, one.price)


def _stamps(minutes: int) -> Callable[[datetime], datetime]:
    """Return what tells in which bar a moment lies: a day's begins at midnight in New York."""
    if minutes >= DAY_MIN:
        return lambda at: midnight(at.astimezone(NEW_YORK).date())
    step = minutes * 60
    return lambda at: datetime.fromtimestamp(int(at.timestamp()) // step * step, UTC)


def _openings(minutes: int, start: datetime, end: datetime, *, newest_first: bool) -> Iterator[datetime]:
    """Yield every stamp from start to end, in either direction."""
    stamp = _stamps(minutes)
    first = stamp(start)
    first = first if first >= start else _beside(first, minutes, 1)
    opened, way = (stamp(end), -1) if newest_first else (first, 1)
    while first <= opened <= end:
        yield opened
        opened = _beside(opened, minutes, way)


def _beside(opened: datetime, minutes: int, way: int) -> datetime:
    """Return the stamp after this one, or (-1) before it: days are not all as long."""
    if minutes >= DAY_MIN:
        return midnight(opened.astimezone(NEW_YORK).date() + way * DAY)
    return opened + way * timedelta(minutes=minutes)


def _bar(opened: datetime, traded: list[tuple[Decimal, Decimal]]) -> Bar:
    prices = [price for price, _ in traded]
    volume = sum((volume for _, volume in traded), Decimal(0))
    cost = sum((price * volume for price, volume in traded), Decimal(0))
    average = (cost / volume).quantize(Decimal("0.000001"))
    return Bar(opened, prices[0], max(prices), min(prices), prices[-1], volume, len(traded), average)
