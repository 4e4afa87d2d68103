"""What a stock's market did between two looks at Alpaca's snapshot of it. Values only: no network, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from bots.market_data.base import Traded

#: A look is shared for two seconds, so that the one an order was placed by may be so much older than the order.
SHIFT = timedelta(seconds=2.5)


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at one stock: its quote and the last trade, each with Alpaca's own time, and the volume of the day so far.

    A trade is None where there was none; the day's volume is None where Alpaca does not give it.
    """

    looked_at: datetime
    bid: Decimal
    ask: Decimal
    quoted_at: datetime
    trade: "Trade | None" = None
    day: str = ""
    day_volume: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade; ``id`` is Alpaca's, and counts once a day and exchange."""

    id: str
    price: Decimal
    size: Decimal
    traded_at: datetime


def read_tick(raw: Any, looked_at: datetime) -> Tick | None:
    """Return what a snapshot says, or None when its quote cannot be read. Whether it makes sense is the gate's to judge."""
    try:
        quote, day = raw["latestQuote"], raw.get("dailyBar")
        return Tick(
            looked_at=looked_at,
            bid=_decimal(quote["bp"]),
            ask=_decimal(quote["ap"]),
            quoted_at=moment(quote["t"]),
            trade=_read_trade(raw.get("latestTrade")),
            day="" if day is None else str(day["t"]),
            day_volume=None if day is None else _decimal(day["v"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation):
        return None


def traded_between(ticks: Sequence[Tick], since: datetime, until: datetime) -> Traded | None:
    """Return what surely was traded in ``(since, until]``, seen from these looks, oldest first; None: nothing that is known.

    A look proves the last trade's price when that trade is another one than at the look before, and happened after it. What
    was traded in between and at no look the last is left out: a paper order may fill too late, never at a price that was not
    there. The volume is what the day's rose by, and no less than the trades that were seen; it is that of the feed, a small part
    of the whole market's.

    A stretch between two looks belongs to the interval in which it begins, SHIFT allowed for: so each counts once, also where
    looks and intervals are not in step, and an order can meet what was traded SHIFT before it, not more.
    """
    prices: list[Decimal] = []
    volume = Decimal(0)
    for before, after in pairwise(ticks):
        if not since - SHIFT <= before.looked_at < until - SHIFT:
            continue
        trade = after.trade
        if trade is None or not _is_new(before.trade, trade) or trade.traded_at < since - SHIFT:
            continue
        if not (trade.price.is_finite() and trade.price > 0 and trade.size.is_finite() and trade.size > 0):
            continue
        prices.append(trade.price)
        volume += max(trade.size, _risen(before, after))
    return Traded(min(prices), max(prices), volume) if prices else None


def moment(text: Any) -> datetime:
    """Return a time as Alpaca writes it, cut to the microsecond. Raises ValueError without a time zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found


def _is_new(before: Trade | None, after: Trade) -> bool:
    return before is None or (before.id != after.id and before.traded_at <= after.traded_at)


def _risen(before: Tick, after: Tick) -> Decimal:
    """Return by how much the day's volume rose; zero across midnight, and where it is not given."""
    if before.day_volume is None or after.day_volume is None or before.day != after.day:
        return Decimal(0)
    risen = after.day_volume - before.day_volume
    return risen if risen.is_finite() and risen > 0 else Decimal(0)


def _read_trade(raw: Any) -> Trade | None:
    if raw is None:
        return None
    traded_at = moment(raw["t"])
    return Trade(f"{raw.get('x', '')}:{raw['i']}:{raw['t']}", _decimal(raw["p"]), _decimal(raw["s"]), traded_at)


def _decimal(figure: Any) -> Decimal:
    """Return a JSON number exactly; true and false are none. Raises TypeError."""
    if isinstance(figure, bool) or not isinstance(figure, int | Decimal):
        raise TypeError("not a number")
    return Decimal(figure)
