"""A fresh rehearsal becomes ready by doing what the command says, and no secret shows anywhere on the way.

The console is a real one, on SQLite, with a loopback Kraken. It starts badly set; each remedy is carried out as it is printed.
"""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from safety.readiness_values import EXPECTED
from tests.loopback.client import KrakenLoopback
from tests.loopback.discord import DiscordVenue
from tests.loopback.kraken import start_kraken
from tests.loopback.kraken.keys import TRADING_RIGHTS
from tests.loopback.server import LoopbackServer
from tests.loopback.smtp.server import SmtpServer
from tests.workers.conftest import wait_until
from tradingops.environment import VARIABLE_NAMES

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary7f3a"
ROUNDS_MAX = 6
PAGES = ("/admin/", "/admin/safety/", "/admin/setup/", "/admin/bots/bot/", "/admin/audit/operatorevent/", "/nowhere/")
#: Secrets as a person would set them; Kraken's own, Discord's and the mail server's come from the loopback ones.
SECRETS = {
    "WORKER_API_TOKEN": f"{CANARY}-token",
    "WORKER_API_TOKEN_PREVIOUS": f"{CANARY}-previous-token-of-enough-characters",
    "ALPACA_API_KEY_LIVE": f"{CANARY}-alpaca-live",
    "ALPACA_API_SECRET_LIVE": f"{CANARY}-alpaca-live-secret",
    "ALPACA_API_KEY_PAPER": f"{CANARY}-alpaca-paper",
    "ALPACA_API_SECRET_PAPER": f"{CANARY}-alpaca-paper-secret",
    "HEARTBEAT_URL": f"https://127.0.0.1/{CANARY}-heartbeat",
    "SECRET_KEY": f"{CANARY}-short",
}
#: What is wrong at the start, beside the token and the SECRET_KEY above, which are too short.
FAULTS = {
    "ALLOW_LIVE_TRADING": "yes",
    "ALLOWED_HOSTS": "*",
    "CSRF_TRUSTED_ORIGINS": "",
    "ALERT_EMAIL_TO": "ada@example.org",
}


class Console:
    """A console of its own, with everything that it has said."""

    def __init__(self, directory: Path, venue: KrakenLoopback, **more: str) -> None:
        self.directory, self.venue = directory, venue
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.settings = {
            **SECRETS,
            **FAULTS,
            **venue.environ(),
            **more,
            "HOST": "127.0.0.1",
            "PORT": self.url.rpartition(":")[2],
        }
        self.said, self.password = "", ""
        self._log = directory / "console.log"
        self._process: subprocess.Popen[bytes] | None = None

    def environ(self) -> dict[str, str]:
        """Return the environment of a process of this console: the settings are in its .env file."""
        file = self.directory / "env"
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLE_NAMES}
        own = {"TRADINGOPS_ENV_FILE": str(file), "TRADINGOPS_VAR_DIR": str(self.directory / "var")}
        return {**inherited, **own, "DJANGO_SETTINGS_MODULE": "tradingops.settings"}

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed to its standard output."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environ(), capture_output=True, text=True, timeout=120)
        self.said += done.stdout + done.stderr
        return done.returncode, done.stdout

    def start(self) -> None:
        code, printed = self.manage("prepare")
        assert code == 0, self.said
        if found := re.search(r"password: +(\S+)", printed):
            self.password = found[1]
        with self._log.open("a") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tradingops.processes"],
                cwd=ROOT,
                env=self.environ(),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        wait_until(self.is_healthy, 60, "the console is healthy")

    def is_healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=20)

    def verify(self) -> tuple[int, dict[str, Any]]:
        """Ask whether it is ready; return the exit code and what --json says."""
        code, printed = self.manage("verify_live_ready", "--json")
        return code, json.loads(printed)

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def dump(self) -> str:
        """Return the whole database as text."""
        with closing(sqlite3.connect(self.directory / "var" / "tradingops.sqlite3")) as database:
            return "\n".join(database.iterdump())

    def pages(self) -> str:
        """Return some pages as a signed-in person sees them, and as a stranger does."""
        seen = [requests.get(self.url + page, timeout=30).text for page in PAGES]
        with requests.Session() as session:
            login = f"{self.url}/admin/login/"
            session.get(login, timeout=30)
            form = {
                "username": "admin",
                "password": self.password,
                "csrfmiddlewaretoken": session.cookies["rehearsal_csrftoken"],
            }
            assert session.post(login, data=form, timeout=30).url.startswith(f"{self.url}/admin/")
            seen += [session.get(self.url + page, timeout=30).text for page in PAGES]
        return "\n".join(seen)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """Return a console that is badly set and not started yet."""
    webhook = DiscordVenue()
    webhook.token = f"{CANARY}-discord"
    mail = SmtpServer(user="user", password=f"{CANARY}-mail")
    with start_kraken() as server, LoopbackServer(webhook).start() as discord, mail:
        venue = KrakenLoopback(server.url)
        venue.set_rights(*TRADING_RIGHTS, "withdraw-funds")
        alerts = {"DISCORD_WEBHOOK_URL": discord.url + webhook.path, "EMAIL_URL": mail.url}
        console = Console(tmp_path, venue, **alerts)
        try:
            yield console
        finally:
            console.stop()
            sys.stdout.write(console.log[-6000:])  # shown when the test failed


