"""The candles of Alpaca's stocks that this process knows: fetched whole once, and then what is new of all of them together."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.utils import timezone

from bots.brokers.alpaca_client import AlpacaClient, unsound
from bots.brokers.outcomes import CallFailed
from bots.instant import Instant
from bots.market_data import alpaca_bars as bars
from bots.market_data.base import CandleSeries, MarketDataError
from bots.market_data.datasets import TIMEFRAME_S
from bots.market_data.fetcher import Fetcher
from bots.market_data.market_hours import Sessions
from bots.market_data.series_parts import SeriesParts

REQUEST_MS = 4_000
#: A bar appears a moment after it closed. Where none comes, since nobody traded, the pauses between questions double.
AGAIN_S = 3.0
AGAIN_S_MAX = 60.0
DOUBLED_MAX = 10
PAGES_MAX = 20
SYMBOLS_AT_ONCE = 100
#: So many series are kept; beyond that those go that nobody asked for in this time.
KEPT_MAX = 300
WANTED_S = 300.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A series, when it was last asked for, and how often in vain since a bar was new."""

    series: CandleSeries
    asked_at: Instant
    in_vain: int = 0


class Candles:
    """Candles by symbol and timeframe. Threads may share one; it asks on the fetcher's threads."""

    def __init__(self, client: AlpacaClient, fetcher: Fetcher, sessions_at: Callable[[datetime], Sessions]) -> None:
        self._client = client
        self._fetcher = fetcher
        self._sessions_at = sessions_at
        self._kept: dict[Key, _Kept] = {}
        self._wanted: dict[Key, float] = {}
        self._parts = SeriesParts()

    def last(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        """Return up to ``count_max`` closed candles, as AlpacaFeed.candles promises. Raises MarketDataError."""
        key, problem = (symbol, timeframe), ""
        self._wanted[key] = time.monotonic()
        kept = self._kept.get(key)
        if kept is None:
            name = f"the {timeframe} bars of {symbol}"
            problem = self._fetcher.run(name, lambda: self._fetch_whole(symbol, timeframe))
            kept = self._kept.get(key)
        elif self._is_due(kept, now):
            # After a machine slept, the venue gets a moment to say what is new; then what was before is given, with its age.
            is_old = kept.asked_at.elapsed_s() >= 2 * TIMEFRAME_S[timeframe]
            fetch = self._fetcher.run if is_old else self._fetcher.start
            fetch(f"the new {timeframe} bars", lambda: self._fetch_new(timeframe, now))
            kept = self._kept.get(key)
        if kept is None:
            raise MarketDataError(f"There are no candles of {symbol} from Alpaca: {problem or 'it gives none'}.")
        return self._parts.last(kept.series, count_max)

    def _is_due(self, kept: _Kept, now: datetime) -> bool:
        """Return whether a candle must have closed since, and it was not asked for just now."""
        if kept.asked_at.elapsed_s() < min(AGAIN_S * 2**kept.in_vain, AGAIN_S_MAX):
            return False
        return not len(kept.series) or now >= bars.closes_next(kept.series, self._sessions_at(now))

    # What follows runs on the fetcher's threads.

    def _fetch_whole(self, symbol: str, timeframe: str) -> None:
        asked_at = Instant()
        now = asked_at.wall
        rows = self._pages(bars.newest_first(symbol, timeframe, now), bars.BARS_MAX).get(symbol, [])
        series = bars.read_bars(rows, symbol, timeframe, self._sessions_at(now), now)
        before = self._kept.get((symbol, timeframe))
        self._keep(symbol, timeframe, before, series, asked_at)

    def _fetch_new(self, timeframe: str, now: datetime) -> None:
        """Fetch what is new of every wanted series of a timeframe that is due, in as few requests as can be."""
        asked_at, failure = Instant(), None
        due = {symbol: kept for symbol, kept in self._of(timeframe) if self._is_due(kept, now)}
        # One that has nothing yet would drag the others back to where records begin.
        empty = [symbol for symbol, kept in due.items() if not len(kept.series)]
        for symbol in empty:
            self._fetch_whole(symbol, timeframe)
            del due[symbol]
        for some in _chunks(due):
            params = bars.since_last([due[symbol].series for symbol in some])
            pages, at = self._pages(params), timezone.now()
            for symbol in some:
                try:
                    self._add(due[symbol], pages.get(symbol, []), asked_at, at)
                except CallFailed as failed:
                    # One stock's odd bars must not keep the others from theirs.
                    failure = failed
        if failure is not None:
            raise failure

    def _add(self, kept: _Kept, rows: list[Any], asked_at: Instant, now: datetime) -> None:
        old = kept.series
        new = bars.read_bars(rows, old.symbol, old.timeframe, self._sessions_at(now), now)
        if bars.is_split(old, new):
            self._fetch_whole(old.symbol, old.timeframe)
            return
        self._keep(old.symbol, old.timeframe, kept, bars.joined(old, new), asked_at)

    def _keep(self, symbol: str, timeframe: str, before: _Kept | None, series: CandleSeries, asked_at: Instant) -> None:
        is_news = before is None or bars.ends_at(before.series) != bars.ends_at(series)
        in_vain = 0 if is_news or before is None else min(before.in_vain + 1, DOUBLED_MAX)
        self._kept[symbol, timeframe] = _Kept(series, asked_at, in_vain)
        if len(self._kept) > KEPT_MAX:
            oldest = time.monotonic() - WANTED_S
            self._kept = {key: one for key, one in self._kept.copy().items() if self._wanted.get(key, 0.0) >= oldest}

    def _of(self, timeframe: str) -> list[tuple[str, _Kept]]:
        oldest = time.monotonic() - WANTED_S
        kept = self._kept.copy().items()
        return [(key[0], one) for key, one in kept if key[1] == timeframe and self._wanted.get(key, 0.0) >= oldest]

    def _pages(self, params: dict[str, str], count_max: int | None = None) -> dict[str, list[Any]]:
        """Return the raw bars of all pages by symbol; of a single symbol no more pages than ``count_max`` bars need."""
        found: dict[str, list[Any]] = {}
        token = ""
        for _ in range(PAGES_MAX):
            asked = params | ({"page_token": token} if token else {})
            answer = self._client.ask("GET", "/stocks/bars", params=asked, timeout_ms=REQUEST_MS)
            page, token = bars.read_page(answer)
            for symbol, rows in page.items():
                found.setdefault(symbol, []).extend(rows)
            is_enough = count_max is not None and any(len(rows) >= count_max for rows in found.values())
            if not token or is_enough:
                return found
        raise unsound("the last page of the bars")


def _chunks(symbols: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(symbols)
    while some := list(islice(waiting, SYMBOLS_AT_ONCE)):
        yield some
