"""The last so many candles of a series, cut once for all who ask: indicators are kept by the object they were computed of."""

from dataclasses import replace

from bots.market_data.base import CandleSeries

COLUMNS = ("opened_at", "open", "high", "low", "close", "volume")
PARTS_MAX = 256


class SeriesParts:
    """Parts of series. As long as the series is the same object, so is each part of it."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str, int], tuple[CandleSeries, CandleSeries]] = {}

    def last(self, series: CandleSeries, count_max: int) -> CandleSeries:
        """Return the last ``count_max`` candles of ``series``, or all that there are."""
        key = (series.symbol, series.timeframe, count_max)
        found = self._parts.get(key)
        if found is not None and found[0] is series:
            return found[1]
        part = replace(series, **{name: getattr(series, name)[-count_max:] for name in COLUMNS})
        if len(self._parts) >= PARTS_MAX:
            self._parts = {}
        self._parts[key] = (series, part)
        return part
