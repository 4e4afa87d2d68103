"""The recordings that are shipped, and what a damaged one is answered with."""

import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.market_data import datasets
from bots.market_data.base import MarketDataError
from bots.market_data.csv_candles import HEADER
from bots.market_data.datasets import RECORDED_DIR, dataset, load, manifest, read_manifest
from tests.bots.market_data.builders import Figures, bars, info_of, rows_of, toy

SYMBOLS = ("BTC-PERP", "SPY", "AAPL", "SPX")


def test_shipped_recordings_are_what_the_contract_asks_for() -> None:
    assert tuple(manifest()) == SYMBOLS
    btc = manifest()["BTC-PERP"]
    assert btc.timeframe == "1m"
    assert (btc.last_bar - btc.first_bar).days >= 28
    assert {manifest()[symbol].timeframe for symbol in ("SPY", "AAPL")} == {"1d"}
    assert {info.quote_currency for info in manifest().values()} == {"USD"}
    assert sum((RECORDED_DIR / info.file).stat().st_size for info in manifest().values()) < 1_000_000


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_shipped_recording_loads_and_agrees_with_its_manifest(symbol: str) -> None:
    data = dataset(symbol)
    info = data.info
    assert data is dataset(symbol)
    assert [datetime.fromtimestamp(int(data.opened_at[k]), UTC) for k in (0, -1)] == [info.first_bar, info.last_bar]
    assert len(data.close) == info.rows
    assert (data.low > 0).all()
    assert (data.low <= np.minimum(data.open, data.close)).all()
    assert (data.high >= np.maximum(data.open, data.close)).all()
    # The whole-number arrays and the indicator's floats tell the same prices.
    base = data.frame(info.timeframe)
    assert np.array_equal(data.close / 10**info.price_digits, base.close)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_loop_ends_where_the_price_is_what_it_was_at_its_start(symbol: str) -> None:
    data = dataset(symbol)
    start, end = int(data.open[data.info.loop_first]), int(data.close[data.info.loop_last])
    assert abs(end - start) / start < 0.002
    assert data.info.loop_first >= 300


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_tick_is_far_finer_than_a_percent_of_the_played_prices(symbol: str) -> None:
    data = dataset(symbol)
    played = data.low[data.info.loop_first : data.info.loop_last + 1]
    assert data.tick * 1000 < int(played.min())


def test_only_the_index_has_no_volume() -> None:
    assert {symbol for symbol in SYMBOLS if not dataset(symbol).volume.any()} == {"SPX"}
    assert (dataset("BTC-PERP").volume > 0).all()


def test_crypto_volume_is_in_base_units() -> None:
    data = dataset("BTC-PERP")
    # The source says 2,300,413.7295 USD for the first minute, which closed at 46,377.
    assert int(data.volume[0]) == round(2_300_413.7295 / 46_377 * 10**4)


def test_rules_carry_the_manifest() -> None:
    rules = dataset("BTC-PERP").info.rules()
    assert (rules.venue, rules.symbol, rules.quote_currency) == ("replay", "BTC-PERP", "USD")
    assert (rules.tick_size, rules.lot_size) == (Decimal(1), Decimal("0.00001"))
    assert (rules.quantity_min, rules.notional_min) == (Decimal("0.00005"), Decimal(1))


def test_unknown_symbol_is_refused_with_a_choice() -> None:
    with pytest.raises(MarketDataError, match="no recording of 'DOGE': choose BTC-PERP"):
        dataset("DOGE")


def packed(tmp_path: Path, text: str) -> tuple[Path, str]:
    """Write a compressed recording; return its path and sha256."""
    path = tmp_path / "toy_1m.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_changed_recording_is_refused(tmp_path: Path) -> None:
    path, _ = packed(tmp_path, ",".join(HEADER) + "\n2024-01-01,1,1,1,1,1\n")
    with pytest.raises(MarketDataError, match=r"toy_1m\.csv\.gz is not the file that the manifest describes"):
        load(replace(info_of(2), sha256="0" * 64), path)


def test_missing_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match=r"toy_1m\.csv\.gz cannot be read"):
        load(info_of(2), tmp_path / "toy_1m.csv.gz")


def test_recording_that_is_not_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy_1m.csv.gz"
    path.write_text("timestamp")
    with pytest.raises(MarketDataError, match="cannot be read"):
        load(replace(info_of(2), sha256=hashlib.sha256(b"timestamp").hexdigest()), path)


def test_bad_row_in_a_recording_is_refused_with_file_and_line(tmp_path: Path) -> None:
    path, sha256 = packed(tmp_path, ",".join(HEADER) + "\n2024-01-01,1,1,1,1,1\n2024-01-02,1,1,1,2,1\n")
    with pytest.raises(MarketDataError, match=r"^toy_1m\.csv\.gz line 3: "):
        load(replace(info_of(2), sha256=sha256), path)


def test_recording_with_another_number_of_rows_is_refused() -> None:
    with pytest.raises(MarketDataError, match="1 rows instead of 2"):
        datasets.build(info_of(2), rows_of([("1", "1", "1", "1", "0")]))


@pytest.mark.parametrize("figures", [("1.001", "2", "1", "1", "0"), ("1", "2", "1", "1", "0.5")])
def test_more_digits_than_the_manifest_says_are_refused(figures: Figures) -> None:
    with pytest.raises(MarketDataError, match="digits after the point"):
        toy([figures, ("1", "1", "1", "1", "0")])


def test_shared_arrays_cannot_be_written() -> None:
    data = dataset("SPX")
    for array in (data.close, data.frame("1m").close, data.frame("5m").high):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@given(st.lists(bars(), min_size=2, max_size=17))
def test_resampled_candles_agree_with_a_slow_grouping(figures: list[Figures]) -> None:
    data = toy(figures)
    groups: dict[int, list[int]] = {}
    for index in range(len(figures)):
        groups.setdefault(int(data.opened_at[index]) // 300, []).append(index)
    frame = data.frame("5m")
    base = data.frame("1m")
    slow = [
        (
            group[0],
            base.open[group[0]],
            max(base.high[k] for k in group),
            min(base.low[k] for k in group),
            base.close[group[-1]],
            sum(base.volume[k] for k in group),
        )
        for group in groups.values()
    ]
    fast = list(zip(frame.first, frame.open, frame.high, frame.low, frame.close, frame.volume, strict=True))
    assert fast == slow


def test_unknown_timeframe_is_refused_with_a_choice() -> None:
    with pytest.raises(MarketDataError, match="SPY has no 1m candles on replay: choose 1d"):
        dataset("SPY").frame("1m")


def entries() -> list[dict[str, Any]]:
    """Return the shipped manifest as plain values."""
    loaded: list[dict[str, Any]] = json.loads((RECORDED_DIR / "manifest.json").read_text())
    return loaded


@pytest.mark.parametrize(
    "change",
    [
        {"tick_size": "0"},
        {"tick_size": "NaN"},
        {"bar_s": "-1"},
        {"lot_size": "one"},
        {"loop_first": 0},
        {"loop_last": 10**9},
        {"first_bar": "yesterday"},
        {"surprise": 1},
    ],
)
def test_wrong_manifest_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps([{**entries()[0], **change}]))
    with pytest.raises(MarketDataError, match=r"manifest\.json cannot be read"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_unreadable_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(MarketDataError, match=r"manifest\.json cannot be read"):
        read_manifest(path)
    with pytest.raises(MarketDataError, match=r"absent\.json cannot be read"):
        read_manifest(tmp_path / "absent.json")
