"""A broken audit chain halts everything, once for each finding, and the watch gets round to every row."""

import json
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from audit.chain import Chain
from audit.models import OperatorEvent, OrderEvent
from audit.verify import verify_part
from safety import chain_watch
from safety.chain_watch import check_some
from safety.intents import Level
from safety.kill_switch import read_state, release
from safety.models import KillRun, Setting
from safety.notification_models import Notification
from tests.audit.factories import drop_triggers, execute, write, write_fills
from tests.audit.factories import operator_event as act
from tests.conftest import CommittedDatabase


@pytest.fixture(autouse=True)
def anchors(tmp_path: Path, settings: Settings) -> Path:
    """Keep the anchors in a file of the test's own; it is not there yet."""
    settings.ANCHORS_FILE = tmp_path / "anchors.jsonl"
    return tmp_path / "anchors.jsonl"


def level() -> Level:
    return read_state().level


def edit(seq: int, *, table: str = "order_events") -> None:
    execute(f"UPDATE {table} SET reason = 'made up' WHERE seq = {seq}")


def anchor(path: Path, chain: str, seq: int, hash_: str) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"chain": chain, "seq": seq, "hash": hash_, "ts": "2026-01-31T12:00:00.000000Z"}) + "\n")


@pytest.mark.django_db
def test_sound_chains_change_nothing() -> None:
    write_fills(5)
    write(act())
    for _ in range(3):
        assert check_some(2) == []
    assert level() == Level.ACTIVE
    assert not KillRun.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("seq", [1, 7, 20])
def test_edited_row_is_found_wherever_it_is_and_halts(seq: int) -> None:
    write_fills(20)
    drop_triggers()
    edit(seq)
    found = [bad for _ in range(6) for bad in check_some(5)]
    assert {(bad.chain, bad.seq) for bad in found} >= {(Chain.PAPER, seq)}
    assert level() == Level.HALTED
    run = KillRun.objects.get()
    assert (run.actor, run.scope, run.level) == ("automatic", "global", "halted")
    told = OperatorEvent.objects.get(action="audit_tampered")
    assert (told.actor, told.object) == ("automatic", f"paper order_events {seq}")
    assert "changed" in told.reason


@pytest.mark.django_db
def test_new_rows_are_looked_at_first() -> None:
    write_fills(50)
    check_some(10)
    write_fills(5)
    drop_triggers()
    edit(53)
    assert [bad.seq for bad in check_some(10)] == [53]


@pytest.mark.django_db
def test_head_that_does_not_fit_is_found_without_any_new_row() -> None:
    write_fills(50)
    check_some(10)
    drop_triggers()
    execute("UPDATE chain_heads SET hash = %s WHERE chain = 'paper'", "0" * 64)
    assert [bad.table for bad in check_some(10)] == ["chain_heads"]


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["edited", "deleted", "swapped", "cut off"])
def test_each_way_of_tampering_halts(how: str) -> None:
    write_fills(10)
    drop_triggers()
    if how == "edited":
        edit(4)
    elif how == "deleted":
        execute("DELETE FROM order_events WHERE seq = 4")
    elif how == "swapped":
        execute("UPDATE order_events SET seq = 400 WHERE seq = 4")
        execute("UPDATE order_events SET seq = 4 WHERE seq = 5")
        execute("UPDATE order_events SET seq = 5 WHERE seq = 400")
    else:
        execute("DELETE FROM order_events WHERE seq > 8")
    assert check_some()
    assert level() == Level.HALTED


@pytest.mark.django_db
@pytest.mark.parametrize("kept_in", ["file", "table"])
def test_old_backup_is_shown_by_the_anchor_that_is_ahead(anchors: Path, kept_in: str) -> None:
    write_fills(10)
    if kept_in == "file":
        anchor(anchors, "paper", 15, "f" * 64)
    else:
        execute("INSERT INTO anchors (chain, seq, hash, ts) VALUES ('paper', 15, %s, '2026-01-31 12:00:00')", "f" * 64)
    (bad,) = check_some()
    assert "ahead of the chain" in bad.why
    assert level() == Level.HALTED


