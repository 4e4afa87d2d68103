"""The latches: any of them halts, and so does whatever cannot be read."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
)
from django.utils import timezone
from pytest_django import Settings

from safety import outage
from safety.intents import Level
from safety.kill_switch import (
    StateBook,
    engage,
    local_latches,
    read_state,
)
from safety.models import Setting, TradingState
from tests.conftest import CommittedDatabase
from tests.safety.latches import engage_by_environment, move_kill_file, unconstrained

NOBODY = 65_534


@pytest.fixture(autouse=True)
def kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Look for the file latch in a directory of the test's own; it is not there yet."""
    return move_kill_file(tmp_path, settings)


# The latches of the database.


@pytest.mark.django_db
def test_fresh_installation_is_active() -> None:
    assert read_state().level == Level.ACTIVE
    assert read_state("kraken", 7) == read_state()
    assert read_state().reasons == ()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("level", "expected"),
    [("active", Level.ACTIVE), ("reducing", Level.REDUCING), ("halted", Level.HALTED)],
)
def test_global_row_binds_everyone(level: str, expected: Level) -> None:
    TradingState.objects.update(level=level, reason="a drill")
    assert read_state().level == read_state("kraken", 7).level == expected
    assert read_state().reasons == (() if level == "active" else ("a drill",))


@pytest.mark.django_db
def test_missing_global_row_halts() -> None:
    TradingState.objects.all().delete()
    assert read_state("kraken", 7).level == Level.HALTED
    assert "missing" in read_state().reasons[0]


@pytest.mark.django_db
@pytest.mark.parametrize("level", ["", "Active", "ACTIVE", "open", "0"])
def test_unknown_level_halts(level: str) -> None:
    with unconstrained("trading_states", "trading_state_level_known"):
        TradingState.objects.filter(scope="global").update(level=level)
        assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_missing_setting_halts() -> None:
    Setting.objects.filter(key="kill_switch").delete()
    assert read_state("kraken", 7).level == Level.HALTED
    assert "setting is missing" in read_state().reasons[0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "value", ["1", "yes", "true", "on", "engaged", "", " ", "00", "0.0", "-0", "no", "off", "false"]
)
def test_setting_that_says_anything_but_zero_halts(value: str) -> None:
    Setting.objects.filter(key="kill_switch").update(value=value)
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["0", " 0", "0\n"])
def test_setting_that_says_zero_does_not_halt(value: str) -> None:
    Setting.objects.filter(key="kill_switch").update(value=value)
    assert read_state().level == Level.ACTIVE


@pytest.mark.django_db
def test_row_named_like_the_setting_does_not_stand_in_for_it() -> None:
    TradingState.objects.create(scope="kill_switch", level=Level.ACTIVE, changed_at=timezone.now())
    Setting.objects.filter(key="kill_switch").update(value="1")
    assert read_state().level == Level.HALTED
    Setting.objects.filter(key="kill_switch").delete()
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_scopes_bind_only_their_venue_and_their_bot() -> None:
    engage(Level.HALTED, "venue down", actor="ann", scope="venue:kraken")
    engage(Level.REDUCING, "odd bot", actor="ann", scope="bot:7")
    book = StateBook.read()
    assert book.reading().level == Level.ACTIVE
    assert book.reading("replay", 1).level == Level.ACTIVE
    assert book.reading("kraken", 1).level == Level.HALTED
    assert book.reading("replay", 7).level == Level.REDUCING
    assert book.reading("replay", 77).level == Level.ACTIVE
    assert book.reading("kraken", 7).level == Level.HALTED, "the strictest wins"
    assert book.reading("kraken", 7).reasons == ("venue down",)
    assert book.reading(None, 7).level == Level.REDUCING


@pytest.mark.django_db
def test_reading_names_every_latch_of_the_strictest_level(kill_file: Path, settings: Settings) -> None:
    kill_file.touch()
    engage_by_environment(settings)
    engage(Level.HALTED, "a drill", actor="ann")
    engage(Level.REDUCING, "odd bot", actor="ann", scope="bot:7")
    assert read_state("replay", 7).reasons == (
        "the file KILL exists in host/",
        "KILL_SWITCH is set in the environment",
        "a drill",
        "the kill_switch setting is on",
    )


@pytest.mark.django_db
def test_reading_every_latch_and_flatten_costs_one_statement(django_assert_num_queries: Any) -> None:
    engage(Level.REDUCING, "odd bot", actor="ann", scope="bot:7")
    with django_assert_num_queries(1):
        book = StateBook.read()
        assert [book.reading("kraken", bot_id).level for bot_id in (6, 7)] == [Level.ACTIVE, Level.REDUCING]


# The latches of this host.


@pytest.mark.django_db
def test_file_halts_whatever_is_in_it(kill_file: Path) -> None:
    for content in ("", "0", "false"):
        kill_file.write_text(content)
        assert read_state("replay", 7).level == Level.HALTED
    kill_file.unlink()
    assert read_state().level == Level.ACTIVE


def make_directory(path: Path) -> None:
    path.mkdir()


def make_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize("make", [make_directory, make_broken_link, make_link_to_itself, make_socket])
def test_anything_of_the_files_name_halts(
    kill_file: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kill_file.parent)
    make(Path(kill_file.name))
    assert [latch.level for latch in local_latches()] == [Level.HALTED]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run the block without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_directory_that_may_not_be_read_halts(kill_file: Path) -> None:
    kill_file.parent.chmod(0)
    try:
        with as_nobody():
            latches = local_latches()
    finally:
        kill_file.parent.chmod(0o700)
    assert [latch.level for latch in latches] == [Level.HALTED]
    assert "cannot be looked for" in latches[0].reason


@pytest.mark.parametrize("damage", ["gone", "a file", "a loop", "too long"])
def test_path_that_cannot_hold_the_file_halts(kill_file: Path, settings: Settings, damage: str) -> None:
    directory = kill_file.parent
    directory.rmdir()
    if damage == "a file":
        directory.touch()
    elif damage == "a loop":
        directory.symlink_to(directory)
    elif damage == "too long":
        settings.KILL_FILE = directory.parent / ("x" * 300) / "KILL"
    assert [latch.level for latch in local_latches()] == [Level.HALTED]


@pytest.mark.django_db
def test_variable_halts(settings: Settings) -> None:
    engage_by_environment(settings)
    assert read_state("replay", 7).level == Level.HALTED
    assert [latch.source for latch in local_latches()] == ["environment"]


# The database is not there.


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ProgrammingError, InternalError, DatabaseError])
def test_every_error_of_the_database_reads_as_halted(error: type[Exception]) -> None:
    def fail(*args: Any) -> None:
        raise error("the server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        state = read_state("replay", 7)
    assert state.level == Level.HALTED
    assert "cannot be read" in state.reasons[0]
    outage.forget()
    assert read_state().level == Level.ACTIVE


def test_connection_that_broke_reads_as_halted(committed_db: CommittedDatabase) -> None:
    assert read_state().level == Level.ACTIVE
    connection.connection.close()
    assert read_state("replay", 7).level == Level.HALTED


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["trading_states", "settings"])
def test_table_that_is_gone_reads_as_halted(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO gone")
    assert StateBook.read().reading("replay", 7).level == Level.HALTED


@pytest.mark.django_db
def test_local_latches_are_told_while_the_database_is_down(kill_file: Path) -> None:
    kill_file.touch()

    def fail(*args: Any) -> None:
        raise OperationalError("down")

    with connection.execute_wrapper(fail):
        assert len(read_state().reasons) == 2
