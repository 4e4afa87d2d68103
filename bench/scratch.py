"""Throw-away databases for the benchmarks: made, migrated and dropped here."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
SERVER_VARIABLE = "BENCH_POSTGRES_URL"
USUAL_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True, slots=True)
class Scratch:
    """One migrated database, and the environment that processes use it with."""

    vendor: str
    url: str
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run ``python ARGUMENTS`` against this database and return what it prints. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment, cwd=ROOT, check=True, capture_output=True, text=True
        )
        return done.stdout


@contextmanager
def scratch_sqlite() -> Iterator[Scratch]:
    """Give a migrated SQLite database, deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tradingops-bench-"))
    try:
        yield _migrated("sqlite", f"sqlite:///{folder / 'bench.sqlite3'}", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_postgres() -> Iterator[Scratch]:
    """Give a migrated PostgreSQL database, dropped afterwards. Raises psycopg.OperationalError where no server answers.

    The server is the one in BENCH_POSTGRES_URL, or the usual one on this machine.
    """
    server = os.environ.get(SERVER_VARIABLE, USUAL_SERVER)
    name = f"tradingops_bench_{secrets.token_hex(4)}"
    folder = Path(tempfile.mkdtemp(prefix="tradingops-bench-"))
    _administer(server, f"CREATE DATABASE {name}")
    try:
        yield _migrated("postgres", f"{server.rpartition('/')[0]}/{name}", folder)
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")
        shutil.rmtree(folder, ignore_errors=True)


def _administer(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


def _migrated(vendor: str, url: str, folder: Path) -> Scratch:
    environment = os.environ | {
        "DATABASE_URL": url,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "TRADINGOPS_VAR_DIR": str(folder),
        "TRADINGOPS_ENV_FILE": str(folder / "none.env"),
        "DJANGO_SETTINGS_MODULE": "tradingops.settings",
        "KILL_SWITCH": "0",
    }
    scratch = Scratch(vendor, url, environment)
    scratch.run("manage.py", "migrate", "--verbosity", "0")
    return scratch
