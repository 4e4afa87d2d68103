"""What the market did between two looks at Kraken's ticker. Values only: no network, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from bots.market_data.base import Traded

TODAY = 0
#: A look is shared for a second, so that the one an order was placed by may be so much older than the order.
SHIFT = timedelta(seconds=1.5)


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at one symbol's ticker. Volume, count, low and high are of the UTC day so far, as Kraken gives them."""

    seen_at: datetime
    bid: Decimal
    ask: Decimal
    last: Decimal
    volume: Decimal
    count: int
    low: Decimal
    high: Decimal


#: No price and no volume has as many places before or behind the point.
DIGITS_MAX = 40


def read_tick(raw: Mapping[str, Any], seen_at: datetime) -> Tick | None:
    """Return what Ticker says of one symbol, or None when it cannot be read. Whether it makes sense is the gate's to judge."""
    try:
        return Tick(
            seen_at=seen_at,
            bid=_figure(raw["b"][0]),
            ask=_figure(raw["a"][0]),
            last=_figure(raw["c"][0]),
            volume=_figure(raw["v"][TODAY]),
            count=int(raw["t"][TODAY]),
            low=_figure(raw["l"][TODAY]),
            high=_figure(raw["h"][TODAY]),
        )
    except (KeyError, IndexError, TypeError, ValueError, InvalidOperation):
        return None


def _figure(written: Any) -> Decimal:
    """Return a figure exactly as it was written. Raises ValueError for one that no market has, and that would break sums."""
    found = Decimal(str(written))
    if not found.is_finite() or (found and abs(found.adjusted()) > DIGITS_MAX):
        raise ValueError("no figure of a market")
    return found


def traded_between(ticks: Sequence[Tick], since: datetime, until: datetime) -> Traded | None:
    """Return what surely was traded in ``(since, until]``, seen from these looks, oldest first; None: nothing that is known.

    A look proves a trade at its last price when the day's count rose since the look before, and one at the day's low or high
    when that moved. Prices in between that nobody saw are left out: a paper order may fill too late, never at a price that
    was not there. The volume is exact, but for a look across midnight, where only the new day's counts.

    A stretch between two looks belongs to the interval in which it begins, SHIFT allowed for: so each counts once, also where
    looks and intervals are not in step, and an order can meet what was traded SHIFT before it, not more.
    """
    prices: list[Decimal] = []
    volume = Decimal(0)
    for before, after in pairwise(ticks):
        if not since - SHIFT <= before.seen_at < until - SHIFT:
            continue
        is_new_day = after.count < before.count or after.volume < before.volume
        if not is_new_day and after.count == before.count:
            continue
        prices.append(after.last)
        volume += after.volume if is_new_day else after.volume - before.volume
        if is_new_day:
            prices += [after.low, after.high]
            continue
        prices += [after.low] if after.low < before.low else []
        prices += [after.high] if after.high > before.high else []
    sound = [price for price in prices if price.is_finite() and price > 0]
    return Traded(min(sound), max(sound), volume) if sound else None
