"""The kill switch: any latch halts, what can't be read halts, engaging never lowers, releasing takes a reason."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.utils import timezone
from pytest_django import Settings

from audit.log import unit
from audit.models import OperatorEvent
from safety.intents import Level
from safety.kill_switch import (
    ReleaseRefusedError,
    StateBook,
    UnknownScopeError,
    engage,
    local_latches,
    read_state,
    release,
)
from safety.models import Setting, TradingState
from tests.conftest import CommittedDatabase, on_sqlite

NOBODY = 65_534


@pytest.fixture(autouse=True)
def kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Return where the file latch is looked for; it is not there yet."""
    directory = tmp_path / "host"
    directory.mkdir()
    settings.KILL_FILE = directory / "KILL"
    return directory / "KILL"


def engage_by_environment(settings: Settings) -> None:
    settings.ENVIRONMENT = replace(django_settings.ENVIRONMENT, kill_switch_engaged=True)


def events() -> list[tuple[str, ...]]:
    """Return the operator events: actor, action, object, old, new, reason."""
    names = ("actor", "action", "object", "old", "new", "reason")
    return list(OperatorEvent.objects.order_by("seq").values_list(*names))


@contextmanager
def unconstrained(table: str, constraint: str) -> Iterator[None]:
    """Let the block write what the database's check would refuse."""
    with connection.cursor() as cursor:
        if on_sqlite():
            cursor.execute("PRAGMA ignore_check_constraints = 1")
        else:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        try:
            yield
        finally:
            if on_sqlite():
                cursor.execute("PRAGMA ignore_check_constraints = 0")


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


# Engage.


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", list(Level))
@pytest.mark.parametrize("standing", list(Level))
def test_engage_never_lowers(standing: Level, wanted: Level) -> None:
    for scope in ("global", "venue:kraken", "bot:7"):
        TradingState.objects.update_or_create(
            scope=scope, defaults={"level": standing, "reason": "first", "actor": "bob", "changed_at": timezone.now()}
        )
        strictest = max(standing, wanted, key=lambda one: one.rank)
        assert engage(wanted, "second", actor="ann", scope=scope) == strictest
        row = TradingState.objects.get(scope=scope)
        assert row.level == strictest
        assert (row.reason, row.actor) == (("second", "ann") if strictest != standing else ("first", "bob"))


@pytest.mark.django_db
def test_engaging_a_lower_level_while_the_global_row_is_missing_does_not_lower_it() -> None:
    TradingState.objects.all().delete()
    assert engage(Level.REDUCING, "odd prices", actor="ann") == Level.HALTED
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [Level.REDUCING, Level.HALTED])
def test_engage_over_an_unknown_level_leaves_it_halted(wanted: Level) -> None:
    with unconstrained("trading_states", "trading_state_level_known"):
        TradingState.objects.filter(scope="global").update(level="sleeping")
        assert engage(wanted, "odd", actor="ann") == Level.HALTED
        assert read_state().level == Level.HALTED


@pytest.mark.django_db
def test_global_halt_sets_the_setting_and_nothing_less_does() -> None:
    engage(Level.REDUCING, "odd prices", actor="ann")
    engage(Level.HALTED, "venue down", actor="ann", scope="venue:kraken")
    assert Setting.objects.get(key="kill_switch").value == "0"
    engage(Level.HALTED, "stop", actor="ann")
    assert Setting.objects.get(key="kill_switch").value == "1"


@pytest.mark.django_db
def test_global_halt_repairs_a_setting_that_was_put_back() -> None:
    engage(Level.HALTED, "stop", actor="ann")
    Setting.objects.filter(key="kill_switch").update(value="0")
    assert read_state().level == Level.HALTED, "the row holds by itself"
    engage(Level.HALTED, "stop again", actor="ann")
    assert Setting.objects.get(key="kill_switch").value == "1"


@pytest.mark.django_db
def test_each_engage_is_an_operator_event_also_when_it_changes_nothing() -> None:
    engage(Level.REDUCING, "odd prices", actor="ann", scope="venue:kraken")
    engage(Level.HALTED, "stop", actor="bob")
    engage(Level.HALTED, "stop, stop", actor="eve")
    engage(Level.REDUCING, "slower", actor="eve")
    assert events() == [
        ("ann", "kill_switch_engaged", "venue:kraken", "active", "reducing", "odd prices"),
        ("bob", "kill_switch_engaged", "global", "active", "halted", "stop"),
        ("eve", "kill_switch_engaged", "global", "halted", "halted", "stop, stop"),
        ("eve", "kill_switch_engaged", "global", "halted", "halted", "slower"),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "scope",
    [
        "",
        "Global",
        "globa",
        "kill_switch",
        "venue:",
        "venue:Kraken",
        "venue:kraken ",
        "bot:",
        "bot:x",
        "bot:07",
        "bot:-1",
        "bot:٧",
    ],
)
def test_scope_that_would_bind_nothing_is_refused(scope: str) -> None:
    with pytest.raises(UnknownScopeError):
        engage(Level.HALTED, "stop", actor="ann", scope=scope)
    with pytest.raises(UnknownScopeError):
        release("go on", actor="ann", scope=scope)
    assert events() == []
    assert TradingState.objects.count() == 1


