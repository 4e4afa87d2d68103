"""Engaging never lowers, releasing takes a reason, and both are operator events."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from audit.log import unit
from safety.intents import Level
from safety.kill_switch import (
    ReleaseRefusedError,
    StateBook,
    UnknownScopeError,
    begin_flatten,
    engage,
    read_state,
    release,
)
from safety.models import KillRun, Setting, TradingState
from tests.conftest import CommittedDatabase
from tests.safety.latches import engage_by_environment, events, move_kill_file, unconstrained


@pytest.fixture(autouse=True)
def kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Look for the file latch in a directory of the test's own; it is not there yet."""
    return move_kill_file(tmp_path, settings)


# Engage.


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [Level.REDUCING, Level.HALTED])
@pytest.mark.parametrize("standing", list(Level))
def test_engage_never_lowers(standing: Level, wanted: Level) -> None:
    for scope in ("global", "venue:kraken", "bot:7"):
        TradingState.objects.update_or_create(
            scope=scope, defaults={"level": standing, "reason": "first", "actor": "bob", "changed_at": timezone.now()}
        )
        strictest = max(standing, wanted, key=lambda one: one.rank)
        engage(wanted, "second", actor="ann", scope=scope)
        row = TradingState.objects.get(scope=scope)
        assert row.level == strictest
        assert (row.reason, row.actor) == (("second", "ann") if strictest != standing else ("first", "bob"))


@pytest.mark.django_db
def test_engaging_a_lower_level_while_the_global_row_is_missing_does_not_lower_it() -> None:
    TradingState.objects.all().delete()
    engage(Level.REDUCING, "odd prices", actor="ann")
    assert read_state().level == Level.HALTED


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [Level.REDUCING, Level.HALTED])
def test_engage_over_an_unknown_level_leaves_it_halted(wanted: Level) -> None:
    with unconstrained("trading_states", "trading_state_level_known"):
        TradingState.objects.filter(scope="global").update(level="sleeping")
        engage(wanted, "odd", actor="ann")
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
def test_engaging_to_active_is_refused_since_that_would_release() -> None:
    with pytest.raises(ValueError, match="never releases"):
        engage(Level.ACTIVE, "go on", actor="ann")
    assert events() == []


@pytest.mark.django_db
@pytest.mark.parametrize("act", ["engage", "release", "flatten"])
def test_none_is_part_of_a_unit_of_the_caller(act: str) -> None:
    """Its commit must be a real one: only then does whoever sends see it."""
    acts: dict[str, Callable[[], object]] = {
        "engage": lambda: engage(Level.HALTED, "stop", actor="ann"),
        "release": lambda: release("go on", actor="ann"),
        "flatten": lambda: begin_flatten("sell", actor="ann"),
    }
    with pytest.raises(RuntimeError), unit():
        acts[act]()
    assert read_state().level == Level.ACTIVE
    assert events() == []
    assert not KillRun.objects.exists()


@pytest.mark.parametrize("act", ["engage", "release"])
def test_none_is_part_of_a_transaction_of_the_caller(committed_db: CommittedDatabase, act: str) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        engage(Level.HALTED, "stop", actor="ann") if act == "engage" else release("go on", actor="ann")
    assert read_state().level == Level.ACTIVE
    assert not committed_db.var_dir.joinpath("KILL").exists(), "a mistake of the caller is no outage"


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
