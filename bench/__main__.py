"""``python -m bench [--quick]``: measure everything, print the table and write docs/benchmarks.md."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import api, chain, halt, intelligence, pipeline, replay, ticks
from bench.scratch import ROOT, scratch_postgres, scratch_sqlite
from bench.table import BenchRow, markdown

PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`. Rates are medians of several runs; where a peer is at hand both sides were measured in one run, and the
share is what counts, since machines drift. CPU is that of the measured process alone. "Bare rows" is PostgreSQL doing the
inserts and updates of an order with plain SQL and one commit. Figures of other programs were read once on a machine of this
size.
"""


def measure(*, quick: bool) -> list[BenchRow]:
    """Return every row. PostgreSQL is needed: see BENCH_POSTGRES_URL."""
    rows: list[BenchRow] = []
    with scratch_sqlite() as sqlite:
        _say("replay")
        rows += replay.run(sqlite, quick=quick)
        _say("intelligence")
        rows += intelligence.run(sqlite, quick=quick)
        _say("ticks on SQLite")
        rows += ticks.run(sqlite, quick=quick)
        _say("kill switch on SQLite")
        rows += halt.run(sqlite, quick=quick)
    with scratch_postgres() as postgres:
        _say("ticks on PostgreSQL")
        rows += ticks.run(postgres, quick=quick)
        _say("kill switch on PostgreSQL")
        rows += halt.run(postgres, quick=quick)
    with scratch_postgres() as postgres:
        _say("order pipeline")
        rows += pipeline.run(postgres, quick=quick)
    for scratch in (scratch_sqlite, scratch_postgres):
        with scratch() as database:
            _say(f"API on {database.vendor}")
            rows += api.run(database, quick=quick)
    _say("audit chain")
    return rows + chain.run(quick=quick)


def page(rows: list[BenchRow], notes: str) -> str:
    """Return the page: the table, the machine, and the notes that stand below it by hand."""
    now = datetime.now(UTC)
    machine = f"{now:%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    return f"{INTRODUCTION}\n{machine}.\n\n{markdown(rows)}\n\n{notes}"


def notes_of(path: Path) -> str:
    """Return what was written by hand below the table: everything from the first second-level heading on."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    start = text.find("\n## ")
    return text[start + 1 :] if start >= 0 else ""


def _say(what: str) -> None:
    print(f"measuring: {what} ...", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print and write."""
    rows = measure(quick="--quick" in sys.argv)
    PAGE.write_text(page(rows, notes_of(PAGE)), encoding="utf-8")
    print(markdown(rows))


if __name__ == "__main__":
    main()
