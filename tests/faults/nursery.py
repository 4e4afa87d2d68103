"""The pytest side of tests/faults/killer.py: starts processes, kills and freezes them, and tells how each ended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bots.workers.leases import free_leases_of
from tests.faults.killer import STOPPED

ROOT = Path(__file__).resolve().parents[2]
SIGKILLED = -9
LEASE_LOST = 3


class Nursery:
    """Starts processes that tick, and tells how each ended."""

    def __init__(self) -> None:
        environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tradingops.settings"}
        self.database = ""
        #: What every process is given: the environment and the var directory of the desk that it works for.
        self.common: dict[str, Any] = {}
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

    def freeze(self, do: str, bots: list[int], *, point: str, **options: Any) -> int:
        """Have a process do this and freeze at ``point``; return its id."""
        answer = self._start(do, bots, point=point, signal="SIGSTOP", **options)
        assert answer["status"] == STOPPED
        return int(answer["pid"])

    def spawn(self, do: str, bots: list[int], **options: Any) -> int:
        """Have a process do this and wait for nothing; return its id. ``kill`` or ``wait`` has to follow."""
        return int(self._start(do, bots, spawn=True, **options)["pid"])

    def kill(self, pid: int) -> None:
        """Kill a process that was spawned or frozen. It must not have ended by itself."""
        assert self._ask({"do": "kill", "pid": pid})["status"] == SIGKILLED

    def wait(self, pid: int) -> Any:
        """Wait for a process that was spawned; return its exit code, or minus the signal that killed it."""
        return self._ask({"do": "wait", "pid": pid})["status"]

    def thaw(self, pid: int) -> Any:
        """Let a frozen process go on; return its exit code."""
        return self._ask({"do": "thaw", "pid": pid})["status"]

    @property
    def _holder(self) -> str:
        return f"victim-{self._victims}"

    def _start(self, do: str, bots: list[int], **options: Any) -> dict[str, Any]:
        self._victims += 1
        given = {"holder": self._holder, "database": self.database, **self.common}
        return self._ask({"do": do, "bots": bots, **given, **options})

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
