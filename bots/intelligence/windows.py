"""Figures over a trailing window of bars: a bar's figure uses that bar and older ones only, and nothing before the window.

No running totals of floats are kept: what once was huge would leave its rounding behind for ever.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bots.market_data.base import Floats
from bots.strategies.talib_core import talib

#: So many windows are laid out at a time.
BLOCK_BARS = 4_096

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def over_trailing(
    values: Floats,
    bars: int,
    compute: Callable[[Floats], Floats],
    *,
    step: int = 1,
    fill: float = np.nan,
    at: Bools | None = None,
) -> Floats:
    """Return ``compute`` of each bar's trailing window: rows of every ``step``-th of the last ``bars`` values, newest first.

    Before the first bar there is ``fill``. Where ``at`` is not set nobody asks, and the answer is NaN. Each row is computed by
    itself, so that who else asks changes no digit. Done in blocks, so that memory does not grow with the series.
    """
    if len(values) == 0:
        return np.empty(0)
    windows = sliding_window_view(np.concatenate([np.full(bars - 1, fill), values]), bars)[:, ::-1][:, ::step]
    if at is None:
        blocks = range(0, len(values), BLOCK_BARS)
        return np.concatenate([compute(np.ascontiguousarray(windows[one : one + BLOCK_BARS])) for one in blocks])
    found, places = np.full(len(values), np.nan), np.flatnonzero(at)
    for one in range(0, len(places), BLOCK_BARS):
        block = places[one : one + BLOCK_BARS]
        found[block] = compute(np.ascontiguousarray(windows[block]))
    return found


def trailing_sum(values: Floats, bars: int, *, at: Bools | None = None) -> Floats:
    """Return the sum of the last ``bars`` values, or of all that there are so far."""
    return over_trailing(values, bars, lambda rows: np.asarray(rows.sum(axis=1)), fill=0.0, at=at)


def trailing_median(values: Floats, bars: int, *, step: int = 1, least: int = 1, at: Bools | None = None) -> Floats:
    """Return the (lower) median of every ``step``-th of the last ``bars`` values. NaN where fewer than ``least`` are known."""

    def middle(rows: Floats) -> Floats:
        # Sorting puts what is not known last.
        rows.sort(axis=1)
        known = np.count_nonzero(~np.isnan(rows), axis=1)
        found: Floats = rows[np.arange(len(rows)), np.maximum(known - 1, 0) // 2]
        return np.where(known >= least, found, np.nan)

    return over_trailing(values, bars, middle, step=step, at=at)


def trailing_max(values: Floats, bars: int) -> Floats:
    """Return the largest of the last ``bars`` values, or of all that there are so far."""
    if len(values) < bars:
        return np.asarray(np.maximum.accumulate(values))
    largest = talib.MAX(values, bars)
    return np.concatenate([np.maximum.accumulate(values[: bars - 1]), largest[bars - 1 :]])


def trailing_count(counts: NDArray[np.bool_] | Ints, bars: int) -> Ints:
    """Return the sum of the last ``bars`` flags or whole numbers, or of all so far. Whole numbers add up exactly."""
    total = np.cumsum(counts, dtype=np.int64)
    total[bars:] -= total[:-bars].copy()
    return total


def any_of_last(flags: Bools, bars: int) -> Bools:
    """Return whether one of the last ``bars`` flags is set."""
    return trailing_count(flags, bars) > 0


def last_true(flags: Bools) -> Ints:
    """Return the place of the newest flag that is set, up to each bar; -1 where there is none yet."""
    places: Ints = np.maximum.accumulate(np.where(flags, np.arange(len(flags)), -1))
    return places


def ago(values: Floats, bars: int) -> Floats:
    """Return what the value was so many bars before, or the first one where that is too far back."""
    return np.concatenate([np.full(min(bars, len(values)), values[0] if len(values) else 0.0), values[:-bars]])
