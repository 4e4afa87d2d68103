"""Every halt and every release is told, once; and no halt ever waits for that or fails by it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from safety import kill_switch, latches
from safety.intents import Level
from safety.kill_switch import begin_flatten, end_flatten, engage, read_state, release
from safety.models import TradingState
from safety.notification_models import Notification
from safety.notifications.beside import once, tell_beside
from tests.conftest import CommittedDatabase, on_sqlite
from tests.safety.latches import engage_by_environment, move_kill_file


@pytest.fixture(autouse=True)
def kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Look for the file latch in a directory of the test's own; it is not there yet."""
    return move_kill_file(tmp_path, settings)


def told(event: str = "kill_switch_engaged") -> list[Notification]:
    return list(Notification.objects.filter(event=event).order_by("id"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("level", "scope", "title"),
    [
        (Level.HALTED, "global", "All trading is HALTED"),
        (Level.HALTED, "venue:kraken", "Trading of Kraken is HALTED"),
        (Level.HALTED, "bot:7", "Trading of bot 7 is HALTED"),
        (Level.REDUCING, "venue:alpaca", "Reduce-only: Alpaca only sells"),
    ],
)
def test_a_halt_tells_level_scope_who_and_why(level: Level, scope: str, title: str) -> None:
    engage(level, "odd prices", actor="ann", scope=scope)
    [found] = told()
    assert (found.title, found.subject, found.severity) == (title, f"trading:{scope}", "urgent")
    facts = dict(found.facts)
    assert (facts["State"], facts["By"], facts["Why"]) == (level.value.upper(), "ann", "odd prices")
    assert found.text.startswith("odd prices")
    assert "Only a person can" in found.text or "only a person can" in found.text


@pytest.mark.django_db
def test_a_halt_of_what_is_halted_is_told_once_and_a_higher_level_again() -> None:
    for _ in range(3):
        engage(Level.REDUCING, "odd prices", actor="ann")
    assert len(told()) == 1
    engage(Level.HALTED, "worse", actor="ann")
    engage(Level.REDUCING, "again", actor="ann")
    assert [one.facts[0][1] for one in told()] == ["REDUCING", "HALTED"]


@pytest.mark.django_db
def test_a_venue_that_is_halted_under_a_halt_of_everything_is_told_too() -> None:
    engage(Level.HALTED, "stop", actor="ann")
    engage(Level.HALTED, "its key is refused", actor="automatic", scope="venue:kraken")
    assert [one.subject for one in told()] == ["trading:global", "trading:venue:kraken"]


@pytest.mark.django_db
def test_a_release_is_told_with_who_and_why() -> None:
    engage(Level.HALTED, "stop", actor="ann", scope="venue:kraken")
    release("the venue is back", actor="bob", scope="venue:kraken")
    [found] = told("kill_switch_released")
    assert (found.severity, found.subject) == ("info", "trading:venue:kraken")
    assert dict(found.facts) == {"Where": "Kraken", "By": "bob", "Why": "the venue is back"}


@pytest.mark.django_db
def test_a_flatten_is_told_when_it_begins_and_when_it_ends() -> None:
    run = begin_flatten("enough", actor="ann", scope="venue:kraken")
    end_flatten(run.pk, "nothing is left")
    end_flatten(run.pk, "nothing is left")
    assert [one.title for one in told()] == ["A flatten of Kraken has begun", "The flatten of Kraken is over: HALTED"]


@pytest.mark.django_db
def test_a_latch_of_this_host_is_told_when_it_comes_to_the_database_and_not_again(settings: Settings) -> None:
    engage_by_environment(settings)
    for _ in range(3):
        latches.look_again()
        latches.copy_to_row()
    [found] = told()
    assert "KILL_SWITCH" in dict(found.facts)["By"]


@contextmanager
def no_outbox() -> Iterator[None]:
    """Take the outbox's table away, as a database that was not migrated has none."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE notifications RENAME TO notifications_gone")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE notifications_gone RENAME TO notifications")


def test_a_halt_holds_when_nobody_can_be_told(committed_db: CommittedDatabase) -> None:
    with no_outbox():
        run = engage(Level.HALTED, "stop", actor="ann")
        assert TradingState.objects.get(scope="global").level == Level.HALTED
    assert run.pk is not None, "in the database, and not by the file alone"
    assert read_state().level == Level.HALTED
    assert told() == []


@pytest.mark.skipif(on_sqlite(), reason="SQLite has one lock for all tables")
def test_a_halt_does_not_wait_for_a_lock_on_the_outbox(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kill_switch.LOCK_MS_MAX, "postgresql", 30_000)
    with psycopg.connect(committed_db.url) as other:
        other.execute("LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE")
        started_s = time.monotonic()
        run = engage(Level.HALTED, "stop", actor="ann")
        took_s = time.monotonic() - started_s
        other.rollback()
    assert run.pk is not None
    assert read_state().level == Level.HALTED
    assert took_s < 10, "the brief wait for the outbox, and not that for the trading state"


def test_a_release_holds_when_nobody_can_be_told(committed_db: CommittedDatabase) -> None:
    engage(Level.HALTED, "stop", actor="ann")
    with no_outbox():
        release("looked", actor="ann")
        assert TradingState.objects.get(scope="global").level == Level.ACTIVE


@pytest.mark.skipif(on_sqlite(), reason="SQLite has one lock for all tables")
def test_a_release_that_cannot_be_told_holds_up_no_halt(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kill_switch.LOCK_MS_MAX, "postgresql", 30_000)
    engage(Level.HALTED, "stop", actor="ann")
    with psycopg.connect(committed_db.url) as other:
        other.execute("LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE")
        started_s = time.monotonic()
        release("looked", actor="ann")
        engage(Level.HALTED, "again", actor="ann")
        took_s = time.monotonic() - started_s
        other.rollback()
    assert read_state().level == Level.HALTED
    assert took_s < 8, "each waits for the outbox briefly"


@pytest.mark.skipif(on_sqlite(), reason="SQLite has one lock for all tables")
@pytest.mark.django_db
def test_the_wait_for_other_locks_is_what_it_was() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1234ms'")
        for title in ("fine", "\ud800"):
            tell_beside("test", "x", title)
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("1234ms",)
        assert not tell_beside("no such event", "x", "y")
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1234ms",)


@pytest.mark.django_db
@pytest.mark.parametrize("odd", ["nul \0 inside", "half \ud800 a character", "x" * 5_000])
def test_an_odd_reason_is_told_as_far_as_it_can_be_kept(odd: str) -> None:
    engage(Level.HALTED, odd, actor=odd)
    [found] = told()
    assert "\0" not in found.text
    assert len(found.text) <= 2_000


@pytest.mark.django_db
@pytest.mark.parametrize("make", [lambda: once("a", "b"), lambda: once("a", 1, None)])
def test_an_id_of_a_cause_is_always_the_same_and_fits(make: Callable[[], str]) -> None:
    assert make() == make()
    assert len(make()) == 40
    assert once("a", "b") != once("ab", "")
    assert tell_beside("test", "x", "y", event_id=make())
    assert not tell_beside("test", "x", "y", event_id=make()), "told before"
