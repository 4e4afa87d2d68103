"""The watchdog: queues exactly what is missing, from many places at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task
from pytest_django import Settings

from bots import tasks
from bots.models import WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.workers import watchdog
from bots.workers.database_time import database_time
from bots.workers.heartbeats import Heart, bury_dead_of, forget_old, live
from bots.workers.leases import LeaseHolder
from bots.workers.q2 import cluster_settings
from tests.conftest import CommittedDatabase

RUNNERS = "bots.tasks.run_shift"
CHORES = "bots.tasks.run_chores"


def cluster(name: str, number: int = 1) -> None:
    Heart(WorkerKind.CLUSTER, worker_id=f"{name}@host{number}:1:a").beat()


def queued(name: str) -> list[str]:
    return [row.func() for row in OrmQ.objects.filter(key=name)]


@pytest.mark.django_db
class TestTopUp:
    def test_new_cluster_gets_all_its_shifts_once(self) -> None:
        cluster("runners")
        assert watchdog.top_up() == 2
        assert watchdog.top_up() == 0
        assert queued("runners") == [RUNNERS, RUNNERS]

    def test_each_cluster_name_gets_its_own_kind(self) -> None:
        cluster("slow")
        cluster("runners")
        assert watchdog.top_up() == 3
        assert (queued("slow"), queued("runners")) == ([CHORES], [RUNNERS, RUNNERS])

    def test_two_hosts_get_twice_as_many(self) -> None:
        cluster("runners", 1)
        cluster("runners", 2)
        assert watchdog.top_up() == 4

    def test_without_a_living_cluster_nothing_is_queued(self) -> None:
        cluster("runners")
        WorkerHeartbeat.objects.update(seen_at=database_time(-7))
        assert watchdog.top_up() == 0

    @pytest.mark.parametrize(("age_s", "missing"), [(0, 1), (5, 1), (7, 2)])
    def test_living_runner_counts_until_it_was_not_seen_for_six_seconds(self, age_s: float, missing: int) -> None:
        cluster("runners")
        runner = Heart(WorkerKind.RUNNER)
        runner.beat()
        WorkerHeartbeat.objects.filter(pk=runner.worker_id).update(seen_at=database_time(-age_s))
        assert watchdog.top_up() == missing

    def test_wanted_number_comes_from_the_settings(self, settings: Settings) -> None:
        settings.RUNNERS_WANTED = 3
        cluster("runners")
        assert watchdog.top_up() == 3

    def test_row_that_a_dead_worker_took_is_deleted_and_replaced(self) -> None:
        cluster("runners")
        watchdog.top_up()
        retry_s = cluster_settings("runners")["retry"]
        dead, fresh = OrmQ.objects.order_by("pk")
        taken_ago_s = {dead.pk: 60, fresh.pk: 2}
        for pk, ago_s in taken_ago_s.items():
            OrmQ.objects.filter(pk=pk).update(lock=timezone.now() + timedelta(seconds=retry_s - ago_s))
        assert watchdog.top_up() == 1
        assert not OrmQ.objects.filter(pk=dead.pk).exists()
        assert OrmQ.objects.filter(pk=fresh.pk).exists()

    def test_other_tasks_are_not_counted_and_not_deleted(self) -> None:
        cluster("slow")
        async_task("bots.tasks.watchdog", cluster="slow")
        OrmQ.objects.update(lock=timezone.now() + timedelta(seconds=20))  # taken 40 s ago, and still running
        assert watchdog.top_up() == 1
        assert sorted(queued("slow")) == [CHORES, "bots.tasks.watchdog"]

    def test_flooded_queue_is_not_fed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watchdog, "ROWS_MAX", 3)
        cluster("slow")
        for _ in range(4):
            async_task("bots.tasks.watchdog", cluster="slow")
        assert watchdog.top_up() == 0

    def test_queued_shift_may_run_over_its_life_and_is_never_stored(self) -> None:
        cluster("runners")
        watchdog.top_up()
        task = OrmQ.objects.filter(key="runners")[0].task
        assert (task["timeout"], task["save"], task["group"]) == (360, False, watchdog.SHIFT_GROUP)
        assert task["timeout"] < cluster_settings("runners")["retry"]

    def test_task_by_name_is_the_same_watchdog(self) -> None:
        cluster("runners")
        assert tasks.watchdog() == 2


def test_many_watchdogs_at_once_queue_no_shift_twice(committed_db: CommittedDatabase) -> None:
    cluster("runners")
    cluster("slow")
    start = threading.Barrier(6)

    def watch() -> int:
        try:
            start.wait(timeout=10)
            return sum(watchdog.top_up() for _ in range(3))
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda _: watch(), range(6)))
    assert sum(counts) == OrmQ.objects.count() == 3


@pytest.mark.django_db
class TestSchedule:
    def test_each_schedule_is_created_once(self) -> None:
        watchdog.create_schedule()
        Schedule.objects.filter(func="bots.tasks.autopilot_watchdog").delete()
        watchdog.create_schedule()
        watchdog.create_schedule()
        found = Schedule.objects.order_by("func").values_list("func", "minutes", "cluster")
        assert list(found) == [("bots.tasks.autopilot_watchdog", 1, "slow"), ("bots.tasks.watchdog", 1, "slow")]
        assert all(callable(getattr(tasks, func.removeprefix("bots.tasks."))) for func, _, _ in found)

    @pytest.mark.parametrize("plan", watchdog.plans(), ids=lambda plan: str(plan.kind))
    def test_every_plan_names_a_function_and_a_cluster_that_exist(self, plan: watchdog.ShiftPlan) -> None:
        assert callable(getattr(tasks, plan.function.removeprefix("bots.tasks.")))
        assert cluster_settings(plan.cluster)["cluster_name"] == plan.cluster


@pytest.mark.django_db
class TestBurial:
    def test_dead_worker_gives_up_its_leases_at_once(self) -> None:
        heart = Heart(WorkerKind.RUNNER, cluster_id="runners@here")
        heart.beat()
        WorkerHeartbeat.objects.update(pid=2**22 + 1)  # above any process id
        leases = LeaseHolder(heart.worker_id)
        leases.claim(["shard:1"], 1)
        assert bury_dead_of("runners@here", [1]) == [heart.worker_id]
        assert not WorkerHeartbeat.objects.exists()
        assert LeaseHolder("heir").claim(["shard:1"], 1) == {"shard:1"}

    def test_living_worker_and_workers_of_other_clusters_are_left_alone(self) -> None:
        Heart(WorkerKind.RUNNER, cluster_id="runners@here").beat()  # this very process
        elsewhere = Heart(WorkerKind.RUNNER, cluster_id="runners@there")
        elsewhere.beat()
        WorkerHeartbeat.objects.filter(pk=elsewhere.worker_id).update(pid=2**22 + 1)
        assert bury_dead_of("runners@here", []) == []
        assert WorkerHeartbeat.objects.count() == 2

    def test_old_heartbeats_are_forgotten_and_fresh_ones_kept(self) -> None:
        for age_s in (10, 890, 910):
            heart = Heart(WorkerKind.RUNNER)
            heart.beat()
            WorkerHeartbeat.objects.filter(pk=heart.worker_id).update(seen_at=database_time(-age_s))
        assert forget_old() == 1
        assert WorkerHeartbeat.objects.count() == 2

    def test_handing_over_ends_a_life_but_keeps_the_row(self) -> None:
        heart = Heart(WorkerKind.RUNNER)
        heart.beat(shards=[1, 10, 2], details={"ticks": 5})
        assert WorkerHeartbeat.objects.get().shards == "1,2,10"
        heart.hand_over()
        assert not live(WorkerKind.RUNNER).exists()
        assert WorkerHeartbeat.objects.get().shards == ""
