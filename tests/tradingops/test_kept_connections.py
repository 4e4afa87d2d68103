"""A thread of the web server keeps its connection from one request to the next, and tells what is there now all the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from safety.intents import Level
from safety.models import TradingState
from tests.conftest import CommittedDatabase, on_sqlite
from tests.tradingops.test_api import worker_seen

PROJECT = Path(__file__).resolve().parents[2]
#: Asks the health check in one thread, as gunicorn does: once for each line that comes, which it prints with the answer.
SERVER = """
import json, sys
from django.db.backends.signals import connection_created
from tradingops.wsgi import application
opened = []
connection_created.connect(lambda **_: opened.append(1), weak=False)
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/health", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80",
           "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer, "wsgi.errors": sys.stderr}
for _ in sys.stdin:
    answer = application(dict(environ), lambda status, headers: None)
    told = json.loads(b"".join(answer))
    answer.close()
    print(told["status"], told["database"], told["trading_state"], len(opened), flush=True)
"""


class Console:
    """A process that answers by the console's own WSGI application."""

    def __init__(self, database: CommittedDatabase) -> None:
        environ = database.environ(ALLOWED_HOSTS="127.0.0.1")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=PROJECT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def ask(self) -> list[str]:
        """Return the status, the database, the trading state and how many connections were opened so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()


@pytest.fixture
def console(committed_db: CommittedDatabase) -> Iterator[Console]:
    worker_seen(age_s=0)
    connection.close()
    started = Console(committed_db)
    yield started
    started.process.kill()
    started.process.communicate(timeout=10)


def test_requests_share_a_connection_and_each_tells_what_stands_there_now(console: Console) -> None:
    assert [console.ask() for _ in range(3)] == [["ok", "ok", "active", "1"]] * 3
    TradingState.objects.filter(scope="global").update(level=Level.HALTED)
    assert console.ask() == ["ok", "ok", "halted", "1"]


def test_file_that_is_gone_is_told_at_once_and_so_is_one_that_came_in_its_place(
    console: Console, committed_db: CommittedDatabase
) -> None:
    if not on_sqlite():
        pytest.skip("a server's database is no file")
    assert console.ask()[:2] == ["ok", "ok"]
    aside = f"{committed_db.name}.aside"
    os.rename(committed_db.name, aside)
    assert console.ask()[:3] == ["unhealthy", "down", "halted"]
    os.rename(aside, committed_db.name)
    assert console.ask()[:3] == ["ok", "ok", "active"]
