"""Kraken's public market data as a feed: no key, fetched once per process for everyone who asks, and in the background.

Quotes come of the ticker, all wanted symbols in one request a second at most; a quote is as old as its request. Candles are
Kraken's own, without the unfinished last one. What was traded between two moments is read off the ticker: see
``kraken_ticks``.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import numpy as np
from django.utils import timezone

from bots.brokers.kraken_client import KrakenClient
from bots.brokers.kraken_pairs import VENUE, Pair, Pairs
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.instant import Instant
from bots.market_data.base import DAY_S, CandleSeries, MarketDataError, Traded, UnknownSymbolError, price_above_zero
from bots.market_data.datasets import TIMEFRAME_S
from bots.market_data.fetcher import Fetcher
from bots.market_data.kraken_ticks import Tick, read_tick, traded_between
from bots.market_data.series_parts import SeriesParts
from safety.controls.base import seconds_since
from safety.intents import InstrumentRules, MarketStatus, Quote

REQUEST_MS = 4_000
#: The list of symbols is long, and without it there is no market at all: it is fetched in the background and may take longer.
PAIRS_MS = 20_000
QUOTE_FRESH_S = 1.0
#: A quote that could not be renewed goes on for so long, its age growing: exits are judged by it, entries are denied before.
QUOTE_KEPT = timedelta(seconds=60)
QUOTE_AGE_MAX_S = Decimal(10)
#: A symbol that nobody asked for in this time is no longer fetched.
WANTED_S = 60.0
SYMBOLS_AT_ONCE = 80
TICKS_KEPT = 900
STATUS_FRESH_S = 15.0
STATUS_KEPT_S = 120.0
CANDLES_AGAIN_S = 2.0
COUNT_MAX = 5_000
QUOTE_CURRENCIES = frozenset({"USD", "USDT", "USDC"})
STATUSES = {
    "online": MarketStatus.OPEN,
    "cancel_only": MarketStatus.CANCEL_ONLY,
    "post_only": MarketStatus.POST_ONLY,
    "limit_only": MarketStatus.POST_ONLY,
}


@dataclass(frozen=True, slots=True)
class _Candles:
    """A symbol's closed candles as they were fetched."""

    series: CandleSeries
    asked_at: Instant


