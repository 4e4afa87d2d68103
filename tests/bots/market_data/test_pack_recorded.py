"""The packing script: the same bytes each time, and never from a bad row."""

import gzip
import importlib.util
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from bots.market_data.csv_candles import CandleFileError
from bots.market_data.datasets import RECORDED_DIR

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "pack_recorded.py"
SOURCE = """timestamp,open,high,low,close,volume
2024-01-01T00:00:00Z,100.0,110.0,90.0,100.0,12345.678
2024-01-01T00:01:00Z,100.0,110.0,90.0,80.0,1
"""
GOOD = SOURCE.replace("80.0,1", "95.0,190")


@pytest.fixture
def script() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("pack_recorded", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack_recorded"] = module
    spec.loader.exec_module(module)
    return module


def recipe(script: ModuleType, **changes: object) -> object:
    """Return a recipe for source.csv."""
    settings: dict[str, object] = {
        "symbol": "TOY",
        "title": "Toy",
        "source": "source.csv",
        "timeframe": "1m",
        "origin": "made up",
        "tick_size": "0.01",
        "lot_size": "0.001",
        "quantity_min": "0.001",
        "half_spread_bps": "1",
        "fee_key": "kraken",
        "bar_s": "2",
        "loop": ("2024-01-01T00:01:00Z", "2024-01-01T00:01:00Z"),
        "price_digits": 1,
        "volume_digits": 4,
        "volume_in_usd": True,
    }
    return script.Recipe(**{**settings, **changes})


def test_packing_divides_a_volume_in_usd_by_the_close(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "source.csv").write_text(GOOD)
    entry = script.pack(recipe(script), tmp_path, tmp_path)
    lines = gzip.decompress((tmp_path / "toy_1m.csv.gz").read_bytes()).decode().splitlines()
    assert lines[1:] == ["2024-01-01T00:00:00Z,100,110,90,100,123.4568", "2024-01-01T00:01:00Z,100,110,90,95,2"]
    assert (entry["rows"], entry["loop_first"], entry["loop_last"]) == (2, 1, 1)
    assert Decimal(str(entry["notional_min"])) == 1


def test_packing_twice_gives_the_same_bytes(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "source.csv").write_text(GOOD)
    first = script.pack(recipe(script), tmp_path, tmp_path)
    packed = (tmp_path / "toy_1m.csv.gz").read_bytes()
    assert script.pack(recipe(script), tmp_path, tmp_path) == first
    assert (tmp_path / "toy_1m.csv.gz").read_bytes() == packed


def test_packing_a_bad_row_is_refused_with_file_and_line(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "source.csv").write_text(SOURCE)
    with pytest.raises(CandleFileError, match=r"^source\.csv line 3: "):
        script.pack(recipe(script), tmp_path, tmp_path)
    assert not (tmp_path / "toy_1m.csv.gz").exists()


@pytest.mark.parametrize(
    ("sources", "code", "complaint"), [((), 2, "SOURCE_DIR"), (("absent",), 1, "nothing was finished")]
)
def test_script_without_its_sources_fails_and_changes_nothing(
    sources: tuple[str, ...], code: int, complaint: str
) -> None:
    before = {path.name: path.read_bytes() for path in RECORDED_DIR.iterdir()}
    done = subprocess.run([sys.executable, str(SCRIPT), *sources], capture_output=True, text=True, check=False)
    assert (done.returncode, complaint in done.stderr) == (code, True)
    assert {path.name: path.read_bytes() for path in RECORDED_DIR.iterdir()} == before
