"""The registry, the runs, the verdicts and the retention."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from safety import readiness
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.models import ReadinessRun, TradingState
from safety.readiness import Check
from safety.readiness_values import (
    EXPECTED,
    EXPECTED_PER_VENUE,
    VENUES,
    Context,
    Finding,
    Outcome,
    Severity,
    State,
    failed,
    ok,
)
from tests.conftest import CommittedDatabase
from tests.readiness.processes import beat_all

SECRET = "canary-of-the-exception"


def passing() -> list[Check]:
    """Return every expected check, each of them passing."""
    return [
        Check(id, f"Title of {id}", Severity.BLOCKER, id in EXPECTED_PER_VENUE, lambda context: ok("well"))
        for id in EXPECTED
    ]


def with_one(id: str, work: Any, severity: Severity = Severity.BLOCKER) -> list[Check]:
    """Return every expected check, all passing but one that does as told."""
    return [Check(one.id, one.title, severity, one.per_venue, work) if one.id == id else one for one in passing()]


def only_at(venue: str) -> Any:
    def work(context: Context) -> Outcome:
        return failed("bad", "mend it") if context.venue == venue else ok("well")

    return work


@pytest.mark.django_db
class TestRegistration:
    def test_what_is_registered_is_what_is_expected(self) -> None:
        checks = {one.id: one for one in readiness.load_checks()}
        assert sorted(checks) == sorted(EXPECTED)
        assert {id for id, one in checks.items() if one.per_venue} == set(EXPECTED_PER_VENUE)

    def test_taken_id_is_refused(self) -> None:
        readiness.load_checks()
        with pytest.raises(ValueError, match="debug_off"):
            readiness.register("debug_off", "again", Severity.BLOCKER)(lambda context: ok("well"))
        with pytest.raises(ValueError, match="health"):
            readiness.judged_when_asked("health", "again")(lambda processes: ok("well"))

    def test_module_that_cannot_be_imported_leaves_its_checks_missing(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readiness, "_checks", {})
        settings.READINESS_MODULES = ["tests.readiness.no_such_module"]
        run = readiness.run("demand")
        assert {one["id"] for one in run.results if one["state"] == "not_known"} == set(EXPECTED)


@pytest.mark.django_db
class TestRun:
    def test_run_is_kept_with_its_trigger_actor_version_and_configuration(self, settings: Any) -> None:
        beat_all()
        run = readiness.run("command", actor="ada", checks=passing())
        kept = ReadinessRun.objects.get()
        assert (kept.pk, kept.trigger, kept.actor, kept.version) == (run.pk, "command", "ada", settings.VERSION)
        assert kept.finished_at is not None
        assert kept.finished_at >= kept.started_at
        assert len(kept.config_hash) == 64
        assert readiness.last_run() == kept

    def test_configuration_hash_changes_with_limits_and_with_what_processes_run_with(self) -> None:
        from safety.models import RiskLimits

        beat_all()
        first = readiness.run("demand", checks=passing()).config_hash
        assert readiness.run("demand", checks=passing()).config_hash == first
        RiskLimits.objects.update_or_create(scope="global", defaults={"rate_per_minute_bot": 3})
        second = readiness.run("demand", checks=passing()).config_hash
        beat_all(config_hash="another")
        third = readiness.run("demand", checks=passing()).config_hash
        assert len({first, second, third}) == 3

    def test_exception_in_a_check_blocks_and_tells_its_class_only(self) -> None:
        def raises(context: Context) -> Outcome:
            raise RuntimeError(SECRET)

        for severity in Severity:
            run = readiness.run("demand", checks=with_one("disk_space", raises, severity))
            [finding] = [one for one in readiness.findings_of(run) if not one.state.passes]
            assert (finding.id, finding.blocks, finding.state) == ("disk_space", True, State.NOT_KNOWN)
            assert "RuntimeError" in finding.found
            assert SECRET not in str(run.results)

    def test_exception_at_one_venue_leaves_the_other_alone(self) -> None:
        def raises(context: Context) -> Outcome:
            return ok("well") if context.venue == "alpaca" else int("no number")  # type: ignore[return-value]

        readiness.run("demand", checks=with_one("venue_clock", raises))
        assert readiness.verdict("kraken").blockers == ("venue_clock",)
        assert readiness.verdict("alpaca").blockers == ()

    @pytest.mark.parametrize("id", EXPECTED)
    def test_expected_check_that_is_missing_blocks(self, id: str) -> None:
        run = readiness.run("demand", checks=[one for one in passing() if one.id != id])
        assert {one.id for one in readiness.findings_of(run) if one.blocks} == {id}
        assert readiness.verdict("kraken").blockers == (id,)

    def test_run_of_an_older_version_blocks_for_what_it_does_not_know_yet(self) -> None:
        run = readiness.run("demand", checks=passing())
        run.results = [one for one in run.results if one["id"] != "secret_key"]
        run.save()
        assert readiness.verdict("kraken").blockers == ("secret_key",)

    def test_results_that_cannot_be_read_block(self) -> None:
        run = readiness.run("demand", checks=passing())
        for results in ([{"id": "debug_off"}], [3], [{**run.results[0], "severity": "grave"}], {"a": 1}):
            ReadinessRun.objects.update(results=results)
            assert set(readiness.verdict("kraken").blockers) == set(EXPECTED)

    def test_long_texts_are_cut(self) -> None:
        run = readiness.run("demand", checks=with_one("disk_space", lambda context: failed("x" * 5000, "y" * 5000)))
        [finding] = [one for one in readiness.findings_of(run) if one.blocks]
        assert (len(finding.found), len(finding.remedy)) == (1000, 1000)

    def test_question_is_asked_once_in_a_run_and_apart_for_each_venue(self) -> None:
        asked: list[str] = []

        def ask(context: Context) -> int:
            asked.append(context.venue)
            return len(asked)

        checks = with_one("venue_clock", lambda context: ok(str(context.once(ask))))
        checks = [
            Check(one.id, one.title, one.severity, True, lambda context: ok(str(context.once(ask))))
            if one.id in {"venue_clock", "venue_keys"}
            else one
            for one in checks
        ]
        readiness.run("demand", checks=checks)
        assert sorted(asked) == sorted(VENUES)


@pytest.mark.django_db
class TestVerdict:
    def test_without_a_run_nothing_is_known(self) -> None:
        assert readiness.verdict("kraken").finished_at is None

    def test_run_that_did_not_finish_is_not_judged_by(self) -> None:
        done = readiness.run("demand", checks=passing())
        ReadinessRun.objects.create(trigger="demand", started_at=timezone.now(), version="1", config_hash="")
        assert readiness.verdict("kraken").finished_at == done.finished_at

    def test_blocker_of_a_venue_stops_that_venue_only(self) -> None:
        run = readiness.run("demand", checks=with_one("venue_keys", only_at("alpaca")))
        assert readiness.verdict("kraken").blockers == ()
        assert readiness.verdict("alpaca").blockers == ("venue_keys",)
        assert readiness.verdict("alpaca").finished_at == run.finished_at

    def test_global_blocker_stops_every_venue(self) -> None:
        readiness.run("demand", checks=with_one("debug_off", lambda context: failed("on", "off")))
        assert {readiness.verdict(venue).blockers for venue in VENUES} == {("debug_off",)}

    def test_warning_stops_nobody(self) -> None:
        readiness.run(
            "demand", checks=with_one("disk_share", lambda context: failed("little", "more"), Severity.WARNING)
        )
        assert readiness.verdict("kraken").blockers == ()

    def test_one_statement(self, django_assert_num_queries: Any) -> None:
        readiness.run("demand", checks=passing())
        with django_assert_num_queries(1):
            readiness.verdict("kraken")


@pytest.fixture
def _judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing judged when asked, so that only the run counts."""
    readiness.load_checks()
    monkeypatch.setattr(readiness, "_judges", {})


