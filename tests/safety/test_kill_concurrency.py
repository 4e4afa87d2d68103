"""Engaging by many at once, and while others write: one level holds, each is audited, nobody is left waiting for ever."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections, transaction

from audit.models import OperatorEvent
from audit.verify import verify_chains
from safety import kill_runs, kill_switch
from safety.intents import Level
from safety.kill_switch import engage, read_state, release
from safety.models import KillRun, TradingState
from tests.audit.factories import write_fills
from tests.conftest import on_sqlite
from tests.safety.latches import set_level

MANY = 16
pytestmark = pytest.mark.usefixtures("committed_db")


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Do all of these in threads of their own; return their results, or what they raised."""

    def alone(act: Callable[[], object]) -> object:
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - it is the result that the test looks at
            return error
        finally:
            connections.close_all()

    connection.close()
    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(alone, acts))


@pytest.mark.parametrize("scope", ["global", "venue:kraken", "bot:7"])
def test_many_who_engage_at_once_leave_one_level_and_an_audit_row_each(scope: str) -> None:
    levels = [Level.REDUCING, Level.HALTED] * (MANY // 2)
    acts = [partial(engage, level, f"by {n}", actor=f"a{n}", scope=scope) for n, level in enumerate(levels)]
    runs = at_once(*acts)
    assert all(isinstance(run, KillRun) and run.pk for run in runs), runs
    assert TradingState.objects.get(scope=scope).level == "halted"
    engaged = OperatorEvent.objects.filter(action="kill_switch_engaged", object=scope)
    assert sorted(engaged.values_list("actor", flat=True)) == sorted(f"a{n}" for n in range(MANY))
    assert KillRun.objects.count() == MANY
    assert kill_runs.unfinished() == []
    assert all(report.intact for report in verify_chains())
    assert not Path(django_settings.KILL_FILE).exists()


def test_release_and_engage_at_once_leave_what_came_last() -> None:
    engage(Level.HALTED, "first", actor="ann")
    acts = [lambda: release("over", actor="ben"), lambda: engage(Level.HALTED, "again", actor="eve")] * 4
    results = at_once(*acts)
    assert not [one for one in results if isinstance(one, Exception)], results
    last = OperatorEvent.objects.filter(action__in=["kill_switch_engaged", "kill_switch_released"]).order_by("-seq")[0]
    assert TradingState.objects.get(scope="global").level == last.new
    assert (read_state().level == Level.HALTED) is (last.action == "kill_switch_engaged")


def test_state_never_reads_active_while_many_engage() -> None:
    set_level(Level.HALTED, "standing")
    seen: set[Level] = set()

    def look() -> None:
        for _ in range(100):
            seen.add(read_state().level)

    at_once(look, look, *(lambda: engage(Level.REDUCING, "slower", actor="ann") for _ in range(6)))
    assert seen == {Level.HALTED}


def test_engage_is_not_held_up_by_those_who_write() -> None:
    until_s = time.monotonic() + 4

    def write() -> None:
        while time.monotonic() < until_s:
            write_fills(5)

    def halt() -> list[int]:
        time.sleep(0.5)
        return [engage(Level.HALTED, "now", actor="ann").blocked_ms or 0 for _ in range(20)]

    *_, took_ms = at_once(write, write, write, halt)
    assert isinstance(took_ms, list), took_ms
    # 20 threads' worth of writers on one machine: the limit on an idle one is in bench/.
    assert sorted(took_ms)[len(took_ms) // 2] < 3_000, took_ms
    assert not Path(django_settings.KILL_FILE).exists()


def test_halt_that_waits_too_long_for_a_lock_is_set_by_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that froze in the middle of a transaction must not hold up a halt."""
    monkeypatch.setattr(kill_switch, "LOCK_MS_MAX", {"postgresql": 300, "sqlite": 300})

    def freeze() -> None:
        with transaction.atomic():
            TradingState.objects.select_for_update().get(scope="global")
            if on_sqlite():
                TradingState.objects.filter(scope="global").update(reason="frozen")
            time.sleep(6)

    def halt() -> tuple[bool, int]:
        time.sleep(0.5)
        run = engage(Level.HALTED, "now", actor="ann")
        return kill_runs.is_host_only(run), run.blocked_ms or 0

    _, result = at_once(freeze, halt)
    assert isinstance(result, tuple), result
    is_host_only, took_ms = result
    assert is_host_only
    assert took_ms < 5_000, took_ms
    assert read_state().level == Level.HALTED


def test_waits_for_locks_are_as_long_as_ever_afterwards() -> None:
    ask = "PRAGMA busy_timeout" if on_sqlite() else "SELECT setting FROM pg_settings WHERE name = 'lock_timeout'"

    def wait_ms() -> int:
        with connection.cursor() as cursor:
            cursor.execute(ask)
            return int(cursor.fetchone()[0])

    before = wait_ms()
    engage(Level.HALTED, "now", actor="ann")
    assert wait_ms() == before > 5_000
