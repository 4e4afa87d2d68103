"""schemathesis against the real web server: no 500, and no answer that its schema does not tell of, whoever asks.

Every check it has, its stateful links, a right token, a wrong one and none. What it found is told with its seed, which
SCHEMA_SEED repeats; SCHEMA_EXAMPLES (5) asks for more. /api/stream is left out, since it does not end: test_stream.py has it.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bots.models import Bot, Order
from safety.models import KillRun
from tests.bots.builders import make_bot
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_everything
from tests.tradingops.api.served import BEARER, TOKEN, Served, serve

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))
SEED = os.environ.get("SCHEMA_SEED") or str(random.SystemRandom().randrange(2**31))
WITHIN_S = 120 + 60 * EXAMPLES
pytestmark = [
    pytest.mark.workers,
    pytest.mark.slow,
    pytest.mark.timeout(2 * WITHIN_S),
    pytest.mark.skipif(sys.platform == "win32", reason="gunicorn"),
]
CONFIG = Path(__file__).with_name("schemathesis.toml")
STREAM, KILL_SWITCH = "/api/stream", "/api/safety/kill-switch"
#: A wrong token costs its address more and more: that answer is told of, too, but is not the 401 that this check waits for. Who
#: gets in is what the runs without a right token are for.
THROTTLED = "ignored_auth"


class Run:
    """One run of schemathesis, and what was asked and answered in it."""

    def __init__(self, console: Served, directory: Path, *arguments: str) -> None:
        har = directory / "answers.har"
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{console.url}/api/openapi.json",
            "--checks", "all", "--exclude-checks", THROTTLED, "--exclude-path", STREAM, "--seed", SEED, "--no-color",
            "--max-examples", str(EXAMPLES), "--continue-on-failure", "--report", "har", "--report-har-path", str(har),
            *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        self.said = f"seed {SEED}\n{done.stdout}\n{done.stderr}"
        sys.stdout.write(self.said)  # shown when the test fails
        assert done.returncode == 0, self.said[-6000:]
        self.entries: list[dict[str, Any]] = json.loads(har.read_text())["log"]["entries"]

    def statuses(self) -> set[int]:
        """Return what was answered where a caller is asked for."""
        return {
            one["response"]["status"]
            for one in self.entries
            if not re.search(r"/api/(health|openapi\.json)", one["request"]["url"])
        }

    def done(self) -> set[str]:
        """Return the endpoints that did what they were asked for, as ``POST /api/bots``."""
        found = [one["request"] for one in self.entries if 200 <= one["response"]["status"] < 300]
        return {f"{one['method']} {urlsplit(one['url']).path}" for one in found}


@pytest.fixture
def console(committed_db: CommittedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Return a running console with a few paper bots, where nobody asks too often."""
    for number in range(3):
        make_bot(f"bot {number}", symbol="SPY")
    for name in ("API_REQUESTS_PER_MINUTE", "API_WRITES_PER_MINUTE"):
        monkeypatch.setenv(name, "1000000")
    with serve(committed_db, tmp_path / "console.log") as running:
        yield running
        said = running.log_path.read_text()
        assert "Internal Server Error" not in said
        assert TOKEN not in said


def test_every_answer_to_a_right_token_is_one_that_the_schema_tells_of(console: Served, tmp_path: Path) -> None:
    found = Run(console, tmp_path, "--exclude-path", KILL_SWITCH, "-H", f"Authorization: {BEARER['Authorization']}")
    # It came through to what the endpoints do, and was not refused everywhere.
    assert {
        "POST /api/bots",
        "GET /api/bots",
        "GET /api/bots/1",
        "GET /api/orders",
        "GET /api/order-events",
    } <= found.done()
    # Nothing that was asked for could make a bot trade with real money where no lock is open, or break the books.
    assert not Order.objects.filter(is_live=True).exclude(status="denied").exists()
    check_everything()


@pytest.mark.any_database
def test_every_answer_of_the_kill_switch_is_one_that_the_schema_tells_of(console: Served, tmp_path: Path) -> None:
    alone = ["--include-path", KILL_SWITCH, "--phases", "examples,coverage,fuzzing"]
    found = Run(console, tmp_path, *alone, "-H", f"Authorization: {BEARER['Authorization']}")
    assert f"POST {KILL_SWITCH}" in found.done()
    assert KillRun.objects.exists()


@pytest.mark.any_database
@pytest.mark.parametrize("given", [["-H", f"Authorization: Bearer {'w' * 40}"], []], ids=["a wrong token", "no token"])
def test_without_a_right_token_nothing_is_done_and_the_schema_tells_of_every_answer(
    console: Served, tmp_path: Path, given: list[str]
) -> None:
    found = Run(console, tmp_path, "--phases", "examples,fuzzing", *given)
    assert 401 in found.statuses()
    assert min(found.statuses()) >= 400
    assert Bot.objects.count() == 3
    assert not Order.objects.exists()
    assert not KillRun.objects.exists()
