"""Alpaca's market data of US stocks as a feed: with a key, fetched once per process for everyone, and in the background.

Quotes and trades are those of the IEX exchange, which the free plan has without delay, all wanted symbols in one request each
two seconds at most. A quote has the time that Alpaca gives it: one that stands for long is old. Candles are Alpaca's bars,
adjusted for splits, without the unfinished last one and without those from before and after the session. The market is open
when the exchange's calendar and Alpaca's clock both say so.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.utils import timezone

from bots.brokers.alpaca_budget import note_asked
from bots.brokers.alpaca_client import AlpacaClient, unsound
from bots.instant import Instant
from bots.market_data import alpaca_bars as bars
from bots.market_data.alpaca_assets import VENUE, Assets, Stock
from bots.market_data.alpaca_candles import Candles
from bots.market_data.alpaca_ticks import Tick, moment, read_tick, traded_between
from bots.market_data.base import (
    CandleSeries,
    MarketDataError,
    NoMarketError,
    Traded,
    UnknownSymbolError,
    price_above_zero,
)
from bots.market_data.datasets import TIMEFRAME_S
from bots.market_data.fetcher import Fetcher
from bots.market_data.market_hours import Sessions
from safety.intents import InstrumentRules, MarketStatus, Quote

REQUEST_MS = 4_000
QUOTE_FRESH_S = 2.0
#: While the market is closed nothing moves that anyone may trade on.
QUOTE_FRESH_CLOSED_S = 60.0
#: A look that could not be renewed goes on for so long.
LOOK_KEPT = timedelta(seconds=150)
QUOTE_AGE_MAX_S = Decimal(10)
#: A symbol that nobody asked for in this time is no longer fetched.
WANTED_S = 120.0
SYMBOLS_AT_ONCE = 100
TICKS_KEPT = 900
SYMBOLS_KEPT = 300
CLOCK_FRESH_S = 15.0
CLOCK_KEPT_S = 120.0
COUNT_MAX = 5_000
SYMBOL_CHARS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Keys:
    """Where to ask, and with which key. The trading host lists the stocks and has the clock: it counts that of ``account``."""

    data_url: str
    trading_url: str
    key: str
    secret: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class _Clock:
    """What Alpaca's clock said at a moment of ours."""

    asked_at: Instant
    is_open: bool
    next_open: datetime
    next_close: datetime

    def turned(self, now: datetime) -> bool:
        """Return whether the market must have opened or closed since."""
        return now >= (self.next_close if self.is_open else self.next_open)


