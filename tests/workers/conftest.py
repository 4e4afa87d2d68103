"""Real clusters on a throw-away database, and eyes to see every process of theirs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.conftest import CommittedDatabase
from tests.workers.ticks import BOTS, TickNote, create_table

ROOT = Path(__file__).resolve().parents[2]
#: Marks every process of one cluster: children inherit it, whoever their parent is by now.
MARK = "TRADINGOPS_TEST_CLUSTER"


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until the condition holds; return the seconds it took. Fails the test after ``timeout_s``."""
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > timeout_s:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)
    return time.monotonic() - started_s


@dataclass(frozen=True)
class Child:
    """One process of a cluster. ``role`` is the name that the process gave itself, such as ``q2-runners``."""

    pid: int
    role: str


class ClusterUnderTest:
    """One ``manage.py qcluster`` in a process group of its own."""

    def __init__(self, database: CommittedDatabase, log: Path, arguments: tuple[str, ...], **extra: str) -> None:
        self._mark = uuid4().hex
        self.log_path = log
        environ = database.environ(**{"DJANGO_SETTINGS_MODULE": "tests.workers.settings", MARK: self._mark}, **extra)
        with log.open("w") as stream:
            self.main = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster", *arguments],
                cwd=ROOT, env=environ, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        """Return what the cluster has said so far."""
        return self.log_path.read_text()

    def children(self, role: str = "") -> list[Child]:
        """Return every living process of this cluster but the main one, in or out of its process group."""
        found = []
        for directory in Path("/proc").iterdir():
            if not directory.name.isdigit() or int(directory.name) == self.main.pid:
                continue
            try:
                if f"{MARK}={self._mark}".encode() not in (directory / "environ").read_bytes().split(b"\0"):
                    continue
                stat = (directory / "stat").read_text()
            except OSError:
                continue
            match = re.match(r"\d+ \((.*)\) (\S)", stat)
            if match and match[2] not in "ZX" and role in ("", match[1]):
                found.append(Child(int(directory.name), match[1]))
        return sorted(found, key=lambda child: child.pid)

    def pids(self, role: str) -> list[int]:
        """Return the ids of the processes with this role."""
        return [child.pid for child in self.children(role)]

    def stop(self, signum: int, *, group: bool) -> float:
        """Signal the main process or its whole group; return the seconds until no process is left."""
        started_s = time.monotonic()
        (os.killpg if group else os.kill)(self.main.pid, signum)
        self.main.wait(timeout=15)
        wait_until(lambda: not self.children(), 5, "no process is left")
        return time.monotonic() - started_s

    def end(self) -> None:
        """Kill whatever is left."""
        if self.main.poll() is None:
            self.main.kill()
            self.main.wait()
        for child in self.children():
            os.kill(child.pid, signal.SIGKILL)


class Ground:
    """A database with the tick table, on which clusters can be started."""

    def __init__(self, database: CommittedDatabase, directory: Path) -> None:
        self.database = database
        self._directory = directory
        self.clusters: list[ClusterUnderTest] = []

    def start(self, *arguments: str, **extra: str) -> ClusterUnderTest:
        """Start a cluster command with these arguments and extra environment."""
        log = self._directory / f"cluster-{len(self.clusters)}.log"
        self.clusters.append(ClusterUnderTest(self.database, log, arguments, **extra))
        return self.clusters[-1]

    def bots_ticked_since(self, since: datetime) -> set[int]:
        """Return the bots with a tick that was written after ``since``."""
        return set(TickNote.objects.filter(ticked_at__gt=since).values_list("bot_id", flat=True))

    def wait_for_all_bots(self, timeout_s: float = 10.0) -> float:
        """Wait until every bot has ticked from now on; return the seconds that took."""
        since = timezone.now()
        return wait_until(lambda: len(self.bots_ticked_since(since)) == BOTS, timeout_s, "every bot ticks")

    def check_no_double_tick_was_tried(self) -> None:
        """Fail when any cluster tried to write a tick twice (the table refused it)."""
        for cluster in self.clusters:
            assert "tick_notes" not in cluster.log, cluster.log


@pytest.fixture
def ground(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Ground]:
    """Return a ground for real clusters; whatever is left of them is killed afterwards."""
    if sys.platform != "linux":
        pytest.skip("finds the processes in /proc, which only Linux has")
    create_table()
    ground = Ground(committed_db, tmp_path)
    yield ground
    for cluster in ground.clusters:
        cluster.end()
        sys.stdout.write(cluster.log[-8000:])  # shown when the test failed
