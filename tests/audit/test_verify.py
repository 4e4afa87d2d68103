"""verify_chains names the first bad row after every kind of tampering, on both databases."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction

from audit.anchors import AnchorFileError, anchors_file, write_anchors
from audit.chain import OPERATOR_COLUMNS, ORDER_COLUMNS, BadRow, Chain
from audit.verify import ChainReport, VerificationError, verify_chains
from tests.audit.factories import NOON, drop_triggers, execute, fetch, operator_event, order_event, write, write_fills
from tests.conftest import CommittedDatabase

# A value of the right type that differs from the factory's, in SQL; what the constraints forbid is no tampering of interest.
TAMPERED = {
    "amount": "'0.0126'",
    "price": "'64123.51'",
    "bot_id": "8",
    "seq": "100",
    "is_live": "1",
    "event": "'canceled'",
    "ts": "'2026-01-31 12:00:00.000001+00:00'",
    "details": """'{"fee":"0.27","liquidity":"taker"}'""",
}


def report(chain: Chain = Chain.PAPER, from_seq: int = 0) -> ChainReport:
    """Check all chains and return what was found of one."""
    return {found.chain: found for found in verify_chains(from_seq)}[chain]


def bad_row(chain: Chain = Chain.PAPER, from_seq: int = 0) -> BadRow:
    """Return the first bad row of a chain that must be broken."""
    bad = report(chain, from_seq).bad
    assert bad is not None, f"the {chain} chain was found intact"
    return bad


def id_of(seq: int, is_live: int = 0) -> int:
    """Return the id of an order event."""
    return int(fetch("SELECT id FROM order_events WHERE is_live = %s AND seq = %s", is_live, seq)[0][0])


@pytest.fixture
def five(committed_db: CommittedDatabase) -> CommittedDatabase:
    """A database with five paper rows, two live ones and three acts of a person; its triggers are gone."""
    write_fills(5)
    write(*(order_event(is_live=True, client_order_id=f"live-{number}") for number in range(2)))
    write(*(operator_event(new=str(number)) for number in range(3)))
    drop_triggers()
    return committed_db


def test_what_was_written_is_intact(five: CommittedDatabase) -> None:
    found = verify_chains()
    assert [(one.chain, one.rows_checked, one.head_seq, one.intact) for one in found] == [
        (Chain.OPERATOR, 3, 3, True),
        (Chain.LIVE, 2, 2, True),
        (Chain.PAPER, 5, 5, True),
    ]


def test_empty_chains_are_intact(committed_db: CommittedDatabase) -> None:
    assert [(one.rows_checked, one.intact) for one in verify_chains()] == [(0, True)] * 3


def bad_after(sql: str, chain: Chain) -> BadRow:
    """Return the first bad row of a chain after a change, which is then taken back (a database for each takes too long)."""
    with transaction.atomic():
        execute(sql)
        bad = bad_row(chain)
        transaction.set_rollback(True)
    return bad


def test_edit_of_any_column_of_an_order_event_is_found(five: CommittedDatabase) -> None:
    id_ = id_of(3)
    for column in (*ORDER_COLUMNS, "hash"):
        sql = f"UPDATE order_events SET {column} = {TAMPERED.get(column, repr('tampered'))} WHERE id = {id_}"
        bad = bad_after(sql, Chain.PAPER)
        assert (bad.table, bad.chain, bad.seq) == ("order_events", Chain.PAPER, 3), column
        # With another seq or chain, row 3 is gone from its place; with any other edit it is there to be named.
        assert bad.id == (None if column in ("seq", "is_live") else id_), column
    assert report().intact


def test_edit_of_any_column_of_an_operator_event_is_found(five: CommittedDatabase) -> None:
    for column in (*OPERATOR_COLUMNS, "hash"):
        sql = f"UPDATE operator_events SET {column} = {TAMPERED.get(column, repr('tampered'))} WHERE seq = 2"
        bad = bad_after(sql, Chain.OPERATOR)
        assert (bad.table, bad.seq) == ("operator_events", 2), column
    assert report(Chain.OPERATOR).intact


def test_a_broken_chain_leaves_the_others_intact(five: CommittedDatabase) -> None:
    execute("UPDATE operator_events SET actor = 'nobody' WHERE seq = 2")
    assert [one.intact for one in verify_chains()] == [False, True, True]


@pytest.mark.parametrize("column", ["price", "amount", "bot_id"])
def test_value_taken_away_is_found(five: CommittedDatabase, column: str) -> None:
    execute(f"UPDATE order_events SET {column} = NULL WHERE id = {id_of(3)}")
    assert bad_row().seq == 3


def test_number_written_in_another_way_is_found(five: CommittedDatabase) -> None:
    execute(f"UPDATE order_events SET price = '64123.50' WHERE id = {id_of(3)}")
    assert bad_row().seq == 3


@pytest.mark.parametrize("text", ["2026-01-31 12:00:00 BC", "infinity"])
def test_time_outside_the_calendar_is_found(five: CommittedDatabase, text: str) -> None:
    execute(f"UPDATE order_events SET ts = '{text}' WHERE id = {id_of(3)}")
    assert bad_row().seq == 3


def test_time_with_a_zone_appended_is_found(five: CommittedDatabase) -> None:
    if five.vendor == "postgresql":
        pytest.skip("only SQLite keeps times as text")
    execute(f"UPDATE order_events SET ts = '2026-01-31 12:00:00.000000+05:00' WHERE id = {id_of(3)}")
    assert bad_row().seq == 3


def test_row_moved_to_the_other_chain_is_found_in_both(five: CommittedDatabase) -> None:
    id_ = id_of(3)
    execute(f"UPDATE order_events SET is_live = 1 WHERE id = {id_}")
    assert bad_row(Chain.PAPER).seq == 3
    beyond = bad_row(Chain.LIVE)
    assert (beyond.id, beyond.seq) == (id_, 3)
    assert "beyond the chain's head" in beyond.why


def test_deleted_row_is_found(five: CommittedDatabase) -> None:
    execute(f"DELETE FROM order_events WHERE id = {id_of(3)}")
    bad = bad_row()
    assert (bad.seq, bad.id) == (3, None)
    assert f"missing; the next row is seq 4, id {id_of(4)}" in bad.why


def test_deleted_last_row_is_found_by_the_head(five: CommittedDatabase) -> None:
    execute(f"DELETE FROM order_events WHERE id = {id_of(5)}")
    bad = bad_row()
    assert (bad.seq, bad.id) == (5, None)
    assert "head is at seq 5" in bad.why


def test_chain_with_all_rows_deleted_is_found(five: CommittedDatabase) -> None:
    execute("DELETE FROM order_events")
    assert bad_row(Chain.PAPER).seq == 1
    assert bad_row(Chain.LIVE).seq == 1


def test_swapped_pair_is_found(five: CommittedDatabase) -> None:
    second, fourth = id_of(2), id_of(4)
    for id_, seq in ((second, 99), (fourth, 2), (second, 4)):
        execute(f"UPDATE order_events SET seq = {seq} WHERE id = {id_}")
    bad = bad_row()
    assert (bad.seq, bad.id) == (2, fourth)


def test_swapped_content_is_found(five: CommittedDatabase) -> None:
    execute(f"UPDATE order_events SET client_order_id = 't-abc-4-0' WHERE id = {id_of(2)}")
    execute(f"UPDATE order_events SET client_order_id = 't-abc-2-0' WHERE id = {id_of(4)}")
    assert bad_row().seq == 2


def test_row_slipped_in_behind_the_head_is_found(five: CommittedDatabase) -> None:
    _copy_row_3(seq=6)
    bad = bad_row()
    assert (bad.seq, bad.id) == (6, id_of(6))
    assert "beyond the chain's head, which is at seq 5" in bad.why


def test_row_slipped_in_before_the_first_is_found(five: CommittedDatabase) -> None:
    _without("order_events_seq_from_1")
    _copy_row_3(seq=0)
    bad = bad_row()
    assert (bad.seq, bad.id) == (0, id_of(0))


def test_second_row_with_the_same_seq_is_found(five: CommittedDatabase) -> None:
    if five.vendor == "sqlite":
        pytest.skip("SQLite can't drop a constraint")
    execute("ALTER TABLE order_events DROP CONSTRAINT order_events_live_seq_uniq")
    _copy_row_3(seq=3)
    assert bad_row().seq in (3, 4)


def _without(check: str) -> None:
    if connection.vendor == "postgresql":
        execute(f"ALTER TABLE order_events DROP CONSTRAINT {check}")
    else:
        execute("PRAGMA ignore_check_constraints = ON")


def _copy_row_3(seq: int) -> None:
    columns = [column for column in ORDER_COLUMNS if column not in ("seq", "prev_hash")]
    names = ", ".join(columns)
    execute(
        f"INSERT INTO order_events (seq, prev_hash, hash, {names}) SELECT {seq}, 'other', 'other', {names} FROM order_events"
        " WHERE is_live = 0 AND seq = 3"
    )


def test_row_of_no_chain_is_found(five: CommittedDatabase) -> None:
    _without("order_events_is_live_0_1")
    if five.vendor == "postgresql":
        execute("ALTER TABLE order_events DROP CONSTRAINT order_events_is_live_check")
    id_ = id_of(5)
    execute(f"UPDATE order_events SET is_live = 2 WHERE id = {id_}")
    assert bad_row(Chain.LIVE).id == id_
    assert bad_row(Chain.PAPER).seq == 5


@pytest.mark.parametrize("change", ["hash = 'forged'", "seq = 4", "seq = 6"])
def test_forged_head_is_found(five: CommittedDatabase, change: str) -> None:
    execute(f"UPDATE chain_heads SET {change} WHERE chain = 'paper'")
    assert bad_row().seq in (4, 5, 6)


def test_missing_head_is_found(five: CommittedDatabase) -> None:
    execute("DELETE FROM chain_heads WHERE chain = 'paper'")
    bad = bad_row()
    assert (bad.table, bad.why) == ("chain_heads", "the chain has no head row")


def test_only_the_first_bad_row_is_named(five: CommittedDatabase) -> None:
    execute("UPDATE order_events SET reason = 'nicer' WHERE is_live = 0 AND seq >= 2")
    assert (bad_row().seq, report().rows_checked) == (2, 1)


def test_walk_in_many_runs_finds_a_bad_row_in_a_later_one(
    five: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.reading.ROWS_PER_QUERY", 2)
    assert report().rows_checked == 5
    execute(f"DELETE FROM order_events WHERE id = {id_of(4)}")  # the last row of a run
    assert bad_row().seq == 4


def test_progress_is_told_run_by_run(five: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.reading.ROWS_PER_QUERY", 3)
    seen: list[tuple[Chain, int, int]] = []
    verify_chains(progress=lambda *step: seen.append(step))
    assert [step for step in seen if step[0] is Chain.PAPER] == [(Chain.PAPER, 3, 5), (Chain.PAPER, 5, 5)]


# --- --from


def test_from_a_later_row_leaves_out_what_is_before(five: CommittedDatabase) -> None:
    execute(f"UPDATE order_events SET reason = 'nicer' WHERE id = {id_of(2)}")
    assert report(from_seq=3).intact
    assert report(from_seq=3).rows_checked == 3
    assert bad_row(from_seq=2).seq == 2


def test_from_needs_the_row_before(five: CommittedDatabase) -> None:
    execute(f"DELETE FROM order_events WHERE id = {id_of(2)}")
    assert (bad_row(from_seq=3).seq, bad_row(from_seq=3).id) == (2, None)


def test_from_behind_a_shorter_chain_still_checks_its_head(five: CommittedDatabase) -> None:
    execute("UPDATE chain_heads SET hash = 'forged' WHERE chain = 'live'")
    assert bad_row(Chain.LIVE, from_seq=5).table == "chain_heads"


def test_from_behind_every_chain_is_no_verification(five: CommittedDatabase) -> None:
    with pytest.raises(VerificationError, match="no chain has a row 6"):
        verify_chains(6)


# --- anchors


def cut_tail(keep: int) -> None:
    """Cut the paper chain to its first rows and set its head back, as one who knows the form would."""
    execute(f"DELETE FROM order_events WHERE is_live = 0 AND seq > {keep}")
    execute(
        f"UPDATE chain_heads SET seq = {keep}, hash ="
        f" (SELECT hash FROM order_events WHERE is_live = 0 AND seq = {keep}) WHERE chain = 'paper'"
    )


def test_anchors_agree_with_what_was_written(five: CommittedDatabase) -> None:
    write_anchors(now=NOON)
    write_fills(1)
    write_anchors(now=NOON + timedelta(hours=1))
    assert (report().intact, report().anchors_checked, report(Chain.LIVE).anchors_checked) == (True, 2, 1)


@pytest.mark.parametrize("kept", ["file", "table"])
def test_cut_tail_is_found_by_either_anchor(five: CommittedDatabase, kept: str) -> None:
    write_anchors(now=NOON)
    cut_tail(3)
    if kept == "file":
        execute("DELETE FROM anchors")
    else:
        anchors_file().unlink()
    bad = bad_row()
    assert (bad.seq, bad.id) == (5, None)
    assert "ahead of the chain, which ends at seq 3" in bad.why
    assert ("anchors.jsonl line 3" if kept == "file" else "anchors id") in bad.why


def test_cut_tail_without_any_anchor_goes_unnoticed(five: CommittedDatabase) -> None:
    cut_tail(3)  # why anchors are needed
    assert report().intact


def test_chain_grown_again_after_a_cut_is_found_by_the_anchor(five: CommittedDatabase) -> None:
    write_anchors(now=NOON)
    cut_tail(3)
    write(*(order_event(reason="what did not happen") for _ in range(4)))
    bad = bad_row()
    assert (bad.seq, bad.id) == (5, id_of(5))
    assert "has another hash" in bad.why


def test_the_earlier_of_a_bad_row_and_a_bad_anchor_is_named(five: CommittedDatabase) -> None:
    write_anchors(now=NOON)
    execute(f"UPDATE order_events SET reason = 'nicer' WHERE id = {id_of(2)}")
    cut_tail(4)
    assert bad_row().seq == 2


def test_forged_anchor_in_the_file_is_found(five: CommittedDatabase) -> None:
    write_anchors(now=NOON)
    lines = [json.loads(line) for line in anchors_file().read_text().splitlines()]
    forged = [{**line, "hash": "0" * 64} if line["chain"] == "live" else line for line in lines]
    anchors_file().write_text("".join(json.dumps(line) + "\n" for line in forged))
    assert bad_row(Chain.LIVE).seq == 2
    assert report().intact


def test_many_anchors_are_all_checked(five: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.verify.ANCHORS_PER_QUERY", 2)
    for hour in range(5):
        write_fills(1)
        write_anchors(now=NOON + timedelta(hours=hour))
    assert report().anchors_checked == 5
    cut_tail(9)
    assert bad_row().seq == 10


def test_named_anchors_file_that_is_missing_is_no_verification(five: CommittedDatabase, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify_chains(anchors_path=tmp_path / "nowhere.jsonl")


def test_anchors_file_with_a_bad_line_is_no_verification(five: CommittedDatabase) -> None:
    anchors_file().write_text("{}\n")
    with pytest.raises(AnchorFileError, match="line 1"):
        verify_chains()