@pytest.mark.django_db
@pytest.mark.usefixtures("_judged")
class TestLiveReady:
    def test_ready_with_a_run_without_blockers(self) -> None:
        run = readiness.run("demand", checks=passing())
        ready = readiness.live_ready()
        assert (ready.is_ready, ready.blockers, ready.run, ready.run_finished_at) == (True, (), run, run.finished_at)

    def test_not_ready_without_a_run(self) -> None:
        ready = readiness.live_ready()
        assert (ready.is_ready, [one.id for one in ready.blockers], ready.run) == (False, ["readiness_run"], None)

    @pytest.mark.parametrize(
        ("age", "is_ready"), [(timedelta(hours=23, minutes=59), True), (timedelta(hours=24, seconds=1), False)]
    )
    def test_run_is_good_for_a_day(self, age: timedelta, is_ready: bool) -> None:
        run = readiness.run("demand", checks=passing())
        run.finished_at = timezone.now() - age
        run.save()
        assert readiness.live_ready().is_ready is is_ready

    def test_blocker_carries_what_to_do_and_where(self) -> None:
        readiness.run("demand", checks=with_one("venue_keys", only_at("kraken")))
        [blocker] = readiness.live_ready().blockers
        assert (blocker.id, blocker.found, blocker.remedy, blocker.venue) == ("venue_keys", "bad", "mend it", "kraken")
        assert "kraken" in blocker.title

    def test_warnings_are_apart(self) -> None:
        readiness.run("demand", checks=with_one("disk_share", lambda context: failed("a", "b"), Severity.WARNING))
        ready = readiness.live_ready()
        assert (ready.is_ready, [one.id for one in ready.warnings]) == (True, ["disk_share"])

    def test_what_is_judged_when_asked_is_never_stored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter([failed("shut", "open it"), ok("open")])
        monkeypatch.setattr(readiness, "_judges", {"door": ("The door", lambda processes: next(answers))})
        run = readiness.run("demand", checks=passing())
        assert [one.id for one in readiness.live_ready().blockers] == ["door"]
        assert readiness.live_ready().is_ready
        run.refresh_from_db()
        assert "door" not in str(run.results)

    def test_judge_that_fails_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def raises(processes: Any) -> Outcome:
            raise ValueError(SECRET)

        monkeypatch.setattr(readiness, "_judges", {"door": ("The door", raises)})
        readiness.run("demand", checks=passing())
        [blocker] = readiness.live_ready().blockers
        assert "ValueError" in blocker.found
        assert SECRET not in str(blocker)


