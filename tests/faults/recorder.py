"""A plugin for pytest that records which row of the fault matrix each test struck, where, and what happened.

``pytest -p tests.faults.recorder`` with FAULTS_RECORD naming the file to add to, a line of JSON for each test. The tests tell by
``record_property``; under xdist only the process that prints writes.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.matrix import ELSEWHERE

VARIABLE = "FAULTS_RECORD"
_ROWS_ELSEWHERE = {node: row for row, nodes in ELSEWHERE.items() for node in nodes}


def pytest_configure(config: pytest.Config) -> None:
    """Record in the main process alone: its workers tell it all."""
    if not hasattr(config, "workerinput") and os.environ.get(VARIABLE):
        config.pluginmanager.register(Recorder(Path(os.environ[VARIABLE])), "faults-recorder")


class Recorder:
    """Adds a line to the file for each test of the matrix that ran."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how a test ended. A skipped one ran nothing and is not kept."""
        if report.when != "call" or report.skipped:
            return
        told = dict(report.user_properties)
        rows = [value for name, value in report.user_properties if name == "row"]
        rows = rows or [_ROWS_ELSEWHERE[one] for one in _ROWS_ELSEWHERE if report.nodeid.split("[")[0] == one]
        with self._path.open("a") as stream:
            for row in rows:
                stream.write(json.dumps(_line(row, report, told)) + "\n")


def _line(row: object, report: pytest.TestReport, told: dict[str, object]) -> dict[str, object]:
    case = report.nodeid.partition("[")[2].rstrip("]")
    return {
        "row": row,
        "test": report.nodeid,
        "database": os.environ.get("TEST_DATABASE", "sqlite"),
        "venue": told.get("venue", ""),
        "struck": told.get("struck") or case,
        "happened": told.get("happened", ""),
        "passed": report.passed,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
