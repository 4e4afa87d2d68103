"""When runs are made, and that no chore waits for one."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from bots import readiness_chores
from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.readiness_chores import due, keep_readiness_fresh
from bots.workers.chores import load_chores
from bots.workers.facts import read_processes
from bots.workers.heartbeats import Heart
from safety.models import ReadinessRun
from safety.readiness_values import EXPECTED, EXPECTED_PER_VENUE, VENUES, Finding, Severity, State
from tests.readiness.processes import beat
from tests.readiness.test_venue_checks import live_bot

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture(autouse=True)
def _nothing_queued() -> None:
    readiness_chores._Queued.at_s, readiness_chores._Queued.last_id = float("-inf"), None


def run(age: timedelta, *, is_settling: bool = False, **states: State) -> ReadinessRun:
    """Return a finished run; one that is settling has no results at all, so that workers_alive blocks."""
    results = [] if is_settling else passing_results(**states)
    return ReadinessRun.objects.create(
        trigger="t", started_at=NOW - age, finished_at=NOW - age, version="1", config_hash="", results=results
    )


def passing_results(**states: State) -> list[dict[str, object]]:
    return [
        Finding(id, id, Severity.BLOCKER, states.get(id, State.OK), "well", "", venue).as_dict()
        for id in EXPECTED
        for venue in (VENUES if id in EXPECTED_PER_VENUE else (None,))
    ]


class TestDue:
    def test_first_run(self) -> None:
        assert due(None, started_at=None, now=NOW) == "start"

    def test_every_five_minutes(self) -> None:
        assert due(run(timedelta(minutes=4, seconds=59)), started_at=None, now=NOW) == ""
        assert due(run(timedelta(minutes=5)), started_at=None, now=NOW) == "schedule"

    def test_clock_that_was_set_back(self) -> None:
        assert due(run(timedelta(seconds=-60)), started_at=None, now=NOW) == "schedule"

    def test_after_a_start(self) -> None:
        last = run(timedelta(seconds=30))
        assert due(last, started_at=NOW - timedelta(seconds=29), now=NOW) == "start"
        assert due(last, started_at=NOW - timedelta(seconds=31), now=NOW) == ""

    def test_after_a_bot_was_set_live(self) -> None:
        last = run(timedelta(seconds=30))
        assert due(last, started_at=None, set_live_at=NOW - timedelta(seconds=29), now=NOW) == "set_live"
        assert due(last, started_at=None, set_live_at=NOW - timedelta(seconds=31), now=NOW) == ""

    def test_again_until_all_have_reported(self) -> None:
        started_at = NOW - timedelta(seconds=60)
        assert due(run(timedelta(seconds=10), is_settling=True), started_at=started_at, now=NOW) == "start"
        assert due(run(timedelta(seconds=9), is_settling=True), started_at=started_at, now=NOW) == ""

    def test_but_not_for_ever(self) -> None:
        long_ago = NOW - timedelta(minutes=3, seconds=1)
        assert due(run(timedelta(seconds=20), is_settling=True), started_at=long_ago, now=NOW) == ""

    @pytest.mark.parametrize("check", ["venue_keys", "venue_account"])
    def test_venue_that_could_not_be_asked_is_soon_asked_again(self, check: str) -> None:
        unanswered = {check: State.NOT_KNOWN}
        assert (
            due(run(timedelta(seconds=30), is_settling=False, **unanswered), started_at=None, now=NOW) == "unanswered"
        )
        assert due(run(timedelta(seconds=29), is_settling=False, **unanswered), started_at=None, now=NOW) == ""

    def test_and_sooner_while_a_bot_was_just_set_live(self) -> None:
        went_live = NOW - timedelta(seconds=20)
        last = run(timedelta(seconds=10), venue_account=State.NOT_KNOWN)
        assert due(last, started_at=None, set_live_at=went_live, now=NOW) == "start"

    def test_venue_that_answered_no_is_not_asked_again_and_again(self) -> None:
        assert due(run(timedelta(seconds=60), venue_keys=State.FAILED), started_at=None, now=NOW) == ""


class TestChore:
    def queued(self) -> int:
        return int(OrmQ.objects.filter(key="slow").count())

    def test_due_run_is_queued_once_and_not_made_by_the_chore(self) -> None:
        keep_readiness_fresh(NOW)
        keep_readiness_fresh(NOW)
        assert (self.queued(), ReadinessRun.objects.count()) == (1, 0)
        [row] = OrmQ.objects.all()
        assert row.func() == readiness_chores.TASK
        assert row.task["args"] == ("start", "")

    def test_bot_that_was_set_live_is_noticed(self) -> None:
        run(timedelta(minutes=1))
        live_bot(went_live_at=NOW)
        keep_readiness_fresh(NOW)
        [row] = OrmQ.objects.all()
        assert row.task["args"] == ("set_live", "")

    def test_nothing_is_queued_when_none_is_due(self) -> None:
        run(timedelta(minutes=1))
        keep_readiness_fresh(NOW)
        assert self.queued() == 0

    def test_task_makes_the_run(self) -> None:
        made = ReadinessRun.objects.get(pk=readiness_chores.make_run("schedule", "ada"))
        assert (made.trigger, made.actor, made.finished_at is not None) == ("schedule", "ada", True)

    def test_workers_do_these_chores(self) -> None:
        names = {one.name for one in load_chores()}
        assert {
            f"bots.readiness_chores.{name}" for name in ("keep_readiness_fresh", "forget_old_readiness_runs")
        } <= names


class TestProcesses:
    def test_heartbeat_tells_of_gates_and_holds_no_secret(self) -> None:
        Heart(WorkerKind.RUNNER).beat(details={"ticks": 3})
        [row] = WorkerHeartbeat.objects.all()
        assert row.details["ticks"] == 3
        assert row.details["facts"]["gates"]["ALLOW_LIVE_TRADING"]["open"] is False
        [process] = read_processes()
        assert (process.kind, process.get("debug")) == ("runner", False)
        assert abs(process.clock_ahead_s) < 1

    @pytest.mark.parametrize(("age_s", "count"), [(29, 1), (31, 0)])
    def test_process_is_heard_of_for_half_a_minute(self, age_s: float, count: int) -> None:
        beat(WorkerKind.WEB, age_s=age_s)
        assert len(read_processes()) == count

    def test_shift_that_handed_over_is_no_process(self) -> None:
        heart = Heart(WorkerKind.RUNNER)
        heart.beat()
        heart.hand_over()
        assert read_processes() == ()
