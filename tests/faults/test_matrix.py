"""Every row of the fault matrix is proven by some test, and docs/faults.md shows every row."""

import ast
from pathlib import Path

import pytest

from tests.faults.matrix import ELSEWHERE, LATER, ROWS
from tests.faults.report import PAGE, ROOT, marked_rows, page

SOURCES = {path: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}


def test_every_row_has_a_test_or_says_why_not() -> None:
    proven = marked_rows(SOURCES) | ELSEWHERE.keys()
    assert sorted(ROWS) == list(range(1, 57))
    assert sorted(ROWS.keys() - proven) == sorted(LATER)


def test_tests_name_only_rows_that_exist() -> None:
    assert marked_rows(SOURCES) <= ROWS.keys()


@pytest.mark.parametrize("node", sorted({node for nodes in ELSEWHERE.values() for node in nodes}))
def test_named_test_exists(node: str) -> None:
    path, *names = node.split("::")
    found: ast.AST = ast.parse((ROOT / path).read_text())
    for name in names:
        inside = [one for one in ast.iter_child_nodes(found) if getattr(one, "name", "") == name]
        assert inside, f"{name} is not in {path}"
        found = inside[0]


def test_page_shows_every_row_and_that_each_was_run() -> None:
    shown, _, _ = PAGE.read_text().partition("## Where each struck")
    for row, (fault, must) in ROWS.items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"| {row} | ")]
        assert line.startswith(f"| {row} | {fault} | {must} | ")
        assert row in LATER or "| — | — |" not in line, f"row {row} was not run"
        assert "FAILED" not in line


def test_page_says_what_failed() -> None:
    line = {
        "row": 6, "test": "t", "database": "sqlite", "venue": "kraken", "struck": "here", "happened": "adopted",
        "passed": False, "at": "2026-01-02T00:00:00+00:00",
    }  # fmt: skip
    found = page([line])
    assert "| 1, 1 FAILED | — | 2026-01-02 |" in found
    assert "| here (kraken) | adopted |" in found
