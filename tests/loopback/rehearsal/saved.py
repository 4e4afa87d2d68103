"""The venues' books on disk: a rehearsal that starts again finds its orders, trades, cash, keys and prices as they were."""

import io
import os
import pickle
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.loopback.alpaca.access import ApiKey as AlpacaKey
from tests.loopback.alpaca.ledger import Ledger as AlpacaLedger
from tests.loopback.kraken.ledger import Ledger as KrakenLedger
from tests.loopback.rehearsal.venues import Venues

ACCOUNTS = ("alpaca-live", "alpaca-paper")
EVERY_S = 1.0
#: Only these may be in the file: an altered one must not run anything.
SAFE_MODULES = ("tests.loopback.",)
SAFE = frozenset({("decimal", "Decimal"), ("builtins", "set"), ("builtins", "frozenset")})


class Keeper:
    """Writes the venues' books when they changed, each second and at the end."""

    def __init__(self, venues: Venues, file: Path) -> None:
        self._venues, self._file = venues, file
        self._last = b""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Take the books from the file, if there is one, and keep them from now on. Raises ValueError for a damaged file."""
        if self._file.exists():
            restore(self._venues, self._file.read_bytes())
        self.save()
        self._thread.start()

    def end(self) -> None:
        """Write once more, and stop."""
        self._ended.set()
        self._thread.join(5)
        self.save()

    def save(self) -> None:
        now = taken(self._venues)
        if now == self._last:
            return
        # Whole or not at all: a file that was cut off would be worse than an old one.
        new = self._file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(now)
        os.replace(new, self._file)
        self._last = now

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.save()


def taken(venues: Venues) -> bytes:
    """Return all that outlasts a restart. Faults, revoked keys and closed markets do not: each start is a good day."""
    kraken = venues.kraken_venue()
    books: dict[str, Any] = {
        "kraken": _books(kraken.ledger),
        "kraken-key": (kraken.key.key, kraken.key.secret, kraken.key.created),
        "kraken-prices": {pair: _prices(kraken.market.book(pair)) for pair in kraken.market.instruments},
    }
    for name in ACCOUNTS:
        account = venues.account(name)
        books[name] = _books(account.ledger)
        books[f"{name}-key"] = (account.keys[0].key, account.keys[0].secret)
        books["alpaca-prices"] = {symbol: _prices(book) for symbol, book in account.market.books.items()}
    return pickle.dumps(books)


def restore(venues: Venues, data: bytes) -> None:
    """Put the venues back to what was taken. Raises ValueError for what is no such file."""
    try:
        books = _Reader(io.BytesIO(data)).load()
        kraken = venues.kraken_venue()
        _put(kraken.ledger, books["kraken"])
        kraken.key.key, kraken.key.secret, kraken.key.created = books["kraken-key"]
        for pair, prices in books["kraken-prices"].items():
            if pair in kraken.market.instruments:
                _put_prices(kraken.market.book(pair), prices)
        for name in ACCOUNTS:
            account = venues.account(name)
            _put(account.ledger, books[name])
            _put_key(account.keys[0], books[f"{name}-key"])
        market = venues.account(ACCOUNTS[0]).market
        for symbol, prices in books["alpaca-prices"].items():
            if symbol in market.books:
                _put_prices(market.books[symbol], prices)
                market.assets[symbol].price = prices[2]
    except (pickle.UnpicklingError, EOFError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"the venues' file cannot be read ({type(error).__name__})") from error


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if not module.startswith(SAFE_MODULES) and (module, name) not in SAFE:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in this file")
        return super().find_class(module, name)


def _books(ledger: KrakenLedger | AlpacaLedger) -> dict[str, Any]:
    """Return a ledger's own values, copied under its lock; the market, the lock and listeners are the process's."""
    with ledger.lock:
        mine = {name: value for name, value in vars(ledger).items() if name not in {"market", "lock"}}
        found: dict[str, Any] = pickle.loads(pickle.dumps(mine))
        return found


def _put(ledger: KrakenLedger | AlpacaLedger, books: dict[str, Any]) -> None:
    with ledger.lock:
        for name in books.keys() & vars(ledger).keys():
            setattr(ledger, name, books[name])


def _put_key(key: AlpacaKey, saved: tuple[str, str]) -> None:
    key.key, key.secret = saved


def _prices(book: Any) -> tuple[Decimal, Decimal, Decimal]:
    return book.bid, book.ask, book.last


def _put_prices(book: Any, prices: tuple[Decimal, Decimal, Decimal]) -> None:
    book.bid, book.ask, book.last = prices
