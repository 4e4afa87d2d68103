"""Small recordings made by hand or by hypothesis."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from bots.market_data.csv_candles import CandleRow
from bots.market_data.datasets import Dataset, DatasetInfo, build
from bots.market_data.replay import ReplayFeed
from bots.market_data.replay_clock import FixedClock, start_clock

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RECORDED_AT = 1_600_000_200  # a whole number of five-minute periods
SYMBOL = "TOY"

Figures = tuple[str, str, str, str, str]


def after(seconds: float | str | Decimal) -> datetime:
    """Return the moment this long after the replay began."""
    return T0 + timedelta(microseconds=int(Decimal(str(seconds)) * 1_000_000))


def rows_of(figures: Sequence[Figures]) -> tuple[CandleRow, ...]:
    """Return one-minute rows of (open, high, low, close, volume)."""
    return tuple(CandleRow(RECORDED_AT + 60 * k, *map(Decimal, each)) for k, each in enumerate(figures))


def info_of(rows: int, **changes: Any) -> DatasetInfo:
    """Return the manifest's line for a toy recording: bars of 3 s, tick 0.01, two digits, 10 basis points each side."""
    start = datetime.fromtimestamp(RECORDED_AT, UTC)
    settings: dict[str, Any] = {
        "symbol": SYMBOL,
        "title": "Toy",
        "file": "toy_1m.csv.gz",
        "timeframe": "1m",
        "origin": "made up",
        "first_bar": start,
        "last_bar": start + timedelta(minutes=rows - 1),
        "rows": rows,
        "sha256": "",
        "quote_currency": "USD",
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal("0.001"),
        "quantity_min": Decimal("0.001"),
        "notional_min": Decimal(1),
        "half_spread_bps": Decimal(10),
        "fee_key": "kraken",
        "bar_s": Decimal(3),
        "loop_first": 1,
        "loop_last": rows - 1,
        "price_digits": 2,
        "volume_digits": 0,
    }
    return DatasetInfo(**{**settings, **changes})


def toy(figures: Sequence[Figures], **changes: Any) -> Dataset:
    """Return a toy recording of these bars."""
    return build(info_of(len(figures), **changes), rows_of(figures))


def feed_of(data: Dataset) -> ReplayFeed:
    """Return a feed that began to play ``data`` at T0."""
    return ReplayFeed(FixedClock(start_clock(T0)), {data.info.symbol: data})


@st.composite
def bars(draw: st.DrawFn, volume_min: int = 0) -> Figures:
    """Draw one possible bar with two digits after the point."""
    low = draw(st.integers(100, 50_000))
    height = draw(st.integers(0, 5_000))
    opened, closed = (low + draw(st.integers(0, height)) for _ in range(2))
    prices = (opened, low + height, low, closed)
    volume = draw(st.integers(volume_min, 1_000_000))
    return (*(str(Decimal(price).scaleb(-2)) for price in prices), str(volume))  # type: ignore[return-value]
