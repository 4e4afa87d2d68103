"""The throw-away database that tests with real commits rely on."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction

from tests.conftest import CommittedDatabase, on_sqlite
from tests.spare_databases import SpareDatabases, server_url

PROJECT = Path(__file__).resolve().parents[2]
LEFT_BEHIND = "left behind by a test that committed"


@pytest.mark.parametrize("attempt", [1, 2])
def test_commits_are_real_and_gone_before_the_next_test(committed_db: CommittedDatabase, attempt: int) -> None:
    assert not Group.objects.filter(name=LEFT_BEHIND).exists()
    with transaction.atomic(durable=True):
        Group.objects.create(name=LEFT_BEHIND)
    assert not connection.in_atomic_block
    assert Group.objects.filter(name=LEFT_BEHIND).exists()


def test_another_thread_sees_what_was_committed(committed_db: CommittedDatabase) -> None:
    Group.objects.create(name="desk")
    seen: list[bool] = []

    def look() -> None:
        with closing(connections["default"]):
            seen.append(Group.objects.filter(name="desk").exists())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(timeout=10)
    assert seen == [True]


def test_a_subprocess_with_the_environ_uses_the_same_database(committed_db: CommittedDatabase) -> None:
    code = "from django.contrib.auth.models import Group; Group.objects.create(name='from outside')"
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
        cwd=PROJECT, env=committed_db.environ(), check=True, timeout=30,
    )  # fmt: skip
    assert Group.objects.filter(name="from outside").exists()


def test_kill_file_and_anchors_belong_to_the_test(committed_db: CommittedDatabase) -> None:
    assert settings.KILL_FILE.parent == committed_db.var_dir
    assert settings.ANCHORS_FILE.parent == committed_db.var_dir


@pytest.mark.django_db
def test_the_usual_database_is_back_afterwards() -> None:
    assert not Group.objects.filter(name=LEFT_BEHIND).exists()
    assert "committed" not in str(connection.settings_dict["NAME"])


def test_the_production_options_hold(committed_db: CommittedDatabase) -> None:
    if committed_db.vendor != "sqlite":
        pytest.skip("the pragmas are SQLite's")
    found = {}
    with connection.cursor() as cursor:
        for pragma in ("journal_mode", "synchronous", "recursive_triggers", "foreign_keys"):
            cursor.execute(f"PRAGMA {pragma}")
            found[pragma] = cursor.fetchone()[0]
    assert found == {"journal_mode": "wal", "synchronous": 2, "recursive_triggers": 1, "foreign_keys": 1}


def is_there(name: str) -> bool:
    with psycopg.connect(server_url("postgres")) as server:
        return bool(server.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name]).fetchone() == (1,))


@pytest.fixture
def spares(committed_db: CommittedDatabase) -> Iterator[SpareDatabases]:
    """Return copies of an empty database, so that they take no time."""
    if on_sqlite():
        pytest.skip("a copy on SQLite is a file of the test's own")
    made = SpareDatabases("template0")
    yield made
    made.close()


def test_no_two_tests_get_the_same_spare_database_and_each_is_dropped(spares: SpareDatabases) -> None:
    taken = [spares.take() for _ in range(3)]
    assert len(set(taken)) == 3
    assert all(map(is_there, taken))
    for name in taken:
        spares.give_back(name)
    spares.close()
    assert not any(map(is_there, taken))


def test_spare_database_that_was_not_taken_is_dropped_too(spares: SpareDatabases) -> None:
    spares.give_back(spares.take())
    ahead = spares._next
    assert ahead is not None
    assert is_there(ahead.result())
    spares.close()
    assert not is_there(ahead.result())


def test_template_that_is_not_there_fails_the_test_that_wants_a_copy() -> None:
    if on_sqlite():
        pytest.skip("a copy on SQLite is a file of the test's own")
    spares = SpareDatabases("no such template")
    with pytest.raises(psycopg.Error, match="no such template"):
        spares.take()
