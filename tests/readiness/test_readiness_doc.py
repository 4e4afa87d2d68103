"""docs/readiness.md names every check with its severity, and no other."""

import re
from pathlib import Path

from safety import readiness
from safety.readiness_values import EXPECTED

DOC = Path(__file__).resolve().parents[2] / "docs" / "readiness.md"
ROW = re.compile(r"^\| `(\w+)` \| (everywhere|venue|asked) \| (.+) \| (.+) \|$", flags=re.MULTILINE)


def rows_under(heading: str) -> dict[str, str]:
    """Return the ids in the tables under a heading, with where they are checked."""
    text = DOC.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {id: where for id, where, looks_at, remedy in ROW.findall(text)}


def test_every_check_is_told_under_its_severity_and_no_other() -> None:
    checks = readiness.load_checks()
    wanted = {
        severity: {one.id: "venue" if one.per_venue else "everywhere" for one in checks if one.severity == severity}
        for severity in ("blocker", "warning")
    }
    asked = dict.fromkeys((*readiness._judges, readiness.NO_RUN), "asked")
    assert rows_under("Blockers") == {**wanted["blocker"], **asked}
    assert rows_under("Warnings") == wanted["warning"]
    assert {id for told in wanted.values() for id in told} == set(EXPECTED)


def test_every_row_has_something_to_do() -> None:
    rows = ROW.findall(DOC.read_text())
    assert len({row[0] for row in rows}) == len(rows)
    assert all(remedy.strip().endswith((".", "`")) for _, _, _, remedy in rows)


def test_runbook_has_each_blocker_with_something_to_do() -> None:
    runbook = (DOC.parent / "runbook.md").read_text().split("\n## Blockers and their remedies\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", runbook, flags=re.MULTILINE))
    assert told.keys() == rows_under("Blockers").keys()
    assert all(len(remedy) > 10 for remedy in told.values())
