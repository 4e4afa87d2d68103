"""Candles that were seen, kept in the database for the pages' charts. What trades reads its feed, not this."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
from django.db.models import QuerySet

from bots.market_data.base import CandleSeries
from bots.models import Candle

KEEP = 2_000
# The feeds give floats; their shortest text is what was recorded. A sum of volumes has noise beyond this many places.
_VOLUME_PLACES = 8


def store_closed(series: CandleSeries, keep: int = KEEP) -> int:
    """Keep the candles of ``series`` that are newer than all kept ones; return how many. Doing it twice changes nothing.

    Only the newest ``keep`` candles of a symbol and timeframe stay. A candle that opens in the same second as another (a
    replay played very fast) is left out. Raises ValueError when ``keep`` is not above zero.
    """
    if keep <= 0:
        raise ValueError(f"at least one candle has to be kept, not {keep}")
    kept = _kept(series.venue, series.symbol, series.timeframe)
    newest = kept.values_list("opened_at", flat=True).first()
    fresh = np.unique(series.opened_at, return_index=True)[1]
    if newest is not None:
        # History is retimed when a replay's speed changes or its loop begins anew; what was shown stays as it was.
        fresh = fresh[series.opened_at[fresh] > int(newest.timestamp())]
    rows = [_row(series, int(index)) for index in fresh[-keep:]]
    if not rows:
        return 0
    # Another process may be storing the same candles just now: the first one wins.
    Candle.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    oldest = kept.values_list("opened_at", flat=True)[keep - 1 : keep].first()
    if oldest is not None:
        kept.filter(opened_at__lt=oldest).delete()
    return len(rows)


def load(venue: str, symbol: str, timeframe: str, count_max: int) -> CandleSeries:
    """Return the newest ``count_max`` kept candles, oldest first; an empty series when there are none."""
    fields = ("opened_at", "open", "high", "low", "close", "volume")
    rows = list(_kept(venue, symbol, timeframe).values_list(*fields)[:count_max])[::-1]
    figures = np.array([[float(figure) for figure in row[1:]] for row in rows], dtype=np.float64).reshape(-1, 5)
    return CandleSeries(
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        opened_at=np.array([int(row[0].timestamp()) for row in rows], dtype=np.int64),
        open=np.ascontiguousarray(figures[:, 0]),
        high=np.ascontiguousarray(figures[:, 1]),
        low=np.ascontiguousarray(figures[:, 2]),
        close=np.ascontiguousarray(figures[:, 3]),
        volume=np.ascontiguousarray(figures[:, 4]),
    )


def _kept(venue: str, symbol: str, timeframe: str) -> QuerySet[Candle]:
    return Candle.objects.filter(venue=venue, symbol=symbol, timeframe=timeframe).order_by("-opened_at")


def _row(series: CandleSeries, index: int) -> Candle:
    prices = (series.open, series.high, series.low, series.close)
    opened, high, low, closed = (Decimal(repr(float(column[index]))) for column in prices)
    return Candle(
        venue=series.venue,
        symbol=series.symbol,
        timeframe=series.timeframe,
        opened_at=datetime.fromtimestamp(int(series.opened_at[index]), UTC),
        open=opened,
        high=high,
        low=low,
        close=closed,
        volume=Decimal(repr(round(float(series.volume[index]), _VOLUME_PLACES))),
    )
