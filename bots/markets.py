"""One symbol's market at one moment, fetched once and shared by everyone who asks in that moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from bots.brokers.base import MarketView
from bots.brokers.fees import fees_for
from bots.exposure import NO_CANDLES, CandleBasis, Market
from bots.market_data.base import CandleSeries, MarketDataError
from bots.market_data.datasets import TIMEFRAME_S
from bots.market_data.datasets import VENUE as REPLAY
from bots.market_data.feeds import feed_for

CANDLES_STEP = 512
#: A replay rounds opening times down to the second: a candle may be younger by that. Played fast, a bar takes less than a second.
REPLAY_ROUNDS_S = Decimal(1)
# A new order can take part in what was traded in this time just before it.
TRADED_LOOKBACK = timedelta(seconds=10)


def market_for(venue: str, symbol: str, now: datetime, *, since: datetime | None = None) -> Market:
    """Return the market of a symbol as of ``now``, with what was traded after ``since`` (or lately), for an order of a person.

    Such an order rests on no candles. Raises MarketDataError.
    """
    feed = feed_for(venue)
    traded = feed.traded(symbol, now - TRADED_LOOKBACK if since is None else since, now)
    quote, rules, is_open = feed.quote(symbol, now), feed.rules(symbol), feed.closed_until(symbol, now) is None
    view = MarketView(now=now, quote=quote, rules=rules, traded=traded, is_open=is_open)
    return Market(
        view=view,
        fees=fees_for(venue, symbol),
        quote_age_max_s=feed.quote_age_max_s(symbol),
        status=feed.market_status(symbol, now),
        candles=NO_CANDLES,
    )


def candle_basis(series: CandleSeries, now: datetime) -> CandleBasis | None:
    """Return how old the last of these candles is at ``now``, or None when that is not known. Raises MarketDataError.

    A candle's length is what it takes on the wall clock, which a replay plays faster than it was recorded. Nights and weekends
    in which the market is closed make no candle older, and a daily one is as long as the day's session.
    """
    if not len(series):
        return None
    feed = feed_for(series.venue)
    own = feed.timeframes(series.symbol)[0]
    bar_s = feed.bar_s(series.symbol) * TIMEFRAME_S[series.timeframe] / TIMEFRAME_S[own]
    opened = datetime.fromtimestamp(int(series.opened_at[-1]), UTC)
    if opened > now:
        # A wrong clock, with which nothing can be said of its age.
        return None
    closed = opened + timedelta(microseconds=int(bar_s.scaleb(6)))
    age_s = feed.trading_s(series.symbol, closed, now)
    if series.venue == REPLAY:
        age_s -= REPLAY_ROUNDS_S
    # A candle across a gap is shorter than its timeframe, so that it seems to have closed later than it did.
    return CandleBasis(max(age_s, Decimal(0)), min(bar_s, feed.session_s(series.symbol)))


class Moment:
    """The markets as of one moment. Each is asked for once, however many bots want it; so are its errors."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._markets: dict[tuple[str, str], Market | MarketDataError] = {}
        self._closed_until: dict[tuple[str, str], datetime | None] = {}
        self._marks: dict[tuple[str, str], Decimal] = {}
        self._candles: dict[tuple[str, str, str, int], CandleSeries] = {}
        self._on_candles: dict[tuple[str, str, str, int], Market] = {}

    def market(self, venue: str, symbol: str) -> Market:
        """Return the market of a symbol; how old the candles are is not known. Raises MarketDataError."""
        key = (venue, symbol)
        if key not in self._markets:
            try:
                self._markets[key] = replace(market_for(venue, symbol, self.now), candles=None)
            except MarketDataError as error:
                self._markets[key] = error
        found = self._markets[key]
        if isinstance(found, MarketDataError):
            raise found
        return found

    def closed_until(self, venue: str, symbol: str) -> datetime | None:
        """Return when a closed market opens, None where it is open or keeps no hours. Raises MarketDataError."""
        key = (venue, symbol)
        if key not in self._closed_until:
            self._closed_until[key] = feed_for(venue).closed_until(symbol, self.now)
        return self._closed_until[key]

    def mark(self, venue: str, symbol: str) -> Decimal:
        """Return what one unit is worth at the market, as its feed says. Raises MarketDataError."""
        key = (venue, symbol)
        if key not in self._marks:
            self._marks[key] = feed_for(venue).mark(symbol, self.now)
        return self._marks[key]

    def market_since(self, venue: str, symbol: str, since: datetime) -> Market:
        """Return the market with what was traded after ``since``. Raises MarketDataError."""
        market = self.market(venue, symbol)
        traded = feed_for(venue).traded(symbol, since, self.now)
        return replace(market, view=replace(market.view, traded=traded))

    def market_on_candles(self, venue: str, symbol: str, timeframe: str, count_max: int) -> Market:
        """Return the market with the age of the candles that ``candles`` gives for the same question. Raises MarketDataError."""
        key = (venue, symbol, timeframe, count_max)
        if key not in self._on_candles:
            basis = candle_basis(self.candles(venue, symbol, timeframe, count_max), self.now)
            self._on_candles[key] = replace(self.market(venue, symbol), candles=basis)
        return self._on_candles[key]

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
