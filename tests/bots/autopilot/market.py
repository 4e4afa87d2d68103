"""Markets for the autopilot's tests: each symbol takes the course that the test gives it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from bots.market_data.base import CandleSeries, MarketDataError
from safety.intents import InstrumentRules, Quote
from tests.bots.builders import VENUE, ScriptedFeed

BARS = 600
#: A market that rises steadily, one that swings around a price, and one that falls.
RISING, RANGING, FALLING = "rising", "ranging", "falling"
SYMBOLS = ("AAPL", "BTC-PERP", "SPX", "SPY")
_DRIFT = {RISING: 0.0008, RANGING: 0.0, FALLING: -0.0012}


def closes(course: str, seed: int) -> np.ndarray:
    """Return closes around 100 that end there: drift, swings and noise."""
    random, bars = np.random.default_rng(seed), np.arange(BARS)
    swing = 0.004 * np.sin(bars / 9.0)
    walk = _DRIFT[course] * (bars - BARS) + swing + 0.0008 * random.standard_normal(BARS)
    return np.asarray(100.0 * np.exp(walk - walk[-1]))


@dataclass
class MarketFeed(ScriptedFeed):
    """A feed whose symbols are RANGING unless the test says otherwise; ``gone`` have no market at all."""

    courses: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    looked_at: list[str] = field(default_factory=list)

    def symbols(self) -> tuple[str, ...]:
        return SYMBOLS if self.venue == VENUE else ("BTC/USD", "ETH/USD")

    def rules(self, symbol: str) -> InstrumentRules:
        self._refuse(symbol)
        return InstrumentRules(self.venue, symbol, "USD", Decimal("0.01"), self.lot, self.lot, self.notional_min)

    def quote(self, symbol: str, now: datetime) -> Quote:
        self._refuse(symbol)
        return Quote(self.venue, symbol, self.bid, self.ask, now - timedelta(seconds=self.quote_age_s), self.venue)

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        self._refuse(symbol)
        self.looked_at.append(symbol)
        close = closes(self.courses.get(symbol, RANGING), self.symbols().index(symbol))[-count_max:]
        opened = np.concatenate([close[:1], close[:-1]])
        high, low = np.maximum(opened, close) * 1.0004, np.minimum(opened, close) * 0.9996
        opened_at = (np.arange(len(close), dtype=np.int64) - len(close)) * 60 + int(now.timestamp())
        volume = 1000 + 50 * np.cos(np.arange(len(close)) / 5.0)
        return CandleSeries(self.venue, symbol, timeframe, opened_at, opened, high, low, close, volume)

    def _refuse(self, symbol: str) -> None:
        if symbol in self.gone:
            raise MarketDataError(f"there is no market for {symbol} now")
