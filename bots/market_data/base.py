"""What a feed gives: quotes with their age and source, closed candles, and what was traded between two moments."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from safety.intents import InstrumentRules, MarketStatus, Quote

Floats = NDArray[np.float64]
DAY_S = Decimal(86_400)


class MarketDataError(Exception):
    """The feed has no usable answer; the message says what is missing and what to do."""


class UnknownSymbolError(MarketDataError):
    """The venue surely has no such symbol; no later question will find it."""


class NoMarketError(MarketDataError):
    """The venue itself says that the symbol is traded no more, and it answered that it has no price of it."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CandleSeries:
    """Closed candles of one symbol and timeframe, oldest first; arrays of equal length, prices in the quote currency.

    ``opened_at`` holds each bar's opening time in UTC epoch seconds; ``volume`` is in base units, 0 where none is
    known. Indicators use floats; money never does.
    """

    venue: str
    symbol: str
    timeframe: str
    opened_at: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.close)


def price_above_zero(price: Decimal, symbol: str) -> Decimal:
    """Return ``price`` if one can value by it. Raises MarketDataError: nothing is worthless because nobody bids just now."""
    if not price.is_finite() or price <= 0:
        raise MarketDataError(f"There is no price to value {symbol} by now: nobody bids for it.")
    return price


@dataclass(frozen=True, slots=True)
class Traded:
    """What the market did in a stretch of time: lowest and highest price, and the volume in base units (None: unknown)."""

    low: Decimal
    high: Decimal
    volume: Decimal | None


class Feed(Protocol):
    """A source of market data for one venue. Every method raises MarketDataError when it cannot answer."""

    venue: str

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that the feed has."""
        ...

    def timeframes(self, symbol: str) -> tuple[str, ...]:
        """Return the timeframes of a symbol, the feed's own first."""
        ...

    def rules(self, symbol: str) -> InstrumentRules:
        """Return what an order in ``symbol`` has to obey. Raises UnknownSymbolError where the venue has no such symbol."""
        ...

    def quote(self, symbol: str, now: datetime) -> Quote:
        """Return the latest quote as of ``now``."""
        ...

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        """Return up to ``count_max`` candles that had closed by ``now``, oldest first."""
        ...

    def mark(self, symbol: str, now: datetime) -> Decimal:
        """Return what one unit that is held is worth: a price above zero."""
        ...

    def traded(self, symbol: str, since: datetime, until: datetime) -> Traded | None:
        """Return what was traded in ``(since, until]``, or None when nothing was."""
        ...

    def market_status(self, symbol: str, now: datetime) -> MarketStatus:
        """Return what the venue does with orders in ``symbol`` at ``now``."""
        ...

    def bar_s(self, symbol: str) -> Decimal:
        """Return how many seconds on the wall clock a bar of the feed's own timeframe takes."""
        ...

    def quote_age_max_s(self, symbol: str) -> Decimal:
        """Return how old a quote of this symbol may be before entries are denied."""
        ...

    def trading_s(self, symbol: str, since: datetime, until: datetime) -> Decimal:
        """Return how many of the seconds from ``since`` to ``until`` the market was open by its hours; below zero backwards."""
        ...

    def session_s(self, symbol: str) -> Decimal:
        """Return how many seconds of an ordinary trading day the market is open: all of them where it never closes."""
        ...

    def closed_until(self, symbol: str, now: datetime) -> datetime | None:
        """Return when a market that keeps hours opens again; None while it is open, and where it keeps none."""
        ...

    def day_ends(self, symbol: str, made_at: datetime) -> datetime | None:
        """Return when an order for the day that was made then ends unfilled; None where orders stand until they are cancelled."""
        ...
