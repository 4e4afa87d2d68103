"""What the documents tell to type works as it stands, against a console as gunicorn serves it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bots.models import Bot, Order
from safety.models import TradingState
from tests.conftest import CommittedDatabase
from tests.tradingops.api.served import TOKEN, Served, serve
from tests.workers.conftest import ROOT

CLIENT = ROOT / "docs" / "example_client.py"
BLOCK = re.compile(r"```sh\n(curl.*?)```", re.DOTALL)
ROW = re.compile(r"`(curl [^`]*)`")
pytestmark = [pytest.mark.slow, pytest.mark.any_database, pytest.mark.timeout(240)]


@pytest.fixture
def served(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Served]:
    with serve(committed_db, tmp_path / "gunicorn.log") as found:
        yield found


def curls() -> list[str]:
    """Return every curl command of the README and the runbook."""
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed: the README's lines could not be tried")
    (block,) = BLOCK.findall((ROOT / "README.md").read_text())
    lines = block.replace("\\\n", " ").splitlines()
    return [*lines, *ROW.findall((ROOT / "docs" / "runbook.md").read_text())]


def test_example_client_trades_on_paper_as_it_stands(served: Served) -> None:
    told = subprocess.run(
        [sys.executable, CLIENT, served.url],
        env={**os.environ, "TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert re.search(r"buy: filled, 0\.002 at \d+", told.stdout)
    assert re.search(r"sell: filled, 0\.002 at \d+", told.stdout)
    assert "P&L: {'realised': '" in told.stdout
    bot = Bot.objects.get()
    assert bot.dry_run
    assert list(Order.objects.order_by("id").values_list("side", "status", "is_live")) == [
        ("buy", "filled", False),
        ("sell", "filled", False),
    ]


def test_example_client_says_in_a_line_what_is_wrong(served: Served) -> None:
    told = subprocess.run(
        [sys.executable, CLIENT, served.url],
        env={**os.environ, "TOKEN": "x" * 40},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("RuntimeError: A valid bearer token")


def test_example_client_is_short() -> None:
    assert len(CLIENT.read_text().splitlines()) <= 60


def test_curl_lines_do_what_they_say(served: Served) -> None:
    commands = curls()
    assert len(commands) == 6
    variables = {"URL": served.url, "TOKEN": TOKEN, "WORKER_API_TOKEN": TOKEN, "PATH": os.environ["PATH"]}
    for command in commands:
        told = subprocess.run(
            ["bash", "-c", command], env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        answer = json.loads(told.stdout)
        assert (told.returncode, "code" in answer) == (0, False), (command, answer)
    assert TradingState.objects.get(scope="global").level == "halted"
