"""Writes docs/faults.md from what tests/faults/recorder.py recorded: ``python -m tests.faults.report [--run N]``.

``--run N`` runs the tests of the matrix N times on SQLite and on PostgreSQL first, and forgets what was recorded before.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.faults.matrix import ELSEWHERE, LATER, ROWS
from tests.faults.recorder import VARIABLE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"
RECORD = ROOT / "var" / "faults.jsonl"
#: What proves more than single rows, and takes minutes: make check runs it.
LONG = ("test_kill_switch_race.py", "test_kill_without_database.py", "test_soak.py")
DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
#: How many different places, and outcomes of one place, the page shows.
PLACES_MAX, OUTCOMES_MAX = 30, 2
INTRODUCTION = """# Faults

Written by `python -m tests.faults.report`. The order pipeline promises **at most one submission per intent, and every outcome
either resolved or put before the operator**. This is what it was tried with. The tests (`tests/faults/`) kill, freeze and cut off
real processes which run the shipped code with the venues' real clients, against loopback venues that keep their own ledger.

**After every one of them the oracle is asked** (`tests/faults/oracle.py`): the venue holds at most one order per intent; every
order there has one here; every intent is final, or UNKNOWN with a person told within 60 s; trades, positions and cash agree with
the venue's own ledger to the last digit; the audit chains verify, and each order's rows tell its whole story with a reason
wherever a person needs one.

In the stories below, `→` goes from one audit row of the order to the next, and "at the venue" is how many orders the venue's own
ledger holds of it. Where a window of a minute has to pass, the tests let it pass in the database;
`tests/faults/test_true_window.py` (by hand: FAULTS_TRUE_WINDOW=1) waits for it in true time.
"""

Line = dict[str, Any]


def main() -> None:
    """Run what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=int, default=0, metavar="N", help="run the tests N times on each database first")
    times = parser.parse_args().run
    failed = 0
    if times:
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text("")
        failed = sum(run(database) for _ in range(times) for database in DATABASES)
    lines = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []
    PAGE.write_text(page(lines))
    sys.exit(1 if failed else 0)


def run(database: str) -> int:
    """Run the tests of the matrix on one database and return pytest's exit code."""
    elsewhere = sorted({node for nodes in ELSEWHERE.values() for node in nodes if "tests/faults/" not in node})
    environ = {**os.environ, "TEST_DATABASE": database, VARIABLE: str(RECORD)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "tests.faults.recorder",
        "tests/faults",
        *elsewhere,
    ]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


def page(lines: Iterable[Line]) -> str:
    """Return the page: every row with its runs, then for each where it struck and what happened."""
    by_row: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_row[line["row"]].append(line)
    table = ["| # | fault | what must happen | runs, SQLite | runs, PostgreSQL | last |", "| --- " * 6 + "|"]
    table += [_summary(row, by_row[row]) for row in ROWS]
    details = [text for row in ROWS for text in _details(row, by_row[row])]
    return "\n".join([INTRODUCTION, *table, "", "## Where each struck, and what happened", *details]) + "\n"


def _summary(row: int, lines: list[Line]) -> str:
    fault, must = ROWS[row]
    runs = [_runs([line for line in lines if line["database"] == database]) for database in DATABASES]
    last = max((str(line["at"])[:10] for line in lines), default=LATER.get(row, "—"))
    return f"| {row} | {fault} | {must} | {' | '.join(runs)} | {last} |"


def _runs(lines: list[Line]) -> str:
    failed = sum(not line["passed"] for line in lines)
    return f"{len(lines)}, {failed} FAILED" if failed else str(len(lines) or "—")


def _details(row: int, lines: list[Line]) -> list[str]:
    """Return the part of one row; nothing for a row of which nothing was recorded."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        found[_shown(line["struck"]) or line["test"].rpartition("::")[2].split("[")[0], line["venue"]].append(line)
    if not found:
        return []
    places = [_place(struck, venue, some) for (struck, venue), some in list(found.items())[:PLACES_MAX]]
    return ["", f"**{row}. {ROWS[row][0]}**", "", "| it struck | what happened |", "| --- | --- |", *places]


def _place(struck: str, venue: str, lines: list[Line]) -> str:
    outcomes = list(dict.fromkeys(_shown(line["happened"]) for line in lines if line["happened"]))[:OUTCOMES_MAX]
    at = f" ({venue})" if venue else ""
    return f"| {struck}{at} | {'; or '.join(outcomes) or 'as it must'} |"


def _shown(text: str) -> str:
    """Return a text as a cell of the table takes it. What was denied after it was sent is a repeat of the same intent."""
    text = re.sub(r"((?:unknown|filled|accepted)(?: → denied)+)", _repeats, text)
    text = re.sub(r"(submitting(?: → denied)+)(?= → unknown)", _repeats, text)
    return re.sub(r"\s+", " ", text.replace("|", "/")).strip()


def _repeats(found: re.Match[str]) -> str:
    state, *denied = found[1].split(" → ")
    return f"{state} ({len(denied)} {'repeat' if len(denied) == 1 else 'repeats'} denied)"


def marked_rows(sources: Mapping[Path, str]) -> set[int]:
    """Return the rows that the tests in these sources name."""
    marks = [found for text in sources.values() for found in re.findall(r"mark\.fault\(([\d, ]+)\)", text)]
    # A table of cases names its row first: see tests/faults/test_venue_answers.py.
    tables = [found for text in sources.values() for found in re.findall(r"^    \".*\": \((\d+), ", text, re.MULTILINE)]
    return {int(one) for mark in [*marks, *tables] for one in mark.split(",") if one.strip()}


if __name__ == "__main__":
    main()