@pytest.mark.django_db
def test_anchor_with_another_hash_halts_when_the_round_begins_anew(anchors: Path) -> None:
    write_fills(30)
    anchor(anchors, "paper", 3, "f" * 64)
    found = [bad for _ in range(5) for bad in check_some(10)]
    assert {bad.seq for bad in found} == {3}


@pytest.mark.django_db
def test_person_who_releases_over_a_broken_chain_is_not_halted_again_for_the_same(anchors: Path) -> None:
    write_fills(10)
    drop_triggers()
    edit(4)
    check_some()
    release("we know, and trade on paper", actor="ben")
    check_some()
    check_some(3)
    assert level() == Level.ACTIVE
    edit(2)
    check_some()
    check_some()
    assert level() == Level.HALTED, "another finding is news"
    assert OperatorEvent.objects.filter(action="audit_tampered").count() == 2


@pytest.mark.django_db
def test_old_backup_that_grows_on_is_one_finding(anchors: Path) -> None:
    write_fills(10)
    anchor(anchors, "paper", 15, "f" * 64)
    check_some()
    release("restored on purpose", actor="ben")
    write_fills(10)
    check_some()
    check_some()
    assert level() == Level.ACTIVE


def test_chain_whose_head_is_gone_halts_by_the_file(committed_db: CommittedDatabase) -> None:
    """Nothing can be recorded in the operators' chain then: the halt must happen all the same."""
    drop_triggers()
    execute("DELETE FROM chain_heads WHERE chain = 'operator'")
    assert check_some()
    assert level() == Level.HALTED
    assert Path(django_settings.KILL_FILE).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("kept", ["", "nonsense", "[]", '{"at": {"paper": 3}, "reported": []}', '{"at": {}}'])
def test_note_that_cannot_be_read_starts_the_watch_anew(kept: str) -> None:
    write_fills(5)
    Setting.objects.create(key=chain_watch.POSITION_KEY, value=kept)
    assert check_some() == []
    drop_triggers()
    edit(2)
    assert [bad.seq for bad in check_some()] == [2]


@pytest.mark.django_db
def test_part_by_part_every_row_is_checked_and_it_begins_anew() -> None:
    write_fills(23)
    starts, at = [], 1
    for _ in range(4):
        starts.append(at)
        at, bad = verify_part(Chain.PAPER, at, 10)
        assert bad is None
    assert starts == [1, 11, 21, 1]
    assert OrderEvent.objects.count() == 23
    assert verify_part(Chain.LIVE, 99, 10) == (1, None)


def told() -> list[Notification]:
    return list(Notification.objects.filter(event="audit_tampered").order_by("id"))


@pytest.mark.django_db
def test_each_finding_is_told_once_with_what_to_do(anchors: Path) -> None:
    write_fills(10)
    drop_triggers()
    edit(4)
    for _ in range(3):
        check_some()
    [one] = told()
    assert (one.severity, one.subject) == ("urgent", "chain:paper order_events 4")
    assert "manage.py verify_audit" in one.text
    assert dict(one.facts)["Row"] == "seq 4"
    assert Notification.objects.filter(event="kill_switch_engaged").count() == 1
    edit(2)
    check_some()
    assert len(told()) == 2


@pytest.mark.django_db
def test_an_old_backup_is_told_as_one(anchors: Path) -> None:
    write_fills(10)
    anchor(anchors, "paper", 15, "f" * 64)
    check_some()
    assert "an old backup restored" in told()[0].text


def test_a_finding_that_cannot_be_recorded_is_told_once_all_the_same(committed_db: CommittedDatabase) -> None:
    drop_triggers()
    execute("DELETE FROM chain_heads WHERE chain = 'operator'")
    for _ in range(3):
        check_some()
    [one] = told()
    assert one.subject.startswith("chain:operator chain_heads")
