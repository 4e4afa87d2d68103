"""The replay venue: recorded candles played on the clock in a loop, with today's times.

Inside a bar the price moves in three straight lines of equal time: open, low, high, close when the bar rose (or closed where
it opened), and open, high, low, close when it fell. A quote is a function of the clock and of the bar that plays, so that no
quote knows a later bar, and every process on every host sees the same price at the same moment.

The loop ends where the price is about what it was at its start (see recorded/README.md); the candles that precede its first
bar are the recorded ones before it, on every round, so that no candle and no history crosses the seam.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bots.market_data.base import CandleSeries, MarketDataError, Traded
from bots.market_data.datasets import VENUE, Dataset, Frame, Ints, dataset, manifest
from bots.market_data.replay_clock import (
    ClockSource,
    ReplayClock,
    Segment,
    StoredClock,
    epoch_us,
)
from safety.intents import InstrumentRules, Quote

# What a quote may lag behind: the playing time of a bar, and this.
QUOTE_AGE_EXTRA_S = Decimal(10)
COUNT_MAX = 5_000
# A half-spread in basis points with two decimals is a whole number of millionths.
_MILLION = 1_000_000
_SERIES_MAX = 256


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a recording stands: ``total`` bars since the replay began, ``index`` in the file, ``offset_ns`` into the bar."""

    total: int
    index: int
    offset_ns: int


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
        self._bar_ns: dict[str, int] = {}
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

    def bar_s(self, symbol: str) -> Decimal:
        """Return how many seconds on the wall clock a recorded bar takes at the speed that was last seen."""
        return self._dataset(symbol).info.bar_s / self._speed

    def quote_age_max_s(self, symbol: str) -> Decimal:
        """Return how old a quote of this symbol may be: the playing time of one bar and 10 seconds."""
        return self.bar_s(symbol) + QUOTE_AGE_EXTRA_S

    def set_speed(self, speed: Decimal, now: datetime) -> ReplayClock:
        """Change how fast every recording plays, in all processes, two seconds after ``now``; the position does not jump.

        The caller writes the audit row. Raises ValueError outside SPEED_MIN..SPEED_MAX.
        """
        return self._clock.set_speed(speed, now)

    def speed(self, now: datetime) -> Decimal:
        """Return the speed that holds at ``now``."""
        return self._clock_at(now)[1].speed

    def quote(self, symbol: str, now: datetime) -> Quote:
        """Return the quote at ``now``: the path's price with the half-spread on both sides, rounded outward to the tick."""
        data = self._dataset(symbol)
        place = self._place(data, self._clock_at(now)[1].played(epoch_us(now)))
        info = data.info
        price, scale = self._price(data, place.index, place.offset_ns), self._bar(data)
        tick = int(info.tick_size.scaleb(info.price_digits))
        spread = int(info.half_spread_bps * 100)
        step = scale * _MILLION * tick
        bid = price * (_MILLION - spread) // step
        # Floor division of the negative rounds up, away from the bid.
        ask = -(-price * (_MILLION + spread) // step)
        return Quote(VENUE, symbol, bid * info.tick_size, ask * info.tick_size, now, VENUE)

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
        place = self._place(data, segment.played(epoch_us(now)))
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

        The prices are exact to 1e-8, rounded outward; the volume is rounded down to 1e-8 base units, and is None (no limit
        is known) when one of the bars has none. Returns None when no time was played.
        """
        data = self._dataset(symbol)
        clock = self._clock_at(until)[0]
        start = self._place(data, clock.played(epoch_us(since)))
        end = self._place(data, clock.played(epoch_us(until)))
        bar_ns = self._bar(data)
        if (start.total, start.offset_ns) >= (end.total, end.offset_ns):
            return None
        if start.total == end.total:
            pieces = [(start.index, start.offset_ns, end.offset_ns)]
        else:
            pieces = [(start.index, start.offset_ns, bar_ns)]
            if end.offset_ns:
                pieces.append((end.index, 0, end.offset_ns))
        return self._traded(data, pieces, self._whole_bars(data, start, end))

    def _traded(
        self,
        data: Dataset,
        pieces: list[tuple[int, int, int]],
        whole: list[tuple[slice, int]],
    ) -> Traded:
        """Join parts of bars (index, from, to in ns) and runs of whole bars (with how often each was played)."""
        bar_ns = self._bar(data)
        prices = [price for index, first, last in pieces for price in self._turns(data, index, first, last)]
        volumes = [int(data.volume[index]) for index, _, _ in pieces]
        shares = sum(volume * (last - first) for volume, (_, first, last) in zip(volumes, pieces, strict=True))
        for bars, times in whole:
            prices += [
                int(data.low[bars].min()) * bar_ns,
                int(data.high[bars].max()) * bar_ns,
            ]
            volumes.append(int(data.volume[bars].min()))
            shares += int(data.volume[bars].sum()) * times * bar_ns
        scale = bar_ns * 10**data.info.price_digits
        volume = Decimal(shares * 10**8 // (bar_ns * 10**data.info.volume_digits)).scaleb(-8)
        return Traded(
            low=Decimal(min(prices) * 10**8 // scale).scaleb(-8),
            high=Decimal(-(-max(prices) * 10**8 // scale)).scaleb(-8),
            volume=volume if min(volumes) > 0 else None,
        )

    @staticmethod
    def _whole_bars(data: Dataset, start: _Place, end: _Place) -> list[tuple[slice, int]]:
        """Return the runs of bars that were played from end to end between the two places, and how often each was."""
        first, stop = data.info.loop_first, data.info.loop_last + 1
        rounds, count = divmod(end.total - start.total - 1, stop - first)
        runs = [(slice(first, stop), rounds)] if rounds > 0 else []
        if end.total - start.total - 1 <= 0 or not count:
            return runs
        after = start.index + 1 if start.index + 1 < stop else first
        runs.append((slice(after, min(after + count, stop)), 1))
        if after + count > stop:
            runs.append((slice(first, first + after + count - stop), 1))
        return runs

    def _turns(self, data: Dataset, index: int, first_ns: int, last_ns: int) -> list[int]:
        """Return the prices (× the bar's nanoseconds) at both moments of a bar and at the corners between them."""
        bar_ns = self._bar(data)
        corners = [price * bar_ns for price in self._corners(data, index)]
        between = [price for turn, price in enumerate(corners) if first_ns * 3 < turn * bar_ns < last_ns * 3]
        return [
            self._price(data, index, first_ns),
            *between,
            self._price(data, index, last_ns),
        ]

    def _price(self, data: Dataset, index: int, offset_ns: int) -> int:
        """Return the path's price, as a whole number × 10^price_digits × the bar's nanoseconds: exact, without fractions."""
        bar_ns = self._bar(data)
        corners = self._corners(data, index)
        if offset_ns >= bar_ns:
            return corners[3] * bar_ns
        line, part = divmod(offset_ns * 3, bar_ns)
        return corners[line] * bar_ns + (corners[line + 1] - corners[line]) * part

    @staticmethod
    def _corners(data: Dataset, index: int) -> tuple[int, int, int, int]:
        opened, closed = int(data.open[index]), int(data.close[index])
        low, high = int(data.low[index]), int(data.high[index])
        return (opened, low, high, closed) if closed >= opened else (opened, high, low, closed)

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
        played_ns = (data.frames[data.info.timeframe].first + ahead) * self._bar(data)
        times = (segment.base_us + (played_ns - segment.played_ns) // segment.speed_milli) // _MILLION
        self._times[data.info.symbol] = (round_, times)
        return times

    def _place(self, data: Dataset, played_ns: int) -> _Place:
        total, offset_ns = divmod(played_ns, self._bar(data))
        first, last = data.info.loop_first, data.info.loop_last
        return _Place(total, first + total % (last + 1 - first), offset_ns)

    def _clock_at(self, now: datetime) -> tuple[ReplayClock, Segment]:
        clock = self._clock.at(now)
        segment = clock.segment(epoch_us(now))
        self._speed = segment.speed
        return clock, segment

    def _bar(self, data: Dataset) -> int:
        bar_ns = self._bar_ns.get(data.info.symbol)
        if bar_ns is None:
            bar_ns = self._bar_ns[data.info.symbol] = int(data.info.bar_s.scaleb(9))
        return bar_ns

    def _dataset(self, symbol: str) -> Dataset:
        if self._datasets is None:
            return dataset(symbol)
        try:
            return self._datasets[symbol]
        except KeyError:
            raise MarketDataError(f"there is no recording of {symbol!r}: choose {', '.join(self._datasets)}") from None
