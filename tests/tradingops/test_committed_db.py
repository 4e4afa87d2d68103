"""The throw-away database that tests with real commits rely on."""

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction

from tests.conftest import CommittedDatabase

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