@pytest.mark.django_db
class TestRetention:
    def add(self, *ages: timedelta) -> list[int]:
        now = datetime(2026, 6, 30, 12, tzinfo=timezone.get_current_timezone())
        rows = [ReadinessRun(trigger="t", started_at=now - age, version="1", config_hash="") for age in ages]
        for row in rows:
            row.save()
        readiness.forget_old_runs(now)
        left = set(ReadinessRun.objects.values_list("pk", flat=True))
        return [number for number, row in enumerate(rows) if row.pk in left]

    def test_all_runs_of_a_week_stay(self) -> None:
        assert self.add(timedelta(days=6, hours=23), timedelta(days=6, hours=22), timedelta(0)) == [0, 1, 2]

    def test_after_a_week_the_last_of_each_day_stays(self) -> None:
        assert self.add(timedelta(days=9), timedelta(days=8, hours=2), timedelta(days=8, hours=1)) == [0, 2]

    def test_after_400_days_none_stays(self) -> None:
        assert self.add(timedelta(days=401), timedelta(days=399)) == [1]


def test_finding_survives_being_kept() -> None:
    finding = Finding("a", "b", Severity.WARNING, State.NOT_KNOWN, "c", "d", "kraken")
    assert Finding.parse(finding.as_dict()) == finding


@pytest.mark.django_db
def test_state_stays_as_it_is_after_a_run() -> None:
    before = read_state()
    readiness.run("demand")
    assert read_state() == before


class TestConcurrency:
    def test_two_runs_at_once_both_finish_and_leave_the_state(self, committed_db: CommittedDatabase) -> None:
        TradingState.objects.update_or_create(
            scope=GLOBAL, defaults={"level": Level.ACTIVE, "reason": "", "changed_at": timezone.now()}
        )
        errors: list[Exception] = []

        def one() -> None:
            try:
                readiness.run("demand")
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert ReadinessRun.objects.filter(finished_at__isnull=False).count() == 2
        assert TradingState.objects.get(scope=GLOBAL).level == Level.ACTIVE
        for run in ReadinessRun.objects.all():
            found = {one.id: one.state for one in readiness.findings_of(run)}
            assert found["kill_switch_self_test"] == State.OK
