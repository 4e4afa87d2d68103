"""verify_audit and export_order_events, as a script would call them; and the documented page of Python on an export."""

import csv
import io
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection

from audit.anchors import anchors_file, write_anchors
from audit.export import COLUMNS
from tests.audit.factories import NOON, drop_triggers, execute, operator_event, order_event, write, write_fills
from tests.conftest import CommittedDatabase

PAGE = Path(django_settings.BASE_DIR) / "docs" / "audit-chain.md"


def verify(*args: str) -> tuple[int, str, str]:
    """Run verify_audit; return exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("verify_audit", *args, stdout=out, stderr=err)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def export(*args: str) -> str:
    """Run export_order_events; return its standard output."""
    out = io.StringIO()
    call_command("export_order_events", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_verify_audit_when_intact_exits_0_and_counts(committed_db: CommittedDatabase) -> None:
    write_fills(3)
    write_anchors(now=NOON)
    code, out, err = verify()
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "intact operator: 0 rows up to seq 0, 0 anchors",
        "intact live: 0 rows up to seq 0, 0 anchors",
        "intact paper: 3 rows up to seq 3, 1 anchors",
    ]


def test_verify_audit_when_broken_exits_2_and_names_the_row(committed_db: CommittedDatabase) -> None:
    write_fills(3)
    drop_triggers()
    execute("UPDATE order_events SET price = '1' WHERE seq = 2")
    code, out, err = verify()
    assert code == 2
    assert re.search(
        r"BROKEN paper: first bad row: order_events id \d+, chain paper, seq 2: the hash does not fit", out
    )
    assert "warning: the append-only trigger is missing: order_events: order_events_refuse_update" in err


def test_verify_audit_json_holds_the_same(committed_db: CommittedDatabase) -> None:
    write_fills(3)
    code, out, _ = verify("--json", "--from", "2")
    found = json.loads(out)
    assert (code, found["intact"], found["missing_triggers"]) == (0, True, [])
    assert found["chains"][2] == {
        "chain": "paper",
        "intact": True,
        "rows_checked": 2,
        "head_seq": 3,
        "anchors_checked": 0,
        "first_bad_row": None,
    }
    drop_triggers()
    execute("DELETE FROM order_events WHERE seq = 3")
    code, out, _ = verify("--json")
    found = json.loads(out)
    assert (code, found["intact"]) == (2, False)
    row = found["chains"][2]["first_bad_row"]
    assert (row["table"], row["id"], row["chain"], row["seq"]) == ("order_events", None, "paper", 3)


def test_verify_audit_takes_the_named_anchors_file(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    write_fills(2)
    ahead = {"chain": "paper", "seq": 9, "hash": "0" * 64, "ts": "2026-01-31T12:00:00Z"}
    (tmp_path / "kept.jsonl").write_text(json.dumps(ahead) + "\n")
    code, out, _ = verify("--anchors", str(tmp_path / "kept.jsonl"))
    assert code == 2
    assert "seq 9" in out
    assert "kept.jsonl line 1" in out
    assert verify()[0] == 0


@pytest.mark.parametrize("args", [["--from", "99"], ["--anchors", "nowhere.jsonl"], ["--json", "--from", "99"]])
def test_verify_audit_that_could_not_run_exits_3(committed_db: CommittedDatabase, args: list[str]) -> None:
    write_fills(1)
    code, out, err = verify(*args)
    assert code == 3
    assert "could not verify" in err
    if "--json" in args:
        assert json.loads(out)["intact"] is None


def test_verify_audit_with_a_bad_anchors_file_exits_3(committed_db: CommittedDatabase) -> None:
    anchors_file().write_text("nonsense\n")
    code, _, err = verify()
    assert code == 3
    assert "anchors.jsonl line 1" in err


def test_verify_audit_without_its_tables_exits_3(committed_db: CommittedDatabase) -> None:
    execute("DROP TABLE chain_heads")
    assert verify()[0] == 3


def test_verify_audit_as_a_process_exits_with_its_code(committed_db: CommittedDatabase) -> None:
    write_fills(2)
    drop_triggers()
    execute("UPDATE order_events SET side = 'sell' WHERE seq = 2")
    connection.close()
    done = subprocess.run(
        [sys.executable, "manage.py", "verify_audit"],
        cwd=django_settings.BASE_DIR,
        env=committed_db.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "BROKEN paper" in done.stdout) == (2, True), done.stderr


@pytest.mark.django_db
def test_export_as_json_lines_holds_every_column_as_canonical_text() -> None:
    write(order_event())
    write(order_event(price=None, is_live=True))
    first, second = (json.loads(line) for line in export("--format", "jsonl").splitlines())
    assert tuple(first) == COLUMNS
    assert (first["price"], first["amount"], first["ts"]) == ("64123.5", "0.0125", "2026-01-31T12:00:00.000000Z")
    assert first["details"] == '{"fee":"0.26","liquidity":"taker"}'
    assert (first["is_live"], second["is_live"], second["price"]) == (0, 1, None)


@pytest.mark.django_db
def test_export_as_csv_holds_the_same_columns() -> None:
    write(order_event(reason='a "quoted", reason\nof two lines'))
    header, row = csv.reader(io.StringIO(export("--format", "csv")))
    assert tuple(header) == COLUMNS
    assert row[COLUMNS.index("reason")] == 'a "quoted", reason\nof two lines'


@pytest.mark.django_db
def test_export_keeps_to_what_was_asked_for() -> None:
    for hour in range(4):
        write(order_event(ts=NOON + timedelta(hours=hour), client_order_id=str(hour), is_live=hour % 2 == 1))

    def ids(*args: str) -> list[str]:
        return [json.loads(line)["client_order_id"] for line in export("--format", "jsonl", *args).splitlines()]

    assert ids() == ["0", "1", "2", "3"]
    assert ids("--live-only") == ["1", "3"]
    assert ids("--since", "2026-01-31T13:00:00Z") == ["1", "2", "3"]
    assert ids("--until", "2026-01-31T13:00:00Z") == ["0"]
    assert ids("--since", "2026-01-31T13:00", "--until", "2026-01-31T15:00:00+00:00") == ["1", "2"]
    assert ids("--since", "2026-02-01") == []


@pytest.mark.django_db
def test_export_longer_than_a_query_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.export.ROWS_PER_QUERY", 3)
    for count in (6, 1):  # a multiple of the query's length, and not
        write_fills(count)
        lines = export("--format", "jsonl").splitlines()
        assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) == 7


@pytest.mark.django_db
def test_export_refuses_a_mistyped_time() -> None:
    with pytest.raises(CommandError, match="not a date"):
        export("--format", "csv", "--since", "yesterday")


def documented_page() -> str:
    """Return the page of Python from the documentation, as it stands."""
    (page,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(page)


def check_export(tmp_path: Path, lines: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run the documented page on an export, in a process that knows nothing of this project."""
    (tmp_path / "check.py").write_text(documented_page(), encoding="utf-8")
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-I", "check.py", "events.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.django_db
def test_a_stranger_can_verify_an_export_with_the_documented_page(tmp_path: Path) -> None:
    write_fills(3, reason='ünï 🙂 "quoted" \\ \t\x01')
    write_fills(2, is_live=True, price=None, bot_id=None)
    write(operator_event(), order_event())
    lines = [json.loads(line) for line in export("--format", "jsonl").splitlines()]
    done = check_export(tmp_path, lines)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"live: intact up to seq 2, {lines[4]['hash']}",
        f"paper: intact up to seq 4, {lines[5]['hash']}",
    ]
    for column in set(COLUMNS) - {"id"}:
        changed = [dict(line) for line in lines]
        changed[1][column] = 1 if isinstance(changed[1][column], int) and column == "is_live" else "tampered"
        assert check_export(tmp_path, changed).returncode == 1, column
    assert check_export(tmp_path, lines[:1] + lines[2:]).returncode == 1
    assert check_export(tmp_path, [lines[1], lines[0], *lines[2:]]).returncode == 1
