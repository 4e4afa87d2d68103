"""The recorded candles that the repository ships, as exact whole numbers for prices and as floats for indicators."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bots.market_data.base import Floats, MarketDataError
from bots.market_data.csv_candles import CandleRow, read_candles
from safety.intents import InstrumentRules

RECORDED_DIR = Path(__file__).parent / "recorded"
MANIFEST_NAME = "manifest.json"
VENUE = "replay"
TIMEFRAME_S = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
#: What each timeframe of a recording can be put together to.
RESAMPLED = {"1m": ("5m", "15m", "1h", "4h"), "1d": ()}
# Above 2^53 a float no longer holds every whole number, and the exact prices would be lost on their way.
EXACT_MAX = 2**53

Ints = NDArray[np.int64]
Array = TypeVar("Array", Ints, Floats)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One line of the manifest. Prices are in ``quote_currency``, ``bar_s`` is how long a bar plays at speed 1.

    The loop plays the bars from ``loop_first`` up to and with ``loop_last``; the bars before it are its history.
    ``price_digits`` and ``volume_digits`` are how many digits after the point the file uses at most.
    """

    symbol: str
    title: str
    file: str
    timeframe: str
    origin: str
    first_bar: datetime
    last_bar: datetime
    rows: int
    sha256: str
    quote_currency: str
    tick_size: Decimal
    lot_size: Decimal
    quantity_min: Decimal
    notional_min: Decimal
    half_spread_bps: Decimal
    fee_key: str
    bar_s: Decimal
    loop_first: int
    loop_last: int
    price_digits: int
    volume_digits: int

    def rules(self) -> InstrumentRules:
        """Return what an order in this symbol has to obey."""
        return InstrumentRules(
            venue=VENUE,
            symbol=self.symbol,
            quote_currency=self.quote_currency,
            tick_size=self.tick_size,
            lot_size=self.lot_size,
            quantity_min=self.quantity_min,
            notional_min=self.notional_min,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A recording in one timeframe: ``first`` is the index of each candle's first recorded bar."""

    first: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One recording in memory. The whole-number arrays hold prices × 10^price_digits and volumes × 10^volume_digits.

    ``bar_ns`` is how many nanoseconds a bar plays at speed 1; ``tick`` is the tick size × 10^price_digits.
    """

    info: DatasetInfo
    opened_at: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    bar_ns: int
    tick: int
    frames: dict[str, Frame]

    def timeframes(self) -> tuple[str, ...]:
        """Return the timeframes it can be had in, its own first."""
        return (self.info.timeframe, *RESAMPLED[self.info.timeframe])

    def frame(self, timeframe: str) -> Frame:
        """Return the candles in ``timeframe``. Raises MarketDataError for one that it cannot be put together to."""
        if timeframe not in self.timeframes():
            raise MarketDataError(
                f"{self.info.symbol} has no {timeframe} candles on replay: choose {', '.join(self.timeframes())}"
            )
        if timeframe not in self.frames:
            self.frames[timeframe] = _resample(self.frames[self.info.timeframe], self.opened_at, TIMEFRAME_S[timeframe])
        return self.frames[timeframe]


@cache
def manifest() -> dict[str, DatasetInfo]:
    """Return every shipped recording by its symbol. Raises MarketDataError when the manifest is missing or wrong."""
    return read_manifest(RECORDED_DIR / MANIFEST_NAME)


def read_manifest(path: Path) -> dict[str, DatasetInfo]:
    """Return the recordings that the manifest at ``path`` names. Raises MarketDataError when it is missing or wrong."""
    try:
        infos = [_info(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise MarketDataError(f"the list of recordings {path.name} cannot be read: {error!r}") from error
    return {info.symbol: info for info in infos}


def _info(entry: dict[str, Any]) -> DatasetInfo:
    decimals = (
        "tick_size",
        "lot_size",
        "quantity_min",
        "notional_min",
        "half_spread_bps",
        "bar_s",
    )
    moments = ("first_bar", "last_bar")
    typed = {
        **entry,
        **{name: Decimal(entry[name]) for name in decimals},
        **{name: datetime.fromisoformat(entry[name]) for name in moments},
    }
    info = DatasetInfo(**typed)
    if any(getattr(info, name) <= 0 for name in decimals):
        raise ValueError(f"{info.symbol}: {', '.join(decimals)} have to be above zero")
    if not 0 < info.loop_first <= info.loop_last < info.rows:
        raise ValueError(f"{info.symbol}: the loop has to lie inside the recording and leave it a history")
    return info


_loaded: dict[str, Dataset] = {}
_load_lock = Lock()


def dataset(symbol: str) -> Dataset:
    """Return the recording of ``symbol``, read once per process.

    Raises MarketDataError for an unknown symbol, and for a file that is missing, changed or wrong.
    """
    found = _loaded.get(symbol)
    if found is not None:
        return found
    info = manifest().get(symbol)
    if info is None:
        raise MarketDataError(f"there is no recording of {symbol!r}: choose {', '.join(manifest())}")
    with _load_lock:
        if symbol not in _loaded:
            _loaded[symbol] = load(info, RECORDED_DIR / info.file)
        return _loaded[symbol]


def load(info: DatasetInfo, path: Path) -> Dataset:
    """Read a shipped recording. Raises MarketDataError when the file is missing, changed, or has a bad row."""
    try:
        packed = path.read_bytes()
        if hashlib.sha256(packed).hexdigest() != info.sha256:
            raise MarketDataError(f"{path.name} is not the file that the manifest describes: its sha256 differs")
        text = gzip.decompress(packed).decode("ascii")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise MarketDataError(f"the recording {path.name} cannot be read: {error}") from error
    return build(info, read_candles(text.splitlines(), path.name).rows)


def build(info: DatasetInfo, rows: tuple[CandleRow, ...]) -> Dataset:
    """Return ``rows`` as a dataset. Raises MarketDataError when they are not what ``info`` says."""
    if len(rows) != info.rows:
        raise MarketDataError(f"{info.file} has {len(rows)} rows instead of {info.rows}")
    columns = tuple(zip(*rows, strict=True))
    floats = [_floats(column) for column in columns[1:]]
    digits = [info.price_digits] * 4 + [info.volume_digits]
    whole = [_whole(info, column, places) for column, places in zip(floats, digits, strict=True)]
    first: Ints = np.arange(len(rows), dtype=np.int64)
    times: Ints = np.array(columns[0], dtype=np.int64)
    base = Frame(_read_only(first), floats[0], floats[1], floats[2], floats[3], floats[4])
    return Dataset(
        info,
        opened_at=_read_only(times),
        open=whole[0],
        high=whole[1],
        low=whole[2],
        close=whole[3],
        volume=whole[4],
        bar_ns=int(info.bar_s.scaleb(9)),
        tick=int(info.tick_size.scaleb(info.price_digits)),
        frames={info.timeframe: base},
    )


def _floats(column: tuple[Decimal, ...]) -> Floats:
    values: Floats = np.array([float(value) for value in column], dtype=np.float64)
    return _read_only(values)


def _whole(info: DatasetInfo, column: Floats, digits: int) -> Ints:
    """Return the column × 10^digits, proven exact by the way back."""
    scaled = np.rint(column * 10**digits)
    if scaled.max() >= EXACT_MAX or not np.array_equal(scaled / 10**digits, column):
        raise MarketDataError(f"{info.file} has figures with more than {digits} digits after the point")
    return _read_only(scaled.astype(np.int64))


def _read_only(array: Array) -> Array:
    # Every bot shares these arrays: one that wrote into them would change what the others see.
    array.flags.writeable = False
    return array


def _resample(base: Frame, opened_at: Ints, period_s: int) -> Frame:
    """Return the candles put together to ``period_s``, on the recording's own clock."""
    period = opened_at // period_s
    first = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
    last = np.append(first[1:], len(opened_at)) - 1
    return Frame(
        first=_read_only(first.astype(np.int64)),
        open=_read_only(base.open[first]),
        high=_read_only(np.maximum.reduceat(base.high, first)),
        low=_read_only(np.minimum.reduceat(base.low, first)),
        close=_read_only(base.close[last]),
        volume=_read_only(np.add.reduceat(base.volume, first)),
    )
