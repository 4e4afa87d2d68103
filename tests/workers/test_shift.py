"""Runners: which bots tick, what happens when a batch fails, and how a shift ends."""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import pytest
from django.db import OperationalError, transaction
from django_q.models import OrmQ

from bots.models import Lease, WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.workers import process
from bots.workers.database_time import database_time
from bots.workers.heartbeats import Heart, live
from bots.workers.leases import SHARD_COUNT, Fence, LeaseHolder, LeaseLost, shard_lease, shard_of
from bots.workers.schedule import DueTick, ScheduledBot
from bots.workers.shift import SHARE_EVERY_S, Runner
from tests.conftest import CommittedDatabase

# So long that no bot comes due a second time while a test runs, whenever in its period the test happens to start.
NEVER_AGAIN_S = 30 * 86_400

TickHook = Callable[[Sequence[DueTick], Fence], None]


class Notebook:
    """A tick that keeps what it ticked, and a list of running bots."""

    def __init__(self, bots: Collection[int], poll_seconds: int = NEVER_AGAIN_S, hook: TickHook | None = None) -> None:
        self.bots, self.poll_seconds, self.hook = set(bots), poll_seconds, hook
        self.batches: list[list[DueTick]] = []

    def tick_batch(self, ticks: Sequence[DueTick], fence: Fence, now: datetime) -> None:
        if self.hook is not None:
            self.hook(ticks, fence)
        with transaction.atomic():
            fence.check()
        self.batches.append(list(ticks))

    def load_schedule(self, shards: Collection[int], shard_count: int) -> list[ScheduledBot]:
        last = {tick.bot_id: tick.due_at for tick in self.ticked}
        mine = sorted(bot_id for bot_id in self.bots if shard_of(bot_id) in shards)
        return [ScheduledBot(bot_id, self.poll_seconds, 1, last.get(bot_id)) for bot_id in mine]

    @property
    def ticked(self) -> list[DueTick]:
        return [tick for batch in self.batches for tick in batch]

    def runner(self, *, life_s: float = 60, batch_max: int = 64) -> Runner:
        return Runner(
            cluster_id="runners@here:1",
            life_s=life_s,
            tick_batch=self.tick_batch,
            load_schedule=self.load_schedule,
            batch_max=batch_max,
        )


