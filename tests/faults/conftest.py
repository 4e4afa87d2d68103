"""A nursery of processes to kill, on a throw-away database."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bots.workers.leases import free_leases_of
from tests.bots.builders import floor
from tests.conftest import CommittedDatabase
from tests.faults.killer import STOPPED

__all__ = ["floor"]

ROOT = Path(__file__).resolve().parents[2]
SIGKILLED = -9
LEASE_LOST = 3


class Nursery:
    """Starts processes that tick, and tells how each ended."""

    def __init__(self) -> None:
        environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tradingops.settings"}
        self.database = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killer"],
            cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._victims = 0
        assert self._answer() == "ready"

    def run(self, do: str, bots: list[int], **options: Any) -> Any:
        """Have a process do this and return its exit code, or minus the signal that killed it."""
        status = self._start(do, bots, **options)["status"]
        assert status != STOPPED
        # As the workers' parent does: what surely died gives its leases back.
        free_leases_of([self._holder])
        return status

    def freeze(self, do: str, bots: list[int], *, point: str, due_at: str) -> int:
        """Have a process do this and freeze at ``point``; return its id."""
        answer = self._start(do, bots, point=point, due_at=due_at, signal="SIGSTOP")
        assert answer["status"] == STOPPED
        return int(answer["pid"])

    def thaw(self, pid: int) -> Any:
        """Let a frozen process go on; return its exit code."""
        return self._ask({"do": "thaw", "pid": pid})["status"]

    @property
    def _holder(self) -> str:
        return f"victim-{self._victims}"

    def _start(self, do: str, bots: list[int], **options: Any) -> dict[str, Any]:
        self._victims += 1
        return self._ask({"do": do, "bots": bots, "holder": self._holder, "database": self.database, **options})

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        self._send(command)
        answer: dict[str, Any] = self._answer()
        return answer

    def end(self) -> None:
        """Let the process end by closing its input."""
        self._process.communicate(timeout=10)

    def _send(self, command: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the nursery has no input")
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        if self._process.stdout is None:
            raise RuntimeError("the nursery has no output")
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def _nursery() -> Iterator[Nursery]:
    """Start one nursery for all tests: importing the console takes seconds."""
    nursery = Nursery()
    yield nursery
    nursery.end()


@pytest.fixture
def nursery(committed_db: CommittedDatabase, _nursery: Nursery) -> Nursery:
    """Return the nursery, its processes on this test's own database."""
    _nursery.database = committed_db.name
    return _nursery
