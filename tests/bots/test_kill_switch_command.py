"""``manage.py kill_switch``: its exit codes, what it says, and that a halt needs neither database nor sign-in."""

import getpass
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from pytest_django import Settings

from audit.models import OperatorEvent
from bots.models import Bot, Order
from safety.intents import Level, Side
from safety.kill_switch import engage, read_state
from tests.bots.builders import Floor, make_bot, position_of, trade
from tests.conftest import CommittedDatabase
from tests.safety.latches import engage_by_environment

ROOT = Path(__file__).resolve().parents[2]
DONE, REFUSED, COULD_NOT = 0, 2, 3
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def database(committed_db: CommittedDatabase) -> CommittedDatabase:
    """Commit for real: the command engages in a thread of its own."""
    return committed_db


def run(*arguments: str) -> SimpleNamespace:
    """Run the command in this process; return its code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    code = DONE
    try:
        call_command("kill_switch", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def person(*rights: str, **changes: object) -> User:
    """Make a person with these rights of the safety app."""
    user = User.objects.create_user("ann", password=PASSWORD)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    for name, value in changes.items():
        setattr(user, name, value)
    user.save()
    return user


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Type at the terminal: a password, and an answer."""
    keys = SimpleNamespace(password=PASSWORD, answer="FLATTEN")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: keys.password)
    monkeypatch.setattr("builtins.input", lambda prompt: keys.answer)
    return keys


# Engage and status.


@pytest.mark.parametrize(
    ("arguments", "level"), [((), "halted"), (("--level", "halted"), "halted"), (("--level", "reducing"), "reducing")]
)
def test_engage_halts_and_says_what_was_cancelled(floor: Floor, arguments: tuple[str, ...], level: str) -> None:
    order = trade(make_bot(), Side.BUY, "0.5", limit="99").order
    found = run("engage", "--reason", "prices look wrong", *arguments)
    assert (found.code, found.err) == (DONE, "")
    assert read_state().level == level
    assert "prices look wrong" in read_state().reasons
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert "drained: no further order reaches any venue; cancelled: 1" in found.out
    assert "at the terminal of" in OperatorEvent.objects.get(action="kill_switch_engaged").actor


def test_engage_of_one_bot_leaves_the_others_alone(floor: Floor) -> None:
    bot = make_bot()
    assert run("engage", "--scope", f"bot:{bot.pk}").code == DONE
    assert read_state("replay", bot.pk).level == Level.HALTED
    assert read_state().level == Level.ACTIVE


@pytest.mark.parametrize("scope", ["bot:999", "venue:nowhere", "everything", "bot:x"])
def test_scope_that_does_not_exist_is_refused_and_stops_nothing(
    floor: Floor, database: CommittedDatabase, scope: str
) -> None:
    found = run("engage", "--scope", scope)
    assert (found.code, "refused: There is no" in found.err) == (REFUSED, True)
    assert read_state().level == Level.ACTIVE
    assert not (database.var_dir / "KILL").exists()


def test_status_tells_every_latch_and_scope_and_unfinished_run(
    floor: Floor, database: CommittedDatabase, settings: Settings
) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.5", limit="99").order
    engage(Level.REDUCING, "odd bot", actor="ann", scope=f"bot:{bot.pk}", cancel_resting=False)
    quiet = run("status")
    assert (quiet.code, "Everything: ACTIVE" in quiet.out) == (DONE, True)
    assert f"bot:{bot.pk}: reducing" in quiet.out
    assert "by ann (odd bot)" in quiet.out
    Order.objects.filter(pk=order.pk).update(status="unknown")
    engage(Level.HALTED, "a drill", actor="ben")
    engage_by_environment(settings)
    (database.var_dir / "KILL").touch()
    loud = run("status").out
    for text in ("the file KILL exists", "KILL_SWITCH is set", "Everything: HALTED", "by ben (a drill)"):
        assert text in loud
    assert "Not finished: global halted, asked for by ben" in loud
    assert f"may still trade: {order.client_order_id}" in loud


# Release.


def test_release_by_a_person_with_the_right_and_the_password(typed: SimpleNamespace) -> None:
    person("release_kill_switch")
    engage(Level.HALTED, "a drill", actor="ben")
    found = run("release", "--reason", "over", "--user", "ann")
    assert (found.code, found.err) == (DONE, "")
    assert read_state().level == Level.ACTIVE
    assert OperatorEvent.objects.get(action="kill_switch_released").actor == "ann"


