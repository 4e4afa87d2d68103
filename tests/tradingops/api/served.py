"""The console as gunicorn serves it, on a test's own database."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.conftest import CommittedDatabase
from tests.workers.conftest import ROOT, wait_until
from tests.workers.test_console_under_load import free_port

TOKEN = "t" * 40
BEARER = {"Authorization": f"Bearer {TOKEN}"}
START_S = 60
#: What Ctrl-C promises.
STOP_S = 10


class Served:
    """A running gunicorn."""

    def __init__(self, database: CommittedDatabase, log: Path) -> None:
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log
        environ = database.environ(PORT=port, HOST="127.0.0.1", ALLOWED_HOSTS="127.0.0.1", WORKER_API_TOKEN=TOKEN)
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"],
                cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def answers(self) -> bool:
        """Return whether it answers at all."""
        try:
            return requests.get(f"{self.url}/api/health", timeout=5).status_code in (200, 503)
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """Ask it to stop, and wait. Fails the test when that takes longer than promised."""
        self.process.terminate()
        self.process.wait(STOP_S)


@contextmanager
def serve(database: CommittedDatabase, log: Path) -> Iterator[Served]:
    """Serve the console; whatever happens, nothing of it is left behind."""
    served = Served(database, log)
    try:
        wait_until(served.answers, START_S, "the console to answer")
        yield served
    finally:
        if served.process.poll() is None:
            os.killpg(served.process.pid, signal.SIGKILL)
            served.process.wait(STOP_S)
