"""Latches of a host reach the database, outages keep quiet for a while, and without a database the file halts."""

import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from audit.log import unit
from safety import kill_runs, latches, outage
from safety.intents import Level
from safety.kill_file import write_kill_file
from safety.kill_switch import EngageFailedError, engage, read_state, release
from safety.models import KillRun, TradingState
from tests.audit.factories import drop_triggers
from tests.conftest import CommittedDatabase
from tests.safety.latches import engage_by_environment, events, move_kill_file, set_level


@pytest.fixture(autouse=True)
def kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Look for the file latch in a directory of the test's own; it is not there yet."""
    return move_kill_file(tmp_path, settings)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a monotonic clock that the test moves, for outages and for looking at the latches."""
    now = SimpleNamespace(s=1_000.0)
    stand_in = SimpleNamespace(monotonic=lambda: now.s)
    monkeypatch.setattr(outage, "time", stand_in)
    monkeypatch.setattr(latches, "time", stand_in)
    return now


def copy() -> bool:
    latches.look_again()
    return latches.copy_to_row()


# From the host to the row.


@pytest.mark.django_db
@pytest.mark.parametrize("by", ["file", "environment"])
def test_latch_of_this_host_is_copied_once_and_others_follow(kill_file: Path, settings: Settings, by: str) -> None:
    kill_file.touch() if by == "file" else engage_by_environment(settings)
    assert copy()
    assert TradingState.objects.get(scope="global").level == "halted"
    assert not copy()
    assert not copy()
    ((actor, action, what, old, new, reason),) = events()
    assert actor.startswith("file latch on " if by == "file" else "KILL_SWITCH on ")
    assert (action, what, old, new) == ("kill_switch_engaged", "global", "active", "halted")
    assert "KILL" in reason


@pytest.mark.django_db
def test_latch_that_holds_over_a_release_elsewhere_is_copied_again(kill_file: Path) -> None:
    kill_file.touch()
    assert copy()
    set_level(Level.ACTIVE, "released on another host")
    assert copy()
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_reducing_row_is_raised_by_the_file(kill_file: Path) -> None:
    engage(Level.REDUCING, "slower", actor="ann")
    kill_file.touch()
    assert copy()
    assert TradingState.objects.get(scope="global").level == "halted"


@pytest.mark.django_db
def test_without_a_latch_nothing_is_read_or_written() -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("the database was asked")

    with connection.execute_wrapper(fail):
        assert not copy()


@pytest.mark.django_db
def test_it_looks_once_a_second(kill_file: Path, clock: SimpleNamespace) -> None:
    assert not latches.copy_to_row()
    kill_file.touch()
    clock.s += 0.9
    assert not latches.copy_to_row()
    clock.s += 0.2
    assert latches.copy_to_row()


@pytest.mark.django_db
def test_inside_a_unit_it_waits(kill_file: Path) -> None:
    kill_file.touch()
    with unit():
        assert not copy()
    assert copy()


@pytest.mark.django_db
def test_database_that_is_down_is_told_to_the_log_and_tried_again(
    kill_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill_file.touch()
    with connection.execute_wrapper(_failing(OperationalError("down"))):
        assert not copy()
    assert "not in the database yet" in caplog.text
    assert copy()


def _failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any) -> None:
        raise error

    return fail


# After an outage.


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_after_an_outage_nothing_is_sent_for_ten_seconds_from_the_first_answer(
    clock: SimpleNamespace, error: Exception
) -> None:
    with connection.execute_wrapper(_failing(error)):
        assert read_state().level == Level.HALTED
        clock.s += 100
        assert read_state().level == Level.HALTED
    clock.s += 50
    first = read_state()
    assert first.level == Level.HALTED
    assert "the database was away until" in first.reasons[0]
    assert "nothing is sent for 10 s" in first.reasons[0]
    clock.s += 9.9
    assert read_state().level == Level.HALTED
    clock.s += 0.1
    assert read_state().level == Level.ACTIVE


@pytest.mark.django_db
def test_outage_that_a_worker_saw_counts_too(clock: SimpleNamespace) -> None:
    outage.note_failure(OperationalError("server closed the connection"))
    assert read_state().level == Level.HALTED
    clock.s += 10
    assert read_state().level == Level.ACTIVE


class _Sql(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.django_db
@pytest.mark.parametrize("sqlstate", ["40P01", "55P03", "40001", "57014"])
def test_deadlock_or_lock_timeout_is_no_outage(sqlstate: str) -> None:
    error = OperationalError("wait")
    error.__cause__ = _Sql(sqlstate)
    outage.note_failure(error)
    assert read_state().level == Level.ACTIVE
    error.__cause__ = _Sql("57P01")
    outage.note_failure(error)
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_error_that_is_no_outage_halts_its_own_read_alone() -> None:
    with connection.execute_wrapper(_failing(DatabaseError("bad"))):
        assert read_state().level == Level.HALTED
    assert read_state().level == Level.ACTIVE


@pytest.mark.django_db
def test_no_flatten_passes_while_it_is_quiet_after_an_outage() -> None:
    from safety.kill_switch import begin_flatten

    begin_flatten("enough", actor="anna", scope="bot:7")
    KillRun.objects.update(ended_at=None, flatten_until=timezone.now() + timedelta(seconds=60))
    assert read_state("replay", 7).is_flattening
    outage.note_failure()
    assert not read_state("replay", 7).is_flattening


# Without a database.


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("down"), DatabaseError("odd"), InterfaceError("closed")])
@pytest.mark.parametrize(("level", "scope"), [(Level.HALTED, "global"), (Level.REDUCING, "bot:7")])
def test_engage_without_a_database_halts_this_host_by_the_file(
    kill_file: Path, error: Exception, level: Level, scope: str
) -> None:
    with connection.execute_wrapper(_failing(error)):
        run = engage(level, "prices look wrong", actor="ann", scope=scope)
        told = kill_runs.wait_for_drain(run)
    assert kill_runs.is_host_only(run)
    assert (told.is_host_only, told.is_drained, told.state, told.scope) == (True, False, "halted", "global")
    text = kill_file.read_text()
    assert "prices look wrong" in text
    assert "by ann" in text
    assert scope in text
    outage.forget()
    assert read_state().level == Level.HALTED
    assert copy(), "and the others follow when the database is back"
    assert events()[0][2:5] == ("global", "active", "halted")


@pytest.mark.django_db
def test_missing_chain_head_does_not_keep_a_halt_from_happening(kill_file: Path) -> None:
    drop_triggers()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM chain_heads WHERE chain = 'operator'")
    assert kill_runs.is_host_only(engage(Level.HALTED, "stop", actor="ann"))
    assert kill_file.exists()
    assert TradingState.objects.get(scope="global").level == "active"


@pytest.mark.django_db
def test_when_not_even_the_file_can_be_written_that_is_said(kill_file: Path) -> None:
    kill_file.parent.rmdir()
    with connection.execute_wrapper(_failing(OperationalError("down"))), pytest.raises(EngageFailedError) as failed:
        engage(Level.HALTED, "stop", actor="ann")
    assert "Stop the workers" in str(failed.value)
    assert "missing" in str(failed.value), "what halts this host all the same is named"


def test_stale_connection_is_opened_anew_and_no_file_is_left(committed_db: CommittedDatabase) -> None:
    assert read_state().level == Level.ACTIVE
    connection.connection.close()
    run = engage(Level.HALTED, "stop", actor="ann")
    assert not kill_runs.is_host_only(run)
    assert not (committed_db.var_dir / "KILL").exists()
    assert TradingState.objects.get(scope="global").level == "halted"


# The file.


def test_file_is_whole_or_not_there_and_is_never_replaced(kill_file: Path) -> None:
    assert write_kill_file("first", actor="ann", now=timezone.now())
    first = kill_file.read_text()
    assert not write_kill_file("second", actor="bob", now=timezone.now())
    assert kill_file.read_text() == first
    assert [path.name for path in kill_file.parent.iterdir()] == ["KILL"]
    assert stat.S_ISREG(os.lstat(kill_file).st_mode)


def test_full_disk_still_leaves_an_empty_file(kill_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_kill_file("stop", actor="ann", now=timezone.now())
    assert kill_file.exists()


def test_file_system_without_links_still_takes_the_latch(kill_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: Any) -> None:
        raise PermissionError("links are not supported")

    monkeypatch.setattr(os, "link", no_links)
    assert write_kill_file("stop", actor="ann", now=timezone.now())
    assert kill_file.exists()


@pytest.mark.django_db
def test_file_that_was_there_keeps_its_text_when_the_database_is_down(kill_file: Path) -> None:
    kill_file.write_text("by hand")
    with connection.execute_wrapper(_failing(OperationalError("down"))):
        engage(Level.HALTED, "stop", actor="ann")
    assert kill_file.read_text() == "by hand"


@pytest.mark.django_db
def test_release_over_a_copied_latch_needs_the_file_gone(kill_file: Path) -> None:
    kill_file.touch()
    copy()
    kill_file.unlink()
    assert read_state().level == Level.HALTED, "the row goes on holding"
    assert release("checked", actor="ben") == []
    assert read_state().level == Level.ACTIVE
