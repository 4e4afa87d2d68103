"""One symbol's market at one moment, fetched once and shared by everyone who asks in that moment."""

from dataclasses import replace
from datetime import datetime, timedelta

from bots.brokers.base import MarketView
from bots.brokers.fees import fees_for
from bots.exposure import Market
from bots.market_data.base import CandleSeries, MarketDataError
from bots.market_data.feeds import feed_for

CANDLES_STEP = 512
# A new order can take part in what was traded in this time just before it.
TRADED_LOOKBACK = timedelta(seconds=10)


def market_for(venue: str, symbol: str, now: datetime, *, since: datetime | None = None) -> Market:
    """Return the market of a symbol as of ``now``, with what was traded after ``since`` (or lately). Raises MarketDataError."""
    feed = feed_for(venue)
    traded = feed.traded(symbol, now - TRADED_LOOKBACK if since is None else since, now)
    view = MarketView(now=now, quote=feed.quote(symbol, now), rules=feed.rules(symbol), traded=traded)
    return Market(view=view, fees=fees_for(venue, symbol), quote_age_max_s=feed.quote_age_max_s(symbol))


class Moment:
    """The markets as of one moment. Each is asked for once, however many bots want it; so are its errors."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._markets: dict[tuple[str, str], Market | MarketDataError] = {}
        self._candles: dict[tuple[str, str, str, int], CandleSeries] = {}

    def market(self, venue: str, symbol: str) -> Market:
        """Return the market of a symbol. Raises MarketDataError."""
        key = (venue, symbol)
        if key not in self._markets:
            try:
                self._markets[key] = market_for(venue, symbol, self.now)
            except MarketDataError as error:
                self._markets[key] = error
        found = self._markets[key]
        if isinstance(found, MarketDataError):
            raise found
        return found

    def market_since(self, venue: str, symbol: str, since: datetime) -> Market:
        """Return the market with what was traded after ``since``. Raises MarketDataError."""
        market = self.market(venue, symbol)
        traded = feed_for(venue).traded(symbol, since, self.now)
        return replace(market, view=replace(market.view, traded=traded))

    def candles(self, venue: str, symbol: str, timeframe: str, count_max: int) -> CandleSeries:
        """Return at least the last ``count_max`` closed candles; ``auto`` is the feed's own timeframe. Raises MarketDataError.

        Counts are rounded up, so that bots with different warm-ups still share one series and its indicators.
        """
        count_max = -(-count_max // CANDLES_STEP) * CANDLES_STEP
        feed = feed_for(venue)
        frame = feed.timeframes(symbol)[0] if timeframe == "auto" else timeframe
        key = (venue, symbol, frame, count_max)
        if key not in self._candles:
            self._candles[key] = feed.candles(symbol, frame, self.now, count_max)
        return self._candles[key]
