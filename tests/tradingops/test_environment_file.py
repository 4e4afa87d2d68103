"""The .env file: who wins, and lines that must not be passed over in silence."""

import os
from pathlib import Path

import pytest

from tests.tradingops.test_environment import BASE_DIR, SECRET, VAR_DIR, load, problems_of
from tradingops.environment import EnvironmentProblem, load_environment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_file_is_read_and_named_as_the_source(file: Path) -> None:
    file.write_text("# comment\n\nPORT=9000\nexport HOST='0.0.0.0'\nKRAKEN_API_KEY=\"quoted\"\n")
    environment = load(file)
    assert (environment.port, environment.host, environment.kraken_api_key) == (9000, "0.0.0.0", "quoted")
    assert environment.sources["PORT"] == ".env"


def test_real_variable_wins(file: Path) -> None:
    file.write_text("PORT=9000\n")
    environment = load(file, PORT="9001")
    assert (environment.port, environment.sources["PORT"]) == (9001, "environment")


def test_blank_real_variable_closes_a_gate_that_the_file_opens(file: Path) -> None:
    file.write_text("ALLOW_LIVE_TRADING=1\n")
    assert load(file).allow_live_trading.is_open
    assert not load(file, ALLOW_LIVE_TRADING="").allow_live_trading.is_open


def test_the_process_environment_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEARTBEAT_URL", raising=False)
    file.write_text("HEARTBEAT_URL=https://beat.example.org/id\n")
    load(file)
    assert "HEARTBEAT_URL" not in os.environ


def test_no_file_is_fine(file: Path) -> None:
    assert load(file).port == 8000


@pytest.mark.parametrize(
    "line", ["KILL_SWITCH = 1", " KILL_SWITCH=1", "KILL_SWITCH: 1", "KILL_SWITCH", "KILL-SWITCH=1"]
)
def test_line_that_would_be_skipped_stops_the_start(file: Path, line: str) -> None:
    file.write_text(f"PORT=9000\n{line}\n")
    [problem] = problems_of(file)
    assert problem.startswith(".env, line 2: ")


def test_name_set_twice_stops_the_start(file: Path) -> None:
    file.write_text("KILL_SWITCH=1\nKILL_SWITCH=0\n")
    assert problems_of(file) == [".env, line 2: KILL_SWITCH is set a second time"]


def test_misspelt_name_stops_the_start_and_names_the_right_one(file: Path) -> None:
    file.write_text("KILL_SWICH=1\n")
    assert problems_of(file) == [".env, line 1: KILL_SWICH is not known; KILL_SWITCH is"]


def test_other_programs_variables_may_be_there(file: Path) -> None:
    file.write_text("TZ=UTC\nCOMPOSE_PROJECT_NAME=desk\n")
    assert load(file).port == 8000


def test_file_that_is_not_text_stops_the_start(file: Path) -> None:
    file.write_bytes(b"SECRET_KEY=\xff\xfe\n")
    assert problems_of(file) == [".env: it cannot be read (UnicodeDecodeError)"]


def test_directory_in_its_place_stops_the_start(file: Path) -> None:
    file.mkdir()
    assert problems_of(file) == [".env: it cannot be read (IsADirectoryError)"]


def test_problem_in_the_file_names_the_file_and_no_value(file: Path) -> None:
    file.write_text("DATABASE_URL=mysql://root:hunter2@db/x\n")
    with pytest.raises(EnvironmentProblem) as caught:
        load(file)
    assert "DATABASE_URL (.env)" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_file_is_found_by_its_variable_or_in_the_project(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n")
    other = tmp_path / "other.env"
    other.write_text("PORT=9001\n")
    real = {"SECRET_KEY": SECRET}
    assert load_environment(tmp_path, VAR_DIR, real).port == 9000
    assert load_environment(BASE_DIR, VAR_DIR, {**real, "TRADINGOPS_ENV_FILE": str(other)}).port == 9001