class AlpacaFeed:
    """Market data of Alpaca. Threads may share one; nothing is opened before the first question.

    ``sessions_at`` gives the exchange's hours around a moment.
    """

    venue = VENUE

    def __init__(self, keys: Keys, sessions_at: Callable[[datetime], Sessions], session_s: Decimal) -> None:
        self._data = AlpacaClient(keys.data_url, keys.key, keys.secret)
        count = partial(note_asked, keys.account)
        self._trading = AlpacaClient(keys.trading_url, keys.key, keys.secret, on_ask=count)
        self._sessions_at = sessions_at
        self._session_s = session_s
        self._assets = Assets(self._trading)
        self._fetcher = Fetcher("Alpaca")
        self._lock = threading.Lock()
        self._wanted: dict[str, float] = {}
        self._ticks: dict[str, deque[Tick]] = {}
        self._ticked_at: dict[str, Instant] = {}
        self._clock: _Clock | None = None
        self._candles = Candles(self._data, self._fetcher, sessions_at)

    def symbols(self) -> tuple[str, ...]:
        """Return every stock that Alpaca trades now, but for those over the counter: some ten thousand."""
        problem = ""
        if self._assets.listed() is None:
            problem = self._fetcher.run("its list of stocks", self._assets.fetch_list)
        elif self._assets.is_list_due():
            self._fetcher.start("its list of stocks", self._assets.fetch_list)
        listed = self._assets.listed()
        if listed is None:
            raise MarketDataError(f"Alpaca's stocks are not known: {problem or 'it lists none'}.")
        return tuple(listed)

    def timeframes(self, symbol: str) -> tuple[str, ...]:
        """Return the timeframes, one minute first."""
        return tuple(bars.NAMES)

    def rules(self, symbol: str) -> InstrumentRules:
        """Return what an order in ``symbol`` has to obey."""
        return self._stock(symbol).rules

    def _stock(self, symbol: str) -> Stock:
        found, problem = self._assets.known(symbol), ""
        if found is None and not self._assets.is_missing(symbol):
            problem = self._fetcher.run(f"the stock {symbol}", lambda: self._assets.fetch_one(symbol))
            found = self._assets.known(symbol)
        elif found is not None and symbol in self._wanted and self._assets.is_due(symbol):
            self._fetcher.start(f"the stock {symbol}", lambda: self._assets.fetch_one(symbol))
        if found is None and self._assets.is_missing(symbol):
            raise UnknownSymbolError(f"Alpaca has no stock {symbol[:SYMBOL_CHARS_SHOWN]}.")
        if found is None:
            raise MarketDataError(f"What Alpaca says of {symbol} is not known: {problem or 'it says nothing'}.")
        return found

    def bar_s(self, symbol: str) -> Decimal:
        """Return 60: the feed's own timeframe is a minute."""
        return Decimal(TIMEFRAME_S["1m"])

    def quote_age_max_s(self, symbol: str) -> Decimal:
        """Return how old a quote may be before entries are denied."""
        return QUOTE_AGE_MAX_S

    def trading_s(self, symbol: str, since: datetime, until: datetime) -> Decimal:
        """Return how many of the seconds between the two lie in the exchange's sessions."""
        return self._sessions_at(until).open_s(since, until)

    def session_s(self, symbol: str) -> Decimal:
        """Return how long an ordinary session lasts."""
        return self._session_s

    def quote(self, symbol: str, now: datetime) -> Quote:
        """Return the best bid and offer at IEX with the time that Alpaca gives them; a side that nobody quotes is 0."""
        symbol = self.rules(symbol).symbol
        fresh_s = QUOTE_FRESH_S if self._sessions_at(now).is_open(now) else QUOTE_FRESH_CLOSED_S
        problem = ""
        # The second try is for a fetch that was under way before this symbol was wanted.
        for _ in range(2):
            self._wanted[symbol] = time.monotonic()
            ticked_at = self._ticked_at.get(symbol)
            if ticked_at is not None and ticked_at.elapsed_s() < fresh_s:
                break
            problem = self._fetcher.run("its quotes", self._fetch_ticks)
        ticks = self._ticks.get(symbol)
        if not ticks or timezone.now() - ticks[-1].looked_at > LOOK_KEPT:
            raise MarketDataError(f"There is no quote of {symbol} from Alpaca: {problem or 'it gives none'}.")
        tick = ticks[-1]
        return Quote(VENUE, symbol, tick.bid, tick.ask, tick.quoted_at, VENUE)

    def mark(self, symbol: str, now: datetime) -> Decimal:
        """Return the last price of the session, held between bid and offer while the market is open and both are quoted.

        IEX alone may bid far below the market, or not at all, and at night it does: what is held would seem lost.
        """
        closes = self.candles(symbol, "1m", now, 1).close
        if not len(closes) and not self._stock(symbol).rules.is_active:
            raise NoMarketError(f"Alpaca trades {symbol} no more, and has no price of it.")
        last = price_above_zero(Decimal(str(closes[-1])) if len(closes) else Decimal(0), symbol)
        if self.closed_until(symbol, now) is not None:
            return last
        quote = self.quote(symbol, now)
        return min(max(last, quote.bid), quote.ask) if 0 < quote.bid <= quote.ask else last

    def traded(self, symbol: str, since: datetime, until: datetime) -> Traded | None:
        """Return what surely was traded, as far as this process looked on, to within SHIFT; None when it saw nothing.

        Asks Alpaca nothing: it lives off the looks that quotes took.
        """
        with self._lock:
            ticks = list(self._ticks.get(symbol, ()))
        return traded_between(ticks, since, until)

    def market_status(self, symbol: str, now: datetime) -> MarketStatus:
        """Return ``open`` when Alpaca trades the stock, and the exchange's calendar and Alpaca's clock both say open."""
        if not self._stock(symbol).can_be_bought or self.closed_until(symbol, now) is not None:
            return MarketStatus.CLOSED
        return MarketStatus.OPEN

    def day_ends(self, symbol: str, made_at: datetime) -> datetime | None:
        """Return the next close: of the session that an order was made in, or of the next one. Alpaca takes no other orders."""
        return self._sessions_at(made_at).next_close(made_at)

    def closed_until(self, symbol: str, now: datetime) -> datetime | None:
        """Return when the market opens, None while it is open. Where only Alpaca's clock says closed, its word counts."""
        sessions = self._sessions_at(now)
        if not sessions.is_open(now):
            return sessions.next_open(now)
        clock = self._venue_clock(now)
        if clock.is_open and not clock.turned(now):
            return None
        # What should have opened by now will be asked for anew at once.
        return max(clock.next_open, now + timedelta(seconds=1))

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        """Return up to ``count_max`` closed candles (BARS_MAX are kept), oldest first; read-only and shared.

        Until the next candle closes, equal questions get the same object. The one that has just closed comes a moment later:
        it is fetched while the ones before it are given. What nobody asked for in the time of two candles is waited for.
        """
        if timeframe not in bars.NAMES:
            raise MarketDataError(f"Alpaca has no candles of {timeframe}: choose {', '.join(bars.NAMES)}")
        if not 1 <= count_max <= COUNT_MAX:
            raise MarketDataError(f"from 1 to {COUNT_MAX} candles can be asked for, not {count_max}")
        return self._candles.last(self.rules(symbol).symbol, timeframe, now, count_max)

    def _venue_clock(self, now: datetime) -> _Clock:
        clock, problem = self._clock, ""
        age_s = CLOCK_KEPT_S if clock is None else clock.asked_at.elapsed_s()
        if clock is None or age_s >= CLOCK_KEPT_S:
            problem = self._fetcher.run("its clock", self._fetch_clock)
        elif age_s >= CLOCK_FRESH_S or (clock.turned(now) and age_s >= 1):
            self._fetcher.start("its clock", self._fetch_clock)
        clock = self._clock
        if clock is None or clock.asked_at.elapsed_s() > CLOCK_KEPT_S:
            raise MarketDataError(f"Whether Alpaca is open is not known: {problem or 'it does not say'}.")
        return clock

    # What follows runs on the fetcher's threads.

    def _fetch_clock(self) -> None:
        asked_at = Instant()
        raw = self._trading.ask("GET", "/clock", timeout_ms=REQUEST_MS)
        try:
            is_open, times = raw["is_open"], (moment(raw["next_open"]), moment(raw["next_close"]))
        except (KeyError, TypeError, ValueError) as error:
            raise unsound("the market's clock") from error
        if not isinstance(is_open, bool):
            raise unsound("the market's clock")
        self._clock = _Clock(asked_at, is_open, *times)

    def _fetch_ticks(self) -> None:
        oldest = time.monotonic() - WANTED_S
        self._wanted = {symbol: asked for symbol, asked in self._wanted.copy().items() if asked >= oldest}
        wanted = sorted(self._wanted)
        with self._lock:
            if len(self._ticks) > SYMBOLS_KEPT:
                self._ticks = {symbol: ticks for symbol, ticks in self._ticks.items() if symbol in self._wanted}
        for first in range(0, len(wanted), SYMBOLS_AT_ONCE):
            some = wanted[first : first + SYMBOLS_AT_ONCE]
            asked = Instant()
            params = {"symbols": ",".join(some), "feed": bars.SOURCE}
            answer = self._data.ask("GET", "/stocks/snapshots", params=params, timeout_ms=REQUEST_MS)
            if not isinstance(answer, dict):
                raise unsound("a snapshot")
            for symbol in some:
                self._keep_tick(symbol, answer.get(symbol), asked)

    def _keep_tick(self, symbol: str, raw: Any, asked: Instant) -> None:
        tick = read_tick(raw, asked.wall)
        if tick is None:
            return
        with self._lock:
            self._ticks.setdefault(symbol, deque(maxlen=TICKS_KEPT)).append(tick)
        self._ticked_at[symbol] = asked
