"""How the price moves inside a recorded bar, in whole numbers: exact, and the same on every host.

In a bar the price moves in three straight lines of equal time: open, low, high, close when the bar rose (or closed
where it opened), and open, high, low, close when it fell. So a price is a function of its own bar alone.
"""

from dataclasses import dataclass
from decimal import Decimal

from bots.market_data.base import Traded
from bots.market_data.datasets import Dataset

# Prices and volumes of a stretch of time are given to 1e-8.
_PLACES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording stands: bars played since the replay began, the bar's index in the file, and ns into the bar."""

    total: int
    index: int
    offset_ns: int


def place_of(data: Dataset, played_ns: int) -> Place:
    """Return where the recording stands after ``played_ns``; the loop begins again after its last bar."""
    total, offset_ns = divmod(played_ns, data.bar_ns)
    first, last = data.info.loop_first, data.info.loop_last
    return Place(total, first + total % (last + 1 - first), offset_ns)


def price_at(data: Dataset, index: int, offset_ns: int) -> int:
    """Return the price at a moment of a bar, times 10^price_digits, times the bar's nanoseconds: a whole number."""
    corners = _corners(data, index)
    if offset_ns >= data.bar_ns:
        return corners[3] * data.bar_ns
    line, part = divmod(offset_ns * 3, data.bar_ns)
    return corners[line] * data.bar_ns + (corners[line + 1] - corners[line]) * part


def traded_between(data: Dataset, start: Place, end: Place) -> Traded | None:
    """Return what was traded from ``start`` to ``end``, or None when they are the same moment.

    The prices are rounded outward to 1e-8, which is finer than any tick; the volume is rounded down, and None when one of
    the bars has none.
    """
    if (start.total, start.offset_ns) >= (end.total, end.offset_ns):
        return None
    pieces = _pieces(data, start, end)
    runs = _whole_bars(data, start, end)
    prices = [price for index, first, last in pieces for price in _turns(data, index, first, last)]
    volumes = [int(data.volume[index]) for index, _, _ in pieces]
    shares = sum(volume * (last - first) for volume, (_, first, last) in zip(volumes, pieces, strict=True))
    for bars, times in runs:
        prices += [int(data.low[bars].min()) * data.bar_ns, int(data.high[bars].max()) * data.bar_ns]
        volumes.append(int(data.volume[bars].min()))
        shares += int(data.volume[bars].sum()) * times * data.bar_ns
    price_scale, volume_scale = data.info.price_digits, data.info.volume_digits
    return Traded(
        low=_decimal(min(prices), data.bar_ns * 10**price_scale),
        high=-_decimal(-max(prices), data.bar_ns * 10**price_scale),
        volume=_decimal(shares, data.bar_ns * 10**volume_scale) if min(volumes) > 0 else None,
    )


def _decimal(numerator: int, denominator: int) -> Decimal:
    """Return the quotient, rounded down to 1e-8."""
    return Decimal(numerator * 10**_PLACES // denominator).scaleb(-_PLACES)


def _pieces(data: Dataset, start: Place, end: Place) -> list[tuple[int, int, int]]:
    """Return the parts of bars at both ends of a stretch: the bar's index, from and to in nanoseconds."""
    if start.total == end.total:
        return [(start.index, start.offset_ns, end.offset_ns)]
    pieces = [(start.index, start.offset_ns, data.bar_ns)]
    if end.offset_ns:
        pieces.append((end.index, 0, end.offset_ns))
    return pieces


def _whole_bars(data: Dataset, start: Place, end: Place) -> list[tuple[slice, int]]:
    """Return the runs of bars played from end to end between the two places, and how often each run was played."""
    between = end.total - start.total - 1
    if between <= 0:
        return []
    first, stop = data.info.loop_first, data.info.loop_last + 1
    rounds, count = divmod(between, stop - first)
    after = start.index + 1 if start.index + 1 < stop else first
    runs = [
        (slice(first, stop), rounds),
        (slice(after, min(after + count, stop)), 1),
        (slice(first, first + max(0, after + count - stop)), 1),
    ]
    return [(bars, times) for bars, times in runs if times and bars.stop > bars.start]


def _turns(data: Dataset, index: int, first_ns: int, last_ns: int) -> list[int]:
    """Return the prices (as price_at gives them) at two moments of a bar, and at the corners between the two."""
    corners = [price * data.bar_ns for price in _corners(data, index)]
    between = [price for turn, price in enumerate(corners) if first_ns * 3 < turn * data.bar_ns < last_ns * 3]
    return [price_at(data, index, first_ns), *between, price_at(data, index, last_ns)]


def _corners(data: Dataset, index: int) -> tuple[int, int, int, int]:
    opened, closed = int(data.open[index]), int(data.close[index])
    low, high = int(data.low[index]), int(data.high[index])
    return (opened, low, high, closed) if closed >= opened else (opened, high, low, closed)
