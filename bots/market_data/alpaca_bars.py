"""Alpaca's bars: how they are asked for, and how the pages of an answer become candles. Values only: no network, no clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from bots.brokers.alpaca_client import unsound
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.market_data.alpaca_ticks import moment
from bots.market_data.base import CandleSeries
from bots.market_data.datasets import TIMEFRAME_S
from bots.market_data.market_hours import NEW_YORK, Sessions
from bots.market_data.series_parts import COLUMNS

VENUE = "alpaca"
#: How Alpaca calls the timeframes.
NAMES = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "1h": "1Hour", "4h": "4Hour", "1d": "1Day"}
DAILY_S = TIMEFRAME_S["1d"]
#: How many bars are kept. A strategy's warm-up asks for some hundreds.
BARS_MAX = 2_000
PAGE_BARS = 2_000
PAGE_BARS_MANY = 10_000
#: Late trades move a bar a little, splits by a fifth at least.
SPLIT_CHANGE = 0.1
#: The exchange is open for less than a fifth of all hours; and some days more, for holidays and stocks that hardly trade.
LOOKBACK_TIMES = 8
LOOKBACK_MORE = timedelta(days=10)
#: The free plan has the prices of the IEX exchange as they come; all exchanges together would be fifteen minutes late.
SOURCE = "iex"


def newest_first(symbol: str, timeframe: str, now: datetime) -> dict[str, str]:
    """Return what asks for the newest bars of a symbol, adjusted for splits."""
    lookback = timedelta(seconds=TIMEFRAME_S[timeframe] * BARS_MAX * LOOKBACK_TIMES) + LOOKBACK_MORE
    # Alpaca's records begin there.
    start = max(now - lookback, datetime(2016, 1, 1, tzinfo=UTC))
    return _params([symbol], timeframe, start) | {"sort": "desc", "limit": str(PAGE_BARS)}


def since_last(known: Sequence[CandleSeries]) -> dict[str, str]:
    """Return what asks for the last bar of each of these series, all of one timeframe and none empty, and for those after it."""
    start = datetime.fromtimestamp(min(int(series.opened_at[-1]) for series in known), UTC)
    names = [series.symbol for series in known]
    return _params(names, known[0].timeframe, start) | {"sort": "asc", "limit": str(PAGE_BARS_MANY)}


def _params(symbols: Sequence[str], timeframe: str, start: datetime) -> dict[str, str]:
    return {
        "symbols": ",".join(symbols),
        "timeframe": NAMES[timeframe],
        "start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "adjustment": "split",
        "feed": SOURCE,
    }


def read_page(answer: Any) -> tuple[dict[str, list[Any]], str]:
    """Return one page's raw bars by symbol, and the token of the next page or an empty text. Raises CallFailed."""
    if not isinstance(answer, dict) or "bars" not in answer:
        raise unsound("a page of bars")
    # A symbol without a bar is left out; Alpaca also writes null for none at all.
    found, token = answer["bars"] if answer["bars"] is not None else {}, answer.get("next_page_token")
    is_sound = isinstance(found, dict) and all(isinstance(rows, list) for rows in found.values())
    if not is_sound or not (token is None or isinstance(token, str)):
        raise unsound("a page of bars")
    return found, token or ""


def read_bars(rows: list[Any], symbol: str, timeframe: str, sessions: Sessions, now: datetime) -> CandleSeries:
    """Return the candles of these bars, in either order, that had closed by ``now``. Raises CallFailed for what can't be read.

    Bars from before and after the session are left out: few trade then, and a strategy would take their jumps for news.
    """
    try:
        figures = np.array([[float(row[name]) for name in "ohlcv"] for row in rows], dtype=np.float64).reshape(-1, 5)
        opened_at = np.array([int(moment(row["t"]).timestamp()) for row in rows], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CallFailed(Failure(Kind.UNKNOWN, "Alpaca's bars could not be read")) from error
    if len(opened_at) > 1 and opened_at[0] > opened_at[-1]:
        figures, opened_at = figures[::-1], opened_at[::-1]
    prices, volume = figures[:, :4], figures[:, 4]
    is_sound = np.isfinite(figures).all() and (prices > 0).all() and (volume >= 0).all()
    if not is_sound or (np.diff(opened_at) <= 0).any() or (figures[:, 1] < figures[:, 2]).any():
        raise CallFailed(Failure(Kind.UNKNOWN, "Alpaca's bars are not sound"))
    bar_s = TIMEFRAME_S[timeframe]
    wanted = opened_at + bar_s <= now.timestamp()
    if timeframe != "1d":
        wanted &= sessions.touched(opened_at, bar_s)
    columns = [np.ascontiguousarray(figures[wanted, column]) for column in range(5)]
    return _frozen(CandleSeries(VENUE, symbol, timeframe, np.ascontiguousarray(opened_at[wanted]), *columns))


def joined(old: CandleSeries, new: CandleSeries) -> CandleSeries:
    """Return the candles of both, at most BARS_MAX; ``old`` itself when nothing is new."""
    fresh = new.opened_at > (int(old.opened_at[-1]) if len(old) else -1)
    if not fresh.any():
        return old
    columns = (np.concatenate((getattr(old, name), getattr(new, name)[fresh]))[-BARS_MAX:] for name in COLUMNS)
    return _frozen(CandleSeries(old.venue, old.symbol, old.timeframe, *columns))


def is_split(old: CandleSeries, new: CandleSeries) -> bool:
    """Return whether the last old candle has another price by now: a split changed all that was before it."""
    if not len(old) or not len(new):
        return False
    place = int(np.searchsorted(new.opened_at, old.opened_at[-1]))
    if place == len(new) or new.opened_at[place] != old.opened_at[-1]:
        return False
    return bool(abs(new.close[place] / old.close[-1] - 1) > SPLIT_CHANGE)


def ends_at(series: CandleSeries) -> int:
    """Return when the last candle opened in epoch seconds; 0 when there is none."""
    return int(series.opened_at[-1]) if len(series) else 0


def closes_next(series: CandleSeries, sessions: Sessions) -> datetime:
    """Return when the candle after the last one will have closed, by the exchange's hours. Raises MarketDataError."""
    bar_s = TIMEFRAME_S[series.timeframe]
    ended = datetime.fromtimestamp(int(series.opened_at[-1]) + bar_s, UTC)
    opens = ended if sessions.is_open(ended) else sessions.next_open(ended)
    if series.timeframe == "1d":
        # A day's bar lasts from midnight to midnight in New York.
        day = opens.astimezone(NEW_YORK).replace(hour=0, minute=0, second=0, microsecond=0)
        return (day + timedelta(days=1)).astimezone(UTC)
    return datetime.fromtimestamp(int(opens.timestamp()) // bar_s * bar_s + bar_s, UTC)


def _frozen(series: CandleSeries) -> CandleSeries:
    for name in COLUMNS:
        getattr(series, name).setflags(write=False)
    return series