class KrakenFeed:
    """Market data of Kraken at ``base_url``. Threads may share one; nothing is opened before the first question."""

    venue = VENUE

    def __init__(self, base_url: str) -> None:
        self._client = KrakenClient(base_url)
        self._pairs = Pairs(self._client)
        self._fetcher = Fetcher("Kraken")
        self._lock = threading.Lock()
        self._wanted: dict[str, float] = {}
        self._ticks: dict[str, deque[Tick]] = {}
        self._ticked_at: dict[str, Instant] = {}
        self._status: tuple[Instant, MarketStatus] | None = None
        self._candles: dict[tuple[str, str], _Candles] = {}
        self._parts = SeriesParts()

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that can be traded here: those in USD, USDT and USDC that Kraken trades now."""
        by_symbol = self._all_pairs()
        usable = (pair for pair in by_symbol.values() if pair.rules.quote_currency in QUOTE_CURRENCIES)
        return tuple(sorted(pair.symbol for pair in usable if pair.rules.is_active))

    def timeframes(self, symbol: str) -> tuple[str, ...]:
        """Return the timeframes, one minute first."""
        return tuple(TIMEFRAME_S)

    def rules(self, symbol: str) -> InstrumentRules:
        """Return what an order in ``symbol`` has to obey."""
        return self._pair(symbol).rules

    def bar_s(self, symbol: str) -> Decimal:
        """Return 60: the feed's own timeframe is a minute."""
        return Decimal(TIMEFRAME_S["1m"])

    def quote_age_max_s(self, symbol: str) -> Decimal:
        """Return how old a quote may be before entries are denied."""
        return QUOTE_AGE_MAX_S

    def trading_s(self, symbol: str, since: datetime, until: datetime) -> Decimal:
        """Return the seconds between the two: Kraken trades day and night."""
        return seconds_since(since, until)

    def session_s(self, symbol: str) -> Decimal:
        """Return a day's seconds."""
        return DAY_S

    def day_ends(self, symbol: str, made_at: datetime) -> datetime | None:
        """Return None: an order rests until it is cancelled."""
        return None

    def closed_until(self, symbol: str, now: datetime) -> datetime | None:
        """Return None: Kraken keeps no hours. What it does in a maintenance is in ``market_status``."""
        return None

    def quote(self, symbol: str, now: datetime) -> Quote:
        """Return the best bid and offer, at most a second old when Kraken answers, and as old as it says otherwise."""
        pair = self._pair(symbol)
        problem = ""
        # The second try is for a fetch that was under way before this symbol was wanted.
        for _ in range(2):
            self._wanted[pair.symbol] = time.monotonic()
            ticked_at = self._ticked_at.get(pair.symbol)
            if ticked_at is not None and ticked_at.elapsed_s() < QUOTE_FRESH_S:
                break
            problem = self._fetcher.run("the ticker", self._fetch_ticks)
        ticks = self._ticks.get(pair.symbol)
        if not ticks or timezone.now() - ticks[-1].seen_at > QUOTE_KEPT:
            raise MarketDataError(f"There is no quote of {symbol} from Kraken: {problem or 'it gives none'}.")
        tick = ticks[-1]
        return Quote(VENUE, symbol, tick.bid, tick.ask, tick.seen_at, VENUE)

    def mark(self, symbol: str, now: datetime) -> Decimal:
        """Return the bid."""
        return price_above_zero(self.quote(symbol, now).bid, symbol)

    def traded(self, symbol: str, since: datetime, until: datetime) -> Traded | None:
        """Return what surely was traded, as far as this process looked on, to within SHIFT; None when it saw nothing.

        Asks Kraken nothing: it lives off the looks that quotes took.
        """
        with self._lock:
            ticks = list(self._ticks.get(symbol, ()))
        return traded_between(ticks, since, until)

    def market_status(self, symbol: str, now: datetime) -> MarketStatus:
        """Return what Kraken does with orders in ``symbol``: the symbol's own status where the whole venue is open."""
        pair = self._pair(symbol)
        status = self._status
        age_s = status[0].elapsed_s() if status is not None else STATUS_KEPT_S
        problem = ""
        if age_s >= STATUS_KEPT_S:
            problem = self._fetcher.run("its status", self._fetch_status)
        elif age_s >= STATUS_FRESH_S:
            self._fetcher.start("its status", self._fetch_status)
        status = self._status
        if status is None or status[0].elapsed_s() > STATUS_KEPT_S:
            raise MarketDataError(f"Whether Kraken is open is not known: {problem or 'it does not say'}.")
        return pair.market if status[1] == MarketStatus.OPEN else status[1]

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        """Return up to ``count_max`` closed candles (Kraken keeps 719), oldest first; read-only and shared.

        Until the next candle closes, equal questions get the same object. The one that has just closed comes a moment later:
        it is fetched while the ones before it are given. What nobody asked for in the time of two candles is waited for.
        """
        if timeframe not in TIMEFRAME_S:
            raise MarketDataError(f"Kraken has no candles of {timeframe}: choose {', '.join(TIMEFRAME_S)}")
        if not 1 <= count_max <= COUNT_MAX:
            raise MarketDataError(f"from 1 to {COUNT_MAX} candles can be asked for, not {count_max}")
        pair, bar_s, key = self._pair(symbol), TIMEFRAME_S[timeframe], (symbol, timeframe)
        problem, kept = "", self._candles.get(key)
        if kept is None or self._is_due(kept, bar_s, now):
            name = f"the {timeframe} candles of {symbol}"
            # After a machine slept, the venue gets a moment to say what is new; then what was before is given, with its age.
            is_old = kept is None or kept.asked_at.elapsed_s() >= 2 * bar_s
            fetch = self._fetcher.run if is_old else self._fetcher.start
            problem = fetch(name, lambda: self._fetch_candles(pair, timeframe))
            kept = self._candles.get(key)
        if kept is None:
            raise MarketDataError(f"There are no candles of {symbol} from Kraken: {problem or 'it gives none'}.")
        return self._parts.last(kept.series, count_max)

    def _is_due(self, kept: _Candles, bar_s: int, now: datetime) -> bool:
        """Return whether a candle must have closed since, and it was not asked for just now."""
        opened_at = kept.series.opened_at
        next_closes = int(opened_at[-1]) + 2 * bar_s if len(opened_at) else 0
        return now.timestamp() >= next_closes and kept.asked_at.elapsed_s() >= CANDLES_AGAIN_S

    def _pair(self, symbol: str) -> Pair:
        found = self._all_pairs().get(symbol)
        if found is None:
            raise UnknownSymbolError(f"Kraken has no symbol {symbol}.")
        return found

    def _all_pairs(self) -> dict[str, Pair]:
        book, problem = self._pairs.known(), ""
        if book is None:
            problem = self._fetcher.run("its symbols", self._fetch_pairs)
        elif self._pairs.is_due():
            self._fetcher.start("its symbols", self._fetch_pairs)
        book = self._pairs.known()
        if book is None:
            raise MarketDataError(f"Kraken's symbols are not known: {problem or 'it lists none'}.")
        return dict(book.by_symbol)

    # What follows runs on the fetcher's threads.

    def _fetch_pairs(self) -> None:
        self._pairs.book(timeout_ms=PAIRS_MS)
        self._pairs.raise_failure()

    def _fetch_status(self) -> None:
        asked = Instant()
        name = self._client.public("get_systemstatus", {}, timeout_ms=REQUEST_MS).get("status")
        self._status = (asked, STATUSES.get(str(name), MarketStatus.CLOSED))

    def _fetch_ticks(self) -> None:
        oldest = time.monotonic() - WANTED_S
        self._wanted = {symbol: asked for symbol, asked in self._wanted.copy().items() if asked >= oldest}
        book = self._pairs.known()
        if book is None:
            return
        pairs = [book.by_symbol[symbol] for symbol in self._wanted if symbol in book.by_symbol]
        for some in _chunks(pairs):
            asked = Instant()
            names = ",".join(pair.id for pair in some)
            answer = self._client.public("get_ticker", {"pair": names}, timeout_ms=REQUEST_MS)
            for pair in some:
                self._keep_tick(pair, answer.get(pair.id), asked)

    def _keep_tick(self, pair: Pair, raw: Any, asked: Instant) -> None:
        tick = read_tick(raw, asked.wall) if isinstance(raw, dict) else None
        if tick is None:
            return
        with self._lock:
            self._ticks.setdefault(pair.symbol, deque(maxlen=TICKS_KEPT)).append(tick)
        self._ticked_at[pair.symbol] = asked

    def _fetch_candles(self, pair: Pair, timeframe: str) -> None:
        asked_at = Instant()
        minutes = TIMEFRAME_S[timeframe] // 60
        answer = self._client.public("get_ohlc", {"pair": pair.id, "interval": str(minutes)}, timeout_ms=REQUEST_MS)
        rows = answer.get(pair.id)
        if not isinstance(rows, list):
            raise CallFailed(Failure(Kind.UNKNOWN, "Kraken's answer held no candles"))
        self._candles[pair.symbol, timeframe] = _Candles(read_candles(rows, pair.symbol, timeframe), asked_at)