def one_round(runner: Runner) -> None:
    """Let the runner do one round, in which it looks after its share."""
    time.sleep(SHARE_EVERY_S)
    runner.heart.beat(shards=runner.shards)
    runner.round()


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that asks this process to stop."""
    monkeypatch.setattr(process, "_own_stop", False)
    return lambda: monkeypatch.setattr(process, "_own_stop", True)


@pytest.mark.django_db
class TestTicking:
    def test_lone_runner_takes_every_shard_and_ticks_every_bot_once(self) -> None:
        notes = Notebook(range(1, 101))
        runner = notes.runner()
        runner.round()
        runner.round()
        assert runner.shards == list(range(SHARD_COUNT))
        assert sorted(tick.bot_id for tick in notes.ticked) == list(range(1, 101))

    def test_batch_is_bounded(self) -> None:
        notes = Notebook(range(1, 101))
        notes.runner(batch_max=30).round()
        assert [len(batch) for batch in notes.batches] == [30, 30, 30, 10]

    def test_fence_of_a_batch_holds_exactly_the_shards_of_its_bots(self) -> None:
        seen: list[str] = []
        notes = Notebook([3, 19, 5], hook=lambda ticks, fence: seen.append(fence.token))
        notes.runner().round()
        assert seen == ["shard:3#1,shard:5#1"]

    def test_bot_that_was_added_ticks_and_one_that_left_does_not(self) -> None:
        notes = Notebook([1], poll_seconds=1)
        runner = notes.runner()
        runner.round()
        before = len(notes.ticked)
        notes.bots = {2}
        time.sleep(1.05)
        runner.round()
        # How often each came due depends on how long the rounds took.
        assert {tick.bot_id for tick in notes.ticked[:before]} == {1}
        assert {tick.bot_id for tick in notes.ticked[before:]} == {2}

    def test_heartbeat_shows_shards_ticks_and_lag(self) -> None:
        runner = Notebook([1, 2]).runner()
        runner.keep_up()
        runner.round()
        shown = runner.shown()
        assert (shown["ticks"], shown["bots"]) == (2, 2)
        assert 0 <= shown["lag_ms_p99"] <= shown["lag_ms_max"] < 30_000
        row = live(WorkerKind.RUNNER).get()
        assert (row.worker_id, row.cluster_id) == (runner.heart.worker_id, "runners@here:1")

    def test_rest_is_short_when_a_bot_is_due_soon_and_bounded_when_none_is(self) -> None:
        notes = Notebook(range(64), poll_seconds=1)
        runner = notes.runner()
        runner.round()
        assert 0.05 <= runner.rest_s() < 0.1
        notes.bots = set()
        time.sleep(1.05)
        runner.round()
        assert runner.rest_s() == 0.25


@pytest.mark.django_db
class TestSharing:
    def test_second_runner_gets_half_and_no_bot_ticks_twice(self) -> None:
        notes = Notebook(range(1, 33))
        first, second = notes.runner(), notes.runner()
        one_round(first)
        second.heart.beat()
        one_round(second)
        assert second.shards == []
        one_round(first)
        one_round(second)
        assert (len(first.shards), len(second.shards)) == (8, 8)
        assert not set(first.shards) & set(second.shards)
        assert len(notes.ticked) == len(set(notes.ticked)) == 32

    def test_shards_of_a_dead_runner_move_when_its_leases_and_heartbeat_ran_out(self) -> None:
        notes = Notebook(range(1, 33))
        dead, heir = notes.runner(), notes.runner()
        heir.heart.beat()
        one_round(dead)
        one_round(heir)
        Lease.objects.filter(holder=dead.heart.worker_id).update(expires_at=database_time(-1))
        WorkerHeartbeat.objects.filter(pk=dead.heart.worker_id).update(seen_at=database_time(-10))
        one_round(heir)
        assert heir.shards == list(range(SHARD_COUNT))
        assert len(notes.ticked) == len(set(notes.ticked)) == 32

    def test_shard_lost_and_won_again_forgets_what_was_planned(self) -> None:
        """Another worker may have ticked meanwhile: only the database knows."""
        notes = Notebook([3], poll_seconds=1)
        runner = notes.runner()
        runner.round()
        other = LeaseHolder("other")
        Lease.objects.filter(pk="shard:3").update(expires_at=database_time(-1))
        other.claim(["shard:3"], 1)
        time.sleep(1.6)
        runner.round()  # finds out
        elsewhere = DueTick(3, notes.ticked[-1].due_at.replace(year=2039))
        notes.batches.append([elsewhere])
        other.release()
        ticked_before = len(notes.ticked)
        runner.round()
        assert len(notes.ticked) == ticked_before


@pytest.mark.django_db
class TestFailing:
    def test_lost_lease_writes_nothing_and_the_bots_still_held_tick_with_the_same_due_time(self) -> None:
        tried: list[DueTick] = []

        def steal_once(ticks: Sequence[DueTick], fence: Fence) -> None:
            if not tried:
                Lease.objects.filter(pk="shard:3").update(holder="thief", epoch=99)
            tried.extend(ticks)

        notes = Notebook([3, 4, 5], hook=steal_once)
        runner = notes.runner()
        runner.round()
        assert sorted(tick.bot_id for tick in notes.ticked) == [4, 5]
        assert set(notes.ticked) < set(tried[:3])
        assert 3 not in runner.shards

    def test_one_bad_batch_does_not_hold_up_the_others(self) -> None:
        def refuse_13(ticks: Sequence[DueTick], fence: Fence) -> None:
            if any(tick.bot_id == 13 for tick in ticks):
                raise ValueError("bot 13 is bad")

        notes = Notebook(range(1, 65), hook=refuse_13)
        runner = notes.runner(life_s=1.5)
        assert runner.run() == "handed over"
        assert {tick.bot_id for tick in notes.ticked} == set(range(1, 65)) - {13}
        assert len(notes.ticked) == len(set(notes.ticked))
        assert runner.last_error == "ValueError: bot 13 is bad"

    def test_bots_of_a_failed_batch_tick_together_again_once_each_ticked_alone(self) -> None:
        failures = iter([ValueError("once")])

        def fail_once(ticks: Sequence[DueTick], fence: Fence) -> None:
            for error in failures:
                raise error

        notes = Notebook([1, 2, 3], poll_seconds=1, hook=fail_once)
        notes.runner(life_s=6).run()
        sizes = [len(batch) for batch in notes.batches]
        assert sizes[:3] == [1, 1, 1]
        assert sum(sizes) >= 8

    def test_failures_rest_longer_and_longer_but_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rests_s: list[float] = []
        monkeypatch.setattr("bots.workers.shift.rest", rests_s.append)
        runner = Notebook([]).runner()
        for _ in range(12):
            runner.failed(ValueError("again"))
        assert rests_s[:3] == [0.2, 0.4, 0.8]
        assert max(rests_s) == rests_s[-1] == 5.0

    def test_lease_lost_is_not_taken_for_a_fault(self) -> None:
        def lose(ticks: Sequence[DueTick], fence: Fence) -> None:
            raise LeaseLost("gone")

        runner = Notebook([1], hook=lose).runner()
        runner.round()
        assert runner.last_error == ""


def test_database_that_goes_away_is_survived(committed_db: CommittedDatabase) -> None:
    failures = iter([True, True])

    def fail_twice(ticks: Sequence[DueTick], fence: Fence) -> None:
        if next(failures, False):
            raise OperationalError("server closed the connection unexpectedly")

    notes = Notebook([1, 2], hook=fail_twice)
    runner = notes.runner(life_s=2.5)
    assert runner.run() == "handed over"
    assert {tick.bot_id for tick in notes.ticked} == {1, 2}
    assert "server closed" in runner.last_error


@pytest.mark.django_db
class TestEnding:
    def test_end_of_life_queues_a_successor_and_frees_the_leases(self, stop: Callable[[], None]) -> None:
        Heart(WorkerKind.CLUSTER, worker_id="runners@here:1").beat()
        runner = Notebook([1]).runner(life_s=0.3)
        assert runner.run() == "handed over"
        assert [row.func() for row in OrmQ.objects.filter(key="runners")] == ["bots.tasks.run_shift"] * 2
        assert not Lease.objects.exclude(holder="").exists()
        assert not live(WorkerKind.RUNNER).exists()
        # Health looks at the newest runner row: it must not vanish between a shift and its successor.
        assert WorkerHeartbeat.objects.get(kind=WorkerKind.RUNNER).details == {"ended": True}

    def test_stop_frees_the_leases_and_queues_nothing(self, stop: Callable[[], None]) -> None:
        Heart(WorkerKind.CLUSTER, worker_id="runners@here:1").beat()

        def stop_now(ticks: Sequence[DueTick], fence: Fence) -> None:
            OrmQ.objects.all().delete()
            stop()

        runner = Notebook([1], hook=stop_now).runner(life_s=60)
        started_s = time.monotonic()
        assert runner.run() == "stopped"
        assert time.monotonic() - started_s < 30
        assert not OrmQ.objects.exists()
        assert not Lease.objects.exclude(holder="").exists()
        assert not WorkerHeartbeat.objects.filter(kind=WorkerKind.RUNNER).exists()

    def test_no_batch_begins_after_a_stop(self, stop: Callable[[], None]) -> None:
        notes = Notebook(range(1, 33), hook=lambda ticks, fence: stop())
        notes.runner(batch_max=4).run()
        assert len(notes.batches) == 1

    def test_unexpected_exit_frees_the_leases(self) -> None:
        def die(ticks: Sequence[DueTick], fence: Fence) -> None:
            raise SystemExit("ran out of time")

        with pytest.raises(SystemExit):
            Notebook([1], hook=die).runner().run()
        assert not Lease.objects.exclude(holder="").exists()


@pytest.mark.django_db
class TestSurplus:
    def test_shift_that_its_cluster_does_not_need_ends_at_once_and_leaves_the_worker_to_other_tasks(self) -> None:
        Heart(WorkerKind.CLUSTER, worker_id="runners@here:1").beat()
        for _ in range(2):
            Heart(WorkerKind.RUNNER, cluster_id="runners@here:1").beat()
        notes = Notebook([1])
        assert notes.runner().run() == "not needed here"
        assert notes.ticked == []
        assert live(WorkerKind.RUNNER).count() == 2
        assert not Lease.objects.exclude(holder="").exists()

    def test_shift_that_saw_the_others_too_late_still_ends_and_gives_its_leases_back(self) -> None:
        def others_appear(ticks: Sequence[DueTick], fence: Fence) -> None:
            for _ in range(2):
                Heart(WorkerKind.RUNNER, cluster_id="runners@here:1").beat()
            WorkerHeartbeat.objects.exclude(pk=fence.holder).update(started_at=database_time(-60))

        notes = Notebook([1], hook=others_appear)
        assert notes.runner(life_s=20).run() == "not needed here"
        assert notes.ticked
        assert not Lease.objects.exclude(holder="").exists()

    def test_shifts_of_another_cluster_and_dead_ones_do_not_count(self) -> None:
        for cluster_id in ("runners@there:1", "runners@there:1", "runners@here:1", "runners@here:1"):
            Heart(WorkerKind.RUNNER, cluster_id=cluster_id).beat()
        WorkerHeartbeat.objects.filter(cluster_id="runners@here:1").update(seen_at=database_time(-7))
        assert Notebook([1]).runner(life_s=0.2).run() == "handed over"


def test_every_shard_has_a_lease_name_of_its_own() -> None:
    assert len({shard_lease(shard) for shard in range(SHARD_COUNT)}) == SHARD_COUNT
