"""What the tests of the kill switch share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from safety.intents import Level
from safety.models import TradingState
from tests.conftest import on_sqlite


def move_kill_file(tmp_path: Path, settings: Settings) -> Path:
    """Have the file latch looked for in a directory of the test's own, and return its path; it is not there yet."""
    directory = tmp_path / "host"
    directory.mkdir()
    settings.KILL_FILE = directory / "KILL"
    return directory / "KILL"


def engage_by_environment(settings: Settings) -> None:
    settings.ENVIRONMENT = replace(django_settings.ENVIRONMENT, kill_switch_engaged=True)


def set_level(level: Level, reason: str, *, scope: str = "global") -> None:
    """Set a state as another process would have: within whatever transaction this process has open."""
    changes = {"level": level, "reason": reason, "actor": "test", "changed_at": timezone.now()}
    TradingState.objects.update_or_create(scope=scope, defaults=changes)


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