def carry_out(console: Console, remedy: str) -> None:
    """Do what a remedy says, by its words alone."""
    if found := re.search(r"Put the output of (.+?) into (\w+) in \.env", remedy):
        command = [sys.executable, *shlex.split(found[1])[1:]]
        console.settings[found[2]] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    elif found := re.search(r"Set (\w+)=(\w+) in \.env", remedy):
        console.settings[found[1]] = found[2]
    elif found := re.search(r"Set (\w+) to 1 or to 0 in \.env", remedy):
        console.settings[found[1]] = "1"
    elif "names by which browsers reach the console into ALLOWED_HOSTS" in remedy:
        console.settings["ALLOWED_HOSTS"] = "127.0.0.1"
    elif "make a key without the right to withdraw" in remedy:
        console.venue.set_rights(*TRADING_RIGHTS)
    elif found := re.search(r"Send a test message: .* manage\.py (\w+) (--[\w-]+)", remedy):
        console.manage(found[1], found[2])
    else:
        assert remedy.startswith(("Wait", "Start the console", "Start the workers", "Stop every process")), remedy


def test_remedies_lead_to_ready_and_no_secret_is_ever_shown(console: Console) -> None:
    console.start()
    rounds: list[set[str]] = []
    code, found = console.verify()
    while code != 0 and len(rounds) < ROUNDS_MAX:
        rounds.append({blocker["id"] for blocker in found["blockers"]})
        for blocker in found["blockers"]:
            carry_out(console, blocker["remedy"])
        console.stop()
        console.start()
        code, found = until_settled(console.verify)
    assert (code, found["live_ready"], found["blockers"]) == (0, True, []), found["blockers"]
    assert {one["id"] for one in found["findings"]} == set(EXPECTED)
    wrong = {
        "gates_agree",
        "secret_key",
        "allowed_hosts",
        "token_where_exposed",
        "venue_no_withdrawal",
        "alert_delivered",
    }
    assert wrong <= rounds[0], rounds
    code, table = console.manage("verify_live_ready", "--strict")
    assert code == 1, table
    code, table = console.manage("verify_live_ready")
    assert (code, "READY" in table, "\033[" in table) == (0, True, False)
    check_no_secret_is_shown(console)


def until_settled(verify: Callable[[], tuple[int, dict[str, Any]]]) -> tuple[int, dict[str, Any]]:
    """Ask again for a while after a start, as a person does: processes of the last start are heard of for half a minute."""
    ends_s = time.monotonic() + 60
    code, found = verify()
    while time.monotonic() < ends_s and {one["id"] for one in found["blockers"]} & {"gates_agree", "workers_alive"}:
        time.sleep(2)
        code, found = verify()
    return code, found


def check_no_secret_is_shown(console: Console) -> None:
    """Look for every secret that was ever set in all that can be read."""
    secrets = {
        CANARY,
        console.venue.key,
        console.venue.secret,
        console.settings["SECRET_KEY"],
        console.settings["WORKER_API_TOKEN"],
    }
    places = {
        "commands": console.said,
        "log": console.log,
        "database": console.dump(),
        "pages": console.pages(),
        "health": requests.get(f"{console.url}/api/health", timeout=10).text,
    }
    shown = [(where, secret[:10]) for where, text in places.items() for secret in secrets if secret in text]
    assert shown == []
