"""verify_live_ready: exit codes, what is printed, and to whom."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_q.models import OrmQ

from bots.models.worker import WorkerKind
from bots.readiness_chores import TASK
from safety import readiness
from safety.models import ReadinessRun
from safety.readiness import Check
from safety.readiness_values import Severity, failed, ok
from tests.loopback.client import DiscordLoopback
from tests.readiness.processes import beat
from tests.readiness.test_registry import passing, with_one
from tests.readiness.test_venue_checks import live_bot
from tradingops.management.commands import verify_live_ready as command

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_live_ready", *arguments, stdout=out, stderr=err)
    return int(str(ended.value.code)), out.getvalue(), err.getvalue()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what replaces the registered checks by others, with nothing judged when asked."""
    readiness.load_checks()

    def use(some: list[Check]) -> None:
        monkeypatch.setattr(readiness, "_checks", {one.id: one for one in some})
        monkeypatch.setattr(readiness, "_judges", {})

    return use


@pytest.mark.django_db
class TestExitCode:
    def test_ready(self, checks: Any) -> None:
        checks(passing())
        code, out, _ = call()
        assert (code, "READY: live trading may begin." in out) == (0, True)

    def test_warnings_count_with_strict_only(self, checks: Any) -> None:
        checks(with_one("disk_share", lambda context: failed("little", "free some"), Severity.WARNING))
        assert call()[0] == 0
        code, out, _ = call("--strict")
        assert (code, "free some" in out) == (1, True)

    @pytest.mark.parametrize("arguments", [(), ("--strict",), ("--json",)])
    def test_blocker(self, checks: Any, arguments: tuple[str, ...]) -> None:
        checks(with_one("debug_off", lambda context: failed("it is on", "turn it off")))
        code, out, _ = call(*arguments)
        assert (code, "turn it off" in out) == (2, True)

    def test_check_that_raises_blocks(self, checks: Any) -> None:
        checks(with_one("debug_off", lambda context: int("no")))
        assert call()[0] == 2

    def test_unknown_bot_is_no_run(self) -> None:
        with pytest.raises(CommandError, match="nobody") as raised:
            call_command("verify_live_ready", "--bot", "nobody")
        assert raised.value.returncode == 3

    def test_database_that_is_not_there_is_no_run_and_shows_no_password(self) -> None:
        password = "canary-of-the-database"
        url = f"postgres://u:{password}@127.0.0.1:9/none"
        out = subprocess.run(
            [sys.executable, "manage.py", "verify_live_ready", "--json"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tradingops.settings"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert out.returncode == 3
        assert json.loads(out.stdout)["live_ready"] is False
        assert password not in out.stdout + out.stderr


@pytest.mark.django_db
class TestOutput:
    def test_json(self, checks: Any) -> None:
        checks(with_one("debug_off", lambda context: failed("it is on", "turn it off")))
        found = json.loads(call("--json")[1])
        assert found["live_ready"] is False
        assert found["blockers"] == [
            {
                "id": "debug_off",
                "title": "Title of debug_off",
                "found": "it is on",
                "remedy": "turn it off",
                "venue": None,
            }
        ]
        assert found["run"]["finished_at"].endswith("Z")
        assert len(found["findings"]) == len({(one["id"], one["venue"]) for one in found["findings"]})

    def test_no_colours_where_there_is_no_terminal(self, checks: Any) -> None:
        checks(passing())
        assert "\033[" not in call()[1]

    def test_colours_when_forced(self, checks: Any) -> None:
        checks(passing())
        assert "\033[" in call("--force-color")[1]

    def test_bot_narrows_the_print_and_not_the_exit_code(self, checks: Any) -> None:
        live_bot(name="mine")
        checks(with_one("venue_keys", lambda context: failed("a", "b") if context.venue == "alpaca" else ok("well")))
        code, out, _ = call("--bot", "mine", "--json")
        found = json.loads(out)
        assert (code, found["live_ready"], found["blockers"]) == (2, False, [])
        assert {one["venue"] for one in found["findings"]} == {None, "kraken"}
        assert [one["venue"] for one in json.loads(call("--json")[1])["blockers"]] == ["alpaca"]

    def test_test_message_without_a_channel_is_no_success(self, checks: Any) -> None:
        checks(passing())
        code, out, _ = call("--send-test")
        assert (code, "Test message by discord: not configured" in out) == (0, True)
        assert json.loads(call("--send-test", "--json")[1])["test_sent"] is False

    def test_test_message_reaches_the_channel(self, checks: Any, discord: DiscordLoopback) -> None:
        checks(passing())
        assert json.loads(call("--send-test", "--json")[1])["test_sent"] is True
        assert "Test message by discord: delivered" in call("--send-test")[1]
        assert len(discord.messages()) == 2


@pytest.mark.django_db
class TestWhoMakesTheRun:
    def test_workers_when_they_are_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        beat(WorkerKind.CHORES)
        asked: list[tuple[str, str]] = []

        def as_a_worker(trigger: str, actor: str) -> None:
            asked.append((trigger, actor))
            readiness.run(trigger, actor=actor, checks=passing())

        monkeypatch.setattr(command, "queue_run", as_a_worker)
        run = command.make_run()
        assert (asked, run.actor) == ([("command", command.ACTOR)], command.ACTOR)
        assert ReadinessRun.objects.count() == 1

    def test_command_itself_without_workers(self) -> None:
        assert command.make_run().finished_at is not None

    def test_command_itself_when_workers_do_not_get_to_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        beat(WorkerKind.CHORES)
        monkeypatch.setattr(command, "WAIT_S", 0.2)
        assert command.make_run().finished_at is not None
        assert [row.func() for row in OrmQ.objects.all()] == [TASK]
