"""The whole console for a while: web, both clusters and 50 bots on one database, and nobody is told that it is locked.

A minute in CI, a quarter of one elsewhere. The hour was run by hand: see docs/long-runs.md.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.utils import timezone

from audit.models import OrderEvent
from audit.verify import verify_chains
from bots import manager
from bots.models import Bot, BotTick, EquitySnapshot
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_everything
from tests.workers.conftest import wait_until

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
BOTS = 50
LOAD_S = 60 if "CI" in os.environ else 15
PASSWORD = "only-for-this-test-1"
PAGES = ("/admin/", "/admin/bots/bot/", "/admin/bots/order/", "/admin/audit/orderevent/", "/admin/bots/position/")
STRATEGIES = ("smart_dca", "sma_cross", "rsi_reversion", "breakout")
SYMBOLS = ("BTC-PERP", "SPX", "SPY", "AAPL")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start_bots() -> None:
    """Make and start the bots, spread over strategies and symbols."""
    for number in range(BOTS):
        new = manager.NewBot(
            name=f"bot {number}",
            venue="replay",
            symbol=SYMBOLS[number // 4 % 4],
            strategy=STRATEGIES[number % 4],
            capital_usd=Decimal(1000),
            params={},
            poll_seconds=5,
        )
        manager.start(manager.create(new, actor="test").pk, actor="test")


class Console:
    """The console's processes, their words in one file, and a browser's session."""

    def __init__(self, database: CommittedDatabase, log: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = log
        environ = database.environ(PORT=self.url.rpartition(":")[2], HOST="127.0.0.1", ALLOWED_HOSTS="127.0.0.1")
        commands = (["-m", "gunicorn", "-c", "gunicorn.conf.py"], ["manage.py", "qcluster"])
        with log.open("w") as stream:
            self.processes = [
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env=environ,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
                for command in commands
            ]
        self._session = requests.Session()

    @property
    def log(self) -> str:
        """Return what all processes have said so far."""
        return self._log.read_text()

    def is_healthy(self) -> bool:
        """Return whether the console says that it is well."""
        try:
            return self._session.get(f"{self.url}/api/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def sign_in(self) -> None:
        """Sign in as a person does."""
        page = f"{self.url}/admin/login/"
        self._session.get(page, timeout=20)
        form = {"username": "load", "password": PASSWORD, "csrfmiddlewaretoken": self._session.cookies["csrftoken"]}
        assert self._session.post(page, data=form, timeout=20).status_code == 200

    def look(self, page: str) -> tuple[int, str]:
        """Return the status of a page and where it ended up."""
        answer = self._session.get(self.url + page, timeout=30)
        return answer.status_code, answer.url.removeprefix(self.url)

    def stop(self) -> None:
        """End everything."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=15)


@pytest.fixture
def console(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Console]:
    """Return a running console with its bots and a user."""
    # Hashed as the console does it: the tests' own quick hash is unknown there.
    user = User(username="load", is_staff=True, is_superuser=True)
    hasher = PBKDF2PasswordHasher()
    user.password = hasher.encode(PASSWORD, hasher.salt())
    user.save()
    start_bots()
    console = Console(committed_db, tmp_path / "console.log")
    try:
        yield console
    finally:
        console.stop()
        sys.stdout.write(console.log[-8000:])  # shown when the test failed


def test_nobody_is_told_that_the_database_is_locked(console: Console) -> None:
    wait_until(console.is_healthy, 60, "the console is healthy")
    console.sign_in()
    ends_s = time.monotonic() + LOAD_S
    while time.monotonic() < ends_s:
        for page in PAGES:
            assert console.look(page) == (200, page)
        time.sleep(0.2)
    assert console.is_healthy()
    assert not re.findall(r".*(?:locked|Traceback|ERROR).*", console.log)
    # Every bot has ticked within the last three polls, orders were filled, and the books agree with the audit.
    late = BotTick.objects.exclude(ticked_at__gt=timezone.now() - timedelta(seconds=15))
    assert (list(late), BotTick.objects.count()) == ([], BOTS)
    assert set(Bot.objects.values_list("status", flat=True)) == {"running"}
    assert OrderEvent.objects.filter(event="filled").exists()
    assert EquitySnapshot.objects.exists()
    console.stop()
    assert all(report.intact for report in verify_chains())
    check_everything()
