"""Pack the recorded candles that the repository ships: ``python tools/pack_recorded.py SOURCE_DIR``.

Reads the source CSV files that the recipes below name, checks every row, turns a volume in USD into base units, and
writes the compressed files and the manifest. The same sources give the same bytes.
"""

import gzip
import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audit.decimals import decimal_text
from bots.market_data.csv_candles import (
    HEADER,
    CandleFileError,
    CandleRow,
    read_candles,
)

OUT_DIR = Path(__file__).resolve().parent.parent / "bots" / "market_data" / "recorded"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One source file and what is written of it. ``loop`` is the first and the last bar that are played."""

    symbol: str
    title: str
    source: str
    timeframe: str
    origin: str
    tick_size: str
    lot_size: str
    quantity_min: str
    half_spread_bps: str
    fee_key: str
    bar_s: str
    loop: tuple[str, str]
    price_digits: int
    volume_digits: int = 0
    volume_in_usd: bool = False
    # How far, as a fraction, open and close may lie outside high and low before the row is refused.
    clamp_max: str = "0.001"


RECIPES = (
    Recipe(
        symbol="BTC-PERP",
        title="Bitcoin perpetual, 1 minute",
        source="btc_perp_ftx_1m_2022-01.csv",
        timeframe="1m",
        origin="FTX, by way of nautechsystems/nautilus_trader @a95c8042b001, "
        "tests/test_data/btc-perp-20211231-20220201_1m.csv",
        tick_size="1",
        lot_size="0.00001",
        quantity_min="0.00005",
        half_spread_bps="1",
        fee_key="kraken",
        bar_s="2",
        loop=("2022-01-05T22:36:00Z", "2022-01-20T21:20:00Z"),
        price_digits=3,
        volume_digits=4,
        volume_in_usd=True,
    ),
    Recipe(
        symbol="SPY",
        title="SPDR S&P 500 ETF, daily",
        source="spy_1d_2008-2017.csv",
        timeframe="1d",
        origin="Yahoo, by way of matplotlib/mplfinance examples/data/yahoofinance-SPY-20080101-20180101.csv",
        tick_size="0.01",
        lot_size="0.000001",
        quantity_min="0.000001",
        half_spread_bps="0.5",
        fee_key="alpaca",
        bar_s="20",
        loop=("2014-02-14", "2016-02-11"),
        price_digits=6,
        # Yahoo's opens of 2015-03-05 and 2015-03-30 lie 0.2 % and 0.6 % below the day's own low.
        clamp_max="0.006",
    ),
    Recipe(
        symbol="AAPL",
        title="Apple, daily, split adjusted",
        source="aapl_1d_2004-2018.csv",
        timeframe="1d",
        origin="Yahoo, by way of matplotlib/mplfinance examples/data/yahoofinance-AAPL-20040819-20180120.csv",
        tick_size="0.01",
        lot_size="0.000001",
        quantity_min="0.000001",
        half_spread_bps="1",
        fee_key="alpaca",
        bar_s="20",
        loop=("2012-09-07", "2016-07-13"),
        price_digits=6,
    ),
    Recipe(
        symbol="SPX",
        title="S&P 500 index, 1 minute, no volume",
        source="sp500_index_1m_2019-11-05_08.csv",
        timeframe="1m",
        origin="matplotlib/mplfinance examples/data/SP500_NOV2019_IDay.csv, New York times converted to UTC",
        tick_size="0.01",
        lot_size="0.000001",
        quantity_min="0.000001",
        half_spread_bps="1",
        fee_key="alpaca",
        bar_s="2",
        loop=("2019-11-05T19:33:00Z", "2019-11-08T20:08:00Z"),
        price_digits=2,
    ),
)


def main(arguments: list[str]) -> int:
    """Write every file and the manifest; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        entries = [pack(recipe, Path(arguments[0]), OUT_DIR) for recipe in RECIPES]
    except (CandleFileError, OSError, ValueError) as error:
        sys.stderr.write(f"nothing was finished: {error}\n")
        return 1
    text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    (OUT_DIR / "manifest.json").write_text(text, encoding="utf-8")
    return 0


def pack(recipe: Recipe, source_dir: Path, out_dir: Path) -> dict[str, object]:
    """Write one compressed recording and return its line of the manifest.

    Raises CandleFileError, naming file and line, when the source has a bad row.
    """
    path = source_dir / recipe.source
    with path.open(encoding="ascii", newline="") as lines:
        parsed = read_candles(lines, path.name, Decimal(recipe.clamp_max))
    text = "".join(_line(recipe, row) for row in parsed.rows)
    name = f"{recipe.symbol.lower()}_{recipe.timeframe}.csv.gz"
    # No time in the header, so that the same rows are the same bytes.
    packed = gzip.compress((",".join(HEADER) + "\n" + text).encode("ascii"), compresslevel=9, mtime=0)
    (out_dir / name).write_bytes(packed)
    sys.stdout.write(f"{name}: {len(parsed.rows)} rows, {len(packed)} bytes, {parsed.clamped} rows put right\n")
    return _entry(recipe, name, parsed.rows, hashlib.sha256(packed).hexdigest())


def _line(recipe: Recipe, row: CandleRow) -> str:
    volume = row.volume
    if recipe.volume_in_usd:
        # Base units, rounded half-even; the close stands for the prices of the whole bar.
        volume = (volume / row.close).quantize(Decimal(1).scaleb(-recipe.volume_digits), rounding=ROUND_HALF_EVEN)
    figures = (row.open, row.high, row.low, row.close, volume)
    return ",".join((_iso(row.opened_at), *map(decimal_text, figures))) + "\n"


def _entry(recipe: Recipe, name: str, rows: tuple[CandleRow, ...], sha256: str) -> dict[str, object]:
    places = {_iso(row.opened_at): place for place, row in enumerate(rows)}
    loop_first, loop_last = (places[_iso(_epoch(text))] for text in recipe.loop)
    return {
        "symbol": recipe.symbol,
        "title": recipe.title,
        "file": name,
        "timeframe": recipe.timeframe,
        "origin": recipe.origin,
        "first_bar": _iso(rows[0].opened_at),
        "last_bar": _iso(rows[-1].opened_at),
        "rows": len(rows),
        "sha256": sha256,
        "quote_currency": "USD",
        "tick_size": recipe.tick_size,
        "lot_size": recipe.lot_size,
        "quantity_min": recipe.quantity_min,
        "notional_min": "1",
        "half_spread_bps": recipe.half_spread_bps,
        "fee_key": recipe.fee_key,
        "bar_s": recipe.bar_s,
        "loop_first": loop_first,
        "loop_last": loop_last,
        "price_digits": recipe.price_digits,
        "volume_digits": recipe.volume_digits,
    }


def _iso(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _epoch(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