@pytest.mark.parametrize(
    ("wrong", "arguments"),
    [
        ("password", ("--reason", "over", "--user", "ann")),
        ("inactive", ("--reason", "over", "--user", "ann")),
        ("no right", ("--reason", "over", "--user", "ann")),
        ("", ("--reason", "over", "--user", "nobody")),
        ("", ("--reason", "over")),
        ("", ("--reason", " ", "--user", "ann")),
        ("", ("--user", "ann")),
    ],
)
def test_release_is_refused_without(typed: SimpleNamespace, wrong: str, arguments: tuple[str, ...]) -> None:
    person(*(() if wrong == "no right" else ("release_kill_switch",)), is_active=wrong != "inactive")
    typed.password = "guess" if wrong == "password" else PASSWORD
    engage(Level.HALTED, "a drill", actor="ben")
    found = run("release", *arguments)
    assert (found.code, found.err.startswith("refused: ")) == (REFUSED, True)
    assert read_state().level == Level.HALTED


def test_release_names_what_still_holds(typed: SimpleNamespace, database: CommittedDatabase) -> None:
    person("release_kill_switch")
    engage(Level.HALTED, "a drill", actor="ben")
    engage(Level.HALTED, "this one", actor="ben", scope="bot:7")
    part = run("release", "--reason", "over", "--user", "ann", "--scope", "bot:7")
    assert part.code == DONE
    assert "STILL HOLDS: global is halted: a drill" in part.out
    (database.var_dir / "KILL").touch()
    refused = run("release", "--reason", "over", "--user", "ann")
    assert refused.code == REFUSED
    assert "the file KILL exists" in refused.err


# Flatten.


def test_flatten_that_is_confirmed_sells_everything(floor: Floor, typed: SimpleNamespace) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    found = run("flatten", "--reason", "enough")
    assert (found.code, found.err) == (DONE, "")
    assert position_of(bot).quantity == 0
    assert read_state().level == Level.HALTED


@pytest.mark.parametrize(
    ("answer", "reason"), [("", "enough"), ("yes", "enough"), ("flatten", "enough"), ("FLATTEN", "")]
)
def test_flatten_that_is_not_confirmed_sells_nothing(
    floor: Floor, typed: SimpleNamespace, answer: str, reason: str
) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    typed.answer = answer
    assert run("flatten", "--reason", reason).code == REFUSED
    assert position_of(bot).quantity == 1
    assert read_state().level == Level.ACTIVE


# Without a database.


@contextmanager
def _unreachable() -> Iterator[str]:
    """Yield the URL of a server that accepts and never answers."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"postgres://x@127.0.0.1:{server.getsockname()[1]}/x"


def command(database: CommittedDatabase, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**database.environ(), "DATABASE_URL": url}
    return subprocess.run(
        [sys.executable, "manage.py", "kill_switch", *arguments],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_engage_without_a_database_halts_this_host_and_says_so(database: CommittedDatabase, kind: str) -> None:
    started_s = time.monotonic()
    if kind == "hangs":
        with _unreachable() as url:
            found = command(database, url, "engage", "--reason", "all is down")
    else:
        found = command(database, "postgres://x@127.0.0.1:1/x", "engage", "--reason", "all is down")
    took_s = time.monotonic() - started_s
    assert found.returncode == DONE, found.stderr
    assert "THIS HOST ONLY" in found.stdout
    text = (database.var_dir / "KILL").read_text()
    assert "all is down" in text
    assert read_state().level == Level.HALTED
    # Python's own start counts in, on a machine that may be busy; by itself it takes less than two seconds.
    assert took_s < float(os.environ.get("KILL_COMMAND_S_MAX", "10")), took_s


def test_status_and_release_without_a_database_could_not(database: CommittedDatabase) -> None:
    url = "postgres://x@127.0.0.1:1/x"
    status = command(database, url, "status")
    assert (status.returncode, "counts as halted" in status.stderr) == (COULD_NOT, True)
    flatten = command(database, url, "flatten", "--reason", "x")
    assert flatten.returncode == REFUSED, "nobody typed the word"
    assert Bot.objects.count() == 0