@pytest.mark.django_db
def test_engage_joins_the_unit_of_its_caller_and_is_undone_with_it() -> None:
    with unit():
        engage(Level.HALTED, "stop", actor="ann")
        assert read_state().level == Level.HALTED
        transaction.set_rollback(True)
    assert read_state().level == Level.ACTIVE
    assert events() == []


def test_engage_commits_its_row_its_setting_and_its_event_together(committed_db: CommittedDatabase) -> None:
    engage(Level.HALTED, "stop", actor="ann")
    connection.close()
    assert read_state().reasons == ("stop", "the kill_switch setting is on")
    assert events() == [("ann", "kill_switch_engaged", "global", "active", "halted", "stop")]


# Release.


@pytest.mark.django_db
@pytest.mark.parametrize("standing", [Level.REDUCING, Level.HALTED])
def test_release_sets_its_scope_to_active_and_is_an_operator_event(standing: Level) -> None:
    engage(standing, "stop", actor="ann")
    assert release("checked by hand", actor="bob") == []
    assert read_state().level == Level.ACTIVE
    assert Setting.objects.get(key="kill_switch").value == "0"
    assert events()[1:] == [("bob", "kill_switch_released", "global", standing.value, "active", "checked by hand")]


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_release_without_a_reason_is_refused(reason: str) -> None:
    engage(Level.HALTED, "stop", actor="ann")
    with pytest.raises(ReleaseRefusedError, match="reason"):
        release(reason, actor="bob")
    assert read_state().level == Level.HALTED
    assert len(events()) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["global", "venue:kraken", "bot:7"])
@pytest.mark.parametrize("latch", ["file", "environment"])
def test_release_while_a_latch_of_this_host_holds_is_refused_and_names_it(
    kill_file: Path, settings: Settings, latch: str, scope: str
) -> None:
    engage(Level.HALTED, "stop", actor="ann", scope=scope)
    if latch == "file":
        kill_file.touch()
    else:
        engage_by_environment(settings)
    with pytest.raises(ReleaseRefusedError, match="KILL"):
        release("go on", actor="bob", scope=scope)
    assert TradingState.objects.get(scope=scope).level == Level.HALTED
    assert len(events()) == 1


@pytest.mark.django_db
def test_release_of_a_bot_leaves_venue_and_global_and_returns_what_still_holds() -> None:
    for scope in ("global", "venue:kraken", "bot:7", "bot:8"):
        engage(Level.HALTED, "stop", actor="ann", scope=scope)
    left = release("checked", actor="bob", scope="bot:7")
    assert {latch.source for latch in left} == {"global", "kill_switch"}
    levels = dict(TradingState.objects.values_list("scope", "level"))
    assert levels == {"global": "halted", "venue:kraken": "halted", "bot:7": "active", "bot:8": "halted"}
    assert read_state("kraken", 7).level == Level.HALTED


@pytest.mark.django_db
def test_global_release_leaves_other_scopes() -> None:
    engage(Level.HALTED, "venue down", actor="ann", scope="venue:kraken")
    engage(Level.HALTED, "stop", actor="ann")
    release("checked", actor="bob")
    assert read_state("replay", 7).level == Level.ACTIVE
    assert read_state("kraken", 7).level == Level.HALTED


@pytest.mark.django_db
def test_release_makes_good_a_missing_row_and_a_missing_setting() -> None:
    TradingState.objects.all().delete()
    Setting.objects.filter(key="kill_switch").delete()
    assert release("restored from a backup", actor="bob") == []
    assert read_state().level == Level.ACTIVE


@pytest.mark.django_db
def test_book_is_a_moment_and_the_next_one_sees_the_change() -> None:
    before = StateBook.read()
    engage(Level.HALTED, "stop", actor="ann")
    assert before.reading().level == Level.ACTIVE
    assert StateBook.read().reading().level == Level.HALTED
