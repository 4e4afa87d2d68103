"""Where a rehearsal lives: its ports, its files, and the environment of its console, in which nothing real is left."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tradingops.environment import VARIABLE_NAMES

PROJECT = Path(__file__).resolve().parents[3]
FIRST_PORT = 8010
HOST = "127.0.0.1"
#: What a person may still choose; every other variable is the rehearsal's own, so that no real key and no real address is used.
KEPT = frozenset({"HOST", "PORT", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "WORKER_API_TOKEN"})


@dataclass(frozen=True)
class Ports:
    """One port each, in a row: where they are does not change between two rehearsals."""

    console: int
    page: int
    kraken: int
    alpaca_live: int
    alpaca_paper: int
    alpaca_data: int
    discord: int

    @classmethod
    def from_first(cls, first: int) -> "Ports":
        return cls(*range(first, first + 7))


@dataclass(frozen=True)
class Places:
    """The rehearsal's files below one folder."""

    var: Path

    @property
    def database(self) -> Path:
        return self.var / "rehearsal.sqlite3"

    @property
    def venues(self) -> Path:
        return self.var / "rehearsal-venues.bin"

    @property
    def console(self) -> Path:
        """Return the folder for what the console writes beside its database: the kill file, the anchors."""
        return self.var / "rehearsal"

    @property
    def env_file(self) -> Path:
        """Return the console's own .env, which management commands read as well."""
        return self.console / "console.env"

    def forget(self) -> None:
        """Remove everything that rehearsals left: books, venues, anchors. Nothing of the real console is here."""
        for path in self.var.glob("rehearsal.sqlite3*"):
            path.unlink()
        self.venues.unlink(missing_ok=True)
        shutil.rmtree(self.console, ignore_errors=True)

    def problem(self) -> str:
        """Return why books and venues do not belong together, or an empty text."""
        if self.database.exists() == self.venues.exists():
            return ""
        gone, left = ("venues", "database") if self.database.exists() else ("database", "venues")
        return (
            f"The last rehearsal's {left} is there ({self.var}), and its {gone} gone: their books would not agree."
            " Begin anew with: make rehearse FRESH=1"
        )


def console_variables(
    places: Places, ports: Ports, venues: Mapping[str, str], real: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of the rehearsal's console: the venues' addresses and keys, both gates open, a database of its own."""
    places.console.mkdir(parents=True, exist_ok=True)
    return {
        "HOST": HOST,
        **{name: value for name, value in real.items() if name in KEPT},
        **venues,
        "PORT": str(ports.console),
        "ALLOW_LIVE_TRADING": "1",
        "LIVE_TRADING_ENABLED": "1",
        "KILL_SWITCH": "0",
        "SECRET_KEY": _secret_key(places.console / "secret_key"),
        "DATABASE_URL": f"sqlite:////{str(places.database).lstrip('/')}",
    }


def write_env_file(places: Places, variables: Mapping[str, str]) -> None:
    """Write the variables where the console, and every command about it, reads them."""
    places.env_file.touch(mode=0o600)
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    places.env_file.write_text("".join(lines), encoding="utf-8")


def process_environ(places: Places, real: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process of the rehearsal's console: nothing but its own file tells it what to use."""
    return {
        **{name: value for name, value in real.items() if name not in VARIABLE_NAMES},
        "TRADINGOPS_VAR_DIR": str(places.console),
        "TRADINGOPS_ENV_FILE": str(places.env_file),
    }


def _secret_key(file: Path) -> str:
    """Return the rehearsal's own key, made at the first start: sign-ins outlast a restart."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(48), encoding="ascii")
    return file.read_text(encoding="ascii")