def read_candles(rows: list[Any], symbol: str, timeframe: str) -> CandleSeries:
    """Return the candles of an OHLC answer without the last, which is unfinished. Raises CallFailed for what can't be read."""
    try:
        # time, open, high, low, close, volume-weighted price, volume, count
        figures = np.array([[float(row[i]) for i in (1, 2, 3, 4, 6)] for row in rows[:-1]], dtype=np.float64)
        opened_at = np.array([int(row[0]) for row in rows[:-1]], dtype=np.int64)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise CallFailed(Failure(Kind.UNKNOWN, "Kraken's candles could not be read")) from error
    figures = figures.reshape(len(opened_at), 5)
    if not np.isfinite(figures).all() or (figures[:, :4] <= 0).any() or (np.diff(opened_at) <= 0).any():
        raise CallFailed(Failure(Kind.UNKNOWN, "Kraken's candles are not sound"))
    columns = [np.ascontiguousarray(figures[:, column]) for column in range(5)]
    for array in (opened_at, *columns):
        array.setflags(write=False)
    return CandleSeries(VENUE, symbol, timeframe, opened_at, *columns)


def _chunks(pairs: Iterable[Pair]) -> Iterable[list[Pair]]:
    waiting = iter(pairs)
    while some := list(islice(waiting, SYMBOLS_AT_ONCE)):
        yield some
