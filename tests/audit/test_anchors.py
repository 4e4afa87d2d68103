"""Anchors are written for what moved, on disk before anything else, and read back with suspicion."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from audit.anchors import AnchorFileError, anchors_file, read_anchors, stored_anchors, write_anchors
from audit.chain import Chain
from audit.models import Anchor, ChainHead
from tests.audit.factories import NOON, operator_event, order_event, write, write_fills
from tests.conftest import CommittedDatabase

GOOD: dict[str, Any] = {"chain": "paper", "seq": 3, "hash": "ab" * 32, "ts": "2026-01-31T12:00:00.000000Z"}


def test_no_chain_no_anchor(committed_db: CommittedDatabase) -> None:
    assert write_anchors(now=NOON) == []
    assert not anchors_file().exists()


def test_each_chain_that_moved_is_anchored_in_file_and_table(committed_db: CommittedDatabase) -> None:
    write(order_event(), order_event(), operator_event())
    assert {(anchor.chain, anchor.seq) for anchor in write_anchors(now=NOON)} == {(Chain.PAPER, 2), (Chain.OPERATOR, 1)}
    for found in (read_anchors(anchors_file()), stored_anchors()):
        known = {(anchor.chain, anchor.seq, anchor.hash, anchor.ts) for anchor in found}
        assert known == {
            (Chain(head.chain), head.seq, head.hash, "2026-01-31T12:00:00.000000Z")
            for head in ChainHead.objects.filter(seq__gt=0)
        }


def test_a_chain_that_did_not_move_is_not_anchored_again(committed_db: CommittedDatabase) -> None:
    write_fills(1)
    write_anchors(now=NOON)
    assert write_anchors(now=NOON + timedelta(hours=1)) == []
    write_fills(1)
    assert [anchor.seq for anchor in write_anchors(now=NOON + timedelta(hours=2))] == [2]
    assert len(anchors_file().read_text().splitlines()) == 2
    assert list(Anchor.objects.order_by("id").values_list("ts", flat=True)) == [NOON, NOON + timedelta(hours=2)]


def test_anchors_are_never_taken_inside_a_transaction(committed_db: CommittedDatabase) -> None:
    write_fills(1)
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        write_anchors(now=NOON)
    assert not anchors_file().exists()


def test_no_row_is_added_when_the_file_cannot_be_written(committed_db: CommittedDatabase, settings: Settings) -> None:
    write_fills(1)
    settings.ANCHORS_FILE = committed_db.var_dir  # a directory
    with pytest.raises(IsADirectoryError):
        write_anchors(now=NOON)
    assert not Anchor.objects.exists()


def test_two_processes_that_anchor_the_same_row_do_no_harm(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fills(1)
    write_anchors(now=NOON)
    monkeypatch.setattr("audit.anchors._last_seq", lambda chain: 0)  # what the slower one read before
    write_anchors(now=NOON)
    assert Anchor.objects.count() == 1
    assert len(anchors_file().read_text().splitlines()) == 2


def test_a_torn_last_line_does_not_swallow_the_next_anchor(committed_db: CommittedDatabase) -> None:
    anchors_file().write_text('{"chain": "pap')
    write_fills(1)
    write_anchors(now=NOON)
    torn, line = anchors_file().read_text().splitlines()
    assert torn == '{"chain": "pap'
    assert json.loads(line)["seq"] == 1


def test_the_file_is_made_with_its_directory_and_for_its_owner_only(
    committed_db: CommittedDatabase, settings: Settings
) -> None:
    settings.ANCHORS_FILE = committed_db.var_dir / "new" / "anchors.jsonl"
    write_fills(1)
    write_anchors(now=NOON)
    assert settings.ANCHORS_FILE.stat().st_mode & 0o777 == 0o600


def test_without_the_setting_the_file_is_in_var(settings: Settings) -> None:
    settings.ANCHORS_FILE = None
    assert anchors_file() == Path(settings.BASE_DIR) / "var" / "anchors.jsonl"


def test_good_lines_are_read_with_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "seq": 9}))
    assert [(anchor.seq, anchor.source) for anchor in read_anchors(path)] == [
        (3, f"{path} line 1"),
        (9, f"{path} line 2"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        json.dumps({**GOOD, "chain": "other"}),
        json.dumps({**GOOD, "chain": ["paper"]}),
        json.dumps({**GOOD, "seq": 0}),
        json.dumps({**GOOD, "seq": "3"}),
        json.dumps({**GOOD, "seq": True}),
        json.dumps({**GOOD, "seq": 3.0}),
        json.dumps({**GOOD, "hash": "AB" * 32}),
        json.dumps({**GOOD, "hash": "ab" * 31}),
        json.dumps({**GOOD, "hash": None}),
        json.dumps({**GOOD, "ts": "yesterday"}),
        json.dumps({**GOOD, "ts": "2026-01-31T12:00:00"}),
        json.dumps({**GOOD, "more": 1}),
        json.dumps({**GOOD, "ts": "2026-01-31T12:00:00Z" + " " * 2_000}),
        '{"chain": "paper", "seq": 3',
        "\xff",
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(AnchorFileError, match=r"anchors\.jsonl line 2: not an anchor"):
        list(read_anchors(path))
