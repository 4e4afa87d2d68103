"""The replay venue: recorded candles played on the clock in a loop, with today's times.

A quote is a function of the clock and of the bar that plays (see price_path.py), so that no quote knows a later bar, and
every process on every host sees the same price at the same moment.

The loop ends where the price is about what it was at its start (see recorded/README.md). The candles that precede its
first bar are the recorded ones before it, on every round, so that no candle and no history crosses the seam.
"""

from datetime import datetime
from decimal import Decimal

from bots.market_data.base import DAY_S, CandleSeries, MarketDataError, Traded, price_above_zero
from bots.market_data.datasets import VENUE, Dataset, Frame, Ints, dataset, manifest
from bots.market_data.price_path import place_of, price_at, traded_between
from bots.market_data.replay_clock import (
    ClockSource,
    ReplayClock,
    Segment,
    StoredClock,
    epoch_us,
)
from safety.controls.base import seconds_since
from safety.intents import InstrumentRules, MarketStatus, Quote

# What a quote may lag behind: the playing time of a bar, and this.
QUOTE_AGE_EXTRA_S = Decimal(10)
COUNT_MAX = 5_000
# A half-spread in basis points with two decimals is a whole number of millionths.
_MILLION = 1_000_000
_SERIES_MAX = 256


class ReplayFeed:
    """Recorded market data as a live feed. Threads may share one; it is always open, and its source is ``replay``."""

    venue = VENUE

    def __init__(
        self,
        clock: ClockSource | None = None,
        datasets: dict[str, Dataset] | None = None,
    ) -> None:
        self._clock: ClockSource = StoredClock() if clock is None else clock
        self._datasets = datasets
        self._speed = Decimal(1)
        self._times: dict[str, tuple[tuple[Segment, int], Ints]] = {}
        self._series: dict[tuple[str, str, int], tuple[tuple[Segment, int, int], CandleSeries]] = {}

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that have a recording."""
        return tuple(manifest() if self._datasets is None else self._datasets)

    def timeframes(self, symbol: str) -> tuple[str, ...]:
        """Return the timeframes of a symbol, the recording's own first."""
        return self._dataset(symbol).timeframes()

    def rules(self, symbol: str) -> InstrumentRules:
        """Return what an order in ``symbol`` has to obey."""
        return self._dataset(symbol).info.rules()

    def market_status(self, symbol: str, now: datetime) -> MarketStatus:
        """Return ``open``: a recording plays day and night. Raises MarketDataError for an unknown symbol."""
        self._dataset(symbol)
        return MarketStatus.OPEN

    def bar_s(self, symbol: str) -> Decimal:
        """Return how many seconds on the wall clock a recorded bar takes at the speed that was last seen."""
        return self._dataset(symbol).info.bar_s / self._speed

    def quote_age_max_s(self, symbol: str) -> Decimal:
        """Return how old a quote of this symbol may be: the playing time of one bar and 10 seconds."""
        return self.bar_s(symbol) + QUOTE_AGE_EXTRA_S

    def trading_s(self, symbol: str, since: datetime, until: datetime) -> Decimal:
        """Return the seconds between the two: a recording plays day and night."""
        return seconds_since(since, until)

    def session_s(self, symbol: str) -> Decimal:
        """Return a day's seconds."""
        return DAY_S

    def day_ends(self, symbol: str, made_at: datetime) -> datetime | None:
        """Return None: an order rests until it is cancelled."""
        return None

    def closed_until(self, symbol: str, now: datetime) -> datetime | None:
        """Return None: a recording is always open."""
        return None

    def set_speed(self, speed: Decimal, now: datetime) -> ReplayClock:
        """Change how fast everything plays, in all processes, two seconds after ``now``; the position does not jump.

        The caller writes the audit row. Raises ValueError outside SPEED_MIN..SPEED_MAX.
        """
        return self._clock.set_speed(speed, now)

    def speed(self, now: datetime) -> Decimal:
        """Return the speed that holds at ``now``."""
        return self._clock_at(now)[1].speed

    def quote(self, symbol: str, now: datetime) -> Quote:
        """Return the quote at ``now``: the path's price and the half-spread to both sides, rounded outward to the tick."""
        data = self._dataset(symbol)
        info = data.info
        place = place_of(data, self._clock_at(now)[1].played(epoch_us(now)))
        price = price_at(data, place.index, place.offset_ns)
        spread = int(info.half_spread_bps * 100)
        step = data.bar_ns * _MILLION * data.tick
        bid = price * (_MILLION - spread) // step
        # Floor division of the negative rounds up, away from the bid.
        ask = -(-price * (_MILLION + spread) // step)
        return Quote(VENUE, symbol, bid * info.tick_size, ask * info.tick_size, now, VENUE)

    def mark(self, symbol: str, now: datetime) -> Decimal:
        """Return the bid."""
        return price_above_zero(self.quote(symbol, now).bid, symbol)

    def candles(self, symbol: str, timeframe: str, now: datetime, count_max: int) -> CandleSeries:
        """Return up to ``count_max`` closed candles, oldest first, with today's times; read-only and shared.

        Until the next candle closes, equal questions get the same object, so that indicators can be kept per object.
        Raises MarketDataError for an unknown timeframe or a count outside 1..COUNT_MAX.
        """
        if not 1 <= count_max <= COUNT_MAX:
            raise MarketDataError(f"from 1 to {COUNT_MAX} candles can be asked for, not {count_max}")
        data = self._dataset(symbol)
        frame = data.frame(timeframe)
        segment = self._clock_at(now)[1]
        place = place_of(data, segment.played(epoch_us(now)))
        end = int(frame.first.searchsorted(place.index, side="right")) - 1
        key, stamp = (
            (symbol, timeframe, count_max),
            (segment, place.total - place.index, end),
        )
        kept = self._series.get(key)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        series = self._slice(
            data,
            frame,
            timeframe,
            max(0, end - count_max),
            end,
            (segment, place.total - place.index),
        )
        if len(self._series) >= _SERIES_MAX:
            self._series = {}
        self._series[key] = (stamp, series)
        return series

    def traded(self, symbol: str, since: datetime, until: datetime) -> Traded | None:
        """Return the lowest and highest price of the path in the interval and its share of the bars' volume.

        The prices are exact to 1e-8, rounded outward; the volume is rounded down to 1e-8 base units, and None (no limit is
        known) when one of the bars has none. Returns None when no time was played.
        """
        data = self._dataset(symbol)
        clock = self._clock_at(until)[0]
        start, end = (place_of(data, clock.played(epoch_us(moment))) for moment in (since, until))
        return traded_between(data, start, end)

    def _slice(
        self,
        data: Dataset,
        frame: Frame,
        timeframe: str,
        start: int,
        end: int,
        round_: tuple[Segment, int],
    ) -> CandleSeries:
        times = self._opening_times(data, round_)
        chosen = slice(start, end)
        return CandleSeries(
            venue=VENUE,
            symbol=data.info.symbol,
            timeframe=timeframe,
            opened_at=times[frame.first[chosen]],
            open=frame.open[chosen],
            high=frame.high[chosen],
            low=frame.low[chosen],
            close=frame.close[chosen],
            volume=frame.volume[chosen],
        )

    def _opening_times(self, data: Dataset, round_: tuple[Segment, int]) -> Ints:
        """Return when each recorded bar opens on the wall clock in this round, in epoch seconds, rounded down."""
        kept = self._times.get(data.info.symbol)
        if kept is not None and kept[0] == round_:
            return kept[1]
        segment, ahead = round_
        played_ns = (data.frames[data.info.timeframe].first + ahead) * data.bar_ns
        times = (segment.base_us + (played_ns - segment.played_ns) // segment.speed_milli) // _MILLION
        self._times[data.info.symbol] = (round_, times)
        return times

    def _clock_at(self, now: datetime) -> tuple[ReplayClock, Segment]:
        clock = self._clock.at(now)
        segment = clock.segment(epoch_us(now))
        self._speed = segment.speed
        return clock, segment

    def _dataset(self, symbol: str) -> Dataset:
        if self._datasets is None:
            return dataset(symbol)
        try:
            return self._datasets[symbol]
        except KeyError:
            raise MarketDataError(f"there is no recording of {symbol!r}: choose {', '.join(self._datasets)}") from None
