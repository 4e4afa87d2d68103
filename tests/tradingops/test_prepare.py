"""The first start, the second start, and what stops a start."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import OperatorEvent
from bots import seeds
from bots.manager import BotActionError
from bots.models import Bot
from safety.models import Setting
from tests.conftest import CommittedDatabase
from tradingops.environment import load_environment
from tradingops.management.commands.prepare import LOCK_FILE, LOCK_ON_POSTGRES, alone, check_port, record_gates


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def environ(settings: Any, **real: str) -> None:
    secret = {"SECRET_KEY": settings.SECRET_KEY}
    settings.ENVIRONMENT = load_environment(settings.BASE_DIR, settings.VAR_DIR, {**secret, **real})


def prepare(settings: Any, port: int, **real: str) -> str:
    environ(settings, PORT=str(port), **real)
    out = StringIO()
    call_command("prepare", stdout=out)
    return out.getvalue()


def password_in(printed: str) -> str:
    [line] = [line for line in printed.splitlines() if "password:" in line]
    return line.split()[-1]


def test_first_start_makes_a_user_whose_printed_password_works(
    committed_db: CommittedDatabase, settings: Any, free_port: int
) -> None:
    printed = prepare(settings, free_port)
    user = get_user_model().objects.get()
    assert (user.get_username(), user.is_superuser, user.is_staff) == ("admin", True, True)
    password = password_in(printed)
    assert len(password) >= 20
    assert user.check_password(password)
    assert f"http://127.0.0.1:{free_port}/" in printed


def test_first_start_seeds_paper_bots_that_run(committed_db: CommittedDatabase, settings: Any, free_port: int) -> None:
    printed = prepare(settings, free_port)
    bots = Bot.objects.all()
    assert len(bots) >= 3
    assert all(bot.dry_run and bot.venue == "replay" and bot.status == "running" for bot in bots)
    assert f"Seeded {len(bots)} paper bots" in printed


def test_second_start_changes_and_prints_nothing_but_the_address(
    committed_db: CommittedDatabase, settings: Any, free_port: int
) -> None:
    prepare(settings, free_port)
    before = (Bot.objects.count(), OperatorEvent.objects.count(), get_user_model().objects.get().password)
    with CaptureQueriesContext(connection) as queries:
        printed = prepare(settings, free_port)
    assert printed.strip() == f"The console: http://127.0.0.1:{free_port}/"
    assert (Bot.objects.count(), OperatorEvent.objects.count(), get_user_model().objects.get().password) == before
    assert len(queries) < 20


def test_start_with_a_user_of_another_name_makes_none(
    committed_db: CommittedDatabase, settings: Any, free_port: int
) -> None:
    get_user_model().objects.create_superuser("owner", password="x")
    assert "password" not in prepare(settings, free_port)
    assert get_user_model().objects.get().get_username() == "owner"


def test_var_directory_is_for_its_owner_alone(committed_db: CommittedDatabase, settings: Any, free_port: int) -> None:
    prepare(settings, free_port)
    assert stat.S_IMODE(committed_db.var_dir.stat().st_mode) == 0o700


def test_port_in_use_stops_before_anything_is_made(
    committed_db: CommittedDatabase, settings: Any, taken_port: int
) -> None:
    with pytest.raises(CommandError, match=f"Port {taken_port} on 127.0.0.1 is in use.*PORT={taken_port + 1} make run"):
        prepare(settings, taken_port)
    assert not get_user_model().objects.exists()
    assert not Bot.objects.exists()


def test_address_of_another_machine_is_refused_in_plain_words() -> None:
    with pytest.raises(CommandError, match=r"cannot listen on HOST=203\.0\.113\.9"):
        check_port("203.0.113.9", 8000)


def test_gates_are_recorded_when_they_change(committed_db: CommittedDatabase, settings: Any) -> None:
    def recorded() -> list[tuple[str, str, str]]:
        rows = OperatorEvent.objects.filter(action="gate_read").order_by("seq")
        return [(row.object, row.old, row.new) for row in rows]

    environ(settings)
    record_gates()
    record_gates()
    first = [("ALLOW_LIVE_TRADING", "", "closed"), ("LIVE_TRADING_ENABLED", "", "closed")]
    assert recorded() == first
    environ(settings, ALLOW_LIVE_TRADING="1")
    record_gates()
    assert recorded() == [*first, ("ALLOW_LIVE_TRADING", "closed", "open")]


def test_first_start_that_was_cut_off_is_made_good_by_the_next(
    committed_db: CommittedDatabase, settings: Any, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(seeds, "SEEDS", (*seeds.SEEDS[:2], ("Third", "NO-SUCH", "breakout", {})))
        with pytest.raises(BotActionError):
            prepare(settings, free_port)
    assert not Bot.objects.exists()
    assert not get_user_model().objects.exists()
    printed = prepare(settings, free_port)
    assert get_user_model().objects.get().check_password(password_in(printed))
    assert Bot.objects.count() == len(seeds.SEEDS)


def test_start_waits_for_another_that_prepares_on_this_host(committed_db: CommittedDatabase, settings: Any) -> None:
    with (settings.VAR_DIR / LOCK_FILE).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="Another start prepares"), alone(wait_s=0.1):
            pass
    with alone(wait_s=0):
        pass


def test_start_waits_for_another_that_prepares_the_same_database(committed_db: CommittedDatabase) -> None:
    if committed_db.vendor != "postgresql":
        pytest.skip("a SQLite file has one host, whose lock is a file")
    with psycopg.connect(committed_db.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_ON_POSTGRES])
        with pytest.raises(CommandError, match="Another start prepares"), alone(wait_s=0.1):
            pass
        other.execute("SELECT pg_advisory_unlock(%s)", [LOCK_ON_POSTGRES])
        with alone(wait_s=0):
            pass
        taken = other.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_ON_POSTGRES]).fetchone()
    assert taken == (True,)


def started(**real: str) -> tuple[int, str]:
    """Run ``prepare`` as ``make run`` does, and return its exit code and all it said."""
    command = [sys.executable, "manage.py", "prepare"]
    environ = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 50, "TRADINGOPS_ENV_FILE": os.devnull, **real}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_directory_that_cannot_be_written_is_named(tmp_path: Path, free_port: int) -> None:
    blocked = tmp_path / "var"
    blocked.touch()
    code, said = started(TRADINGOPS_VAR_DIR=str(blocked), PORT=str(free_port))
    assert code != 0
    assert f"TRADINGOPS_VAR_DIR: {blocked} is no directory" in said
    assert "Traceback" not in said


def test_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path, free_port: int) -> None:
    url = f"postgres://someone:s3cret-pass@127.0.0.1:{free_port}/nothing"
    code, said = started(TRADINGOPS_VAR_DIR=str(tmp_path), DATABASE_URL=url, PORT=str(free_port))
    assert code != 0
    assert "The database that DATABASE_URL names cannot be used" in said
    assert "Traceback" not in said
    assert "s3cret-pass" not in said


def test_rehearsal_stamps_its_database_and_never_meets_the_real_venues(
    committed_db: CommittedDatabase, settings: Any, free_port: int
) -> None:
    prepare(settings, free_port, KRAKEN_BASE_URL="http://127.0.0.1:1")
    assert Setting.objects.get(key="database_stamp").value == "rehearsal"
    with pytest.raises(CommandError, match="rehearsal"):
        prepare(settings, free_port)
    prepare(settings, free_port, KRAKEN_BASE_URL="http://127.0.0.1:1")
