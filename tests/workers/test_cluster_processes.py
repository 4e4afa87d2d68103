"""Real clusters that are killed, frozen and signalled: every bot ticks on, or no process is left."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.utils import timezone
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from bots.models import Lease, WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.workers.heartbeats import live
from tests.workers.conftest import ClusterUnderTest, Ground, wait_until
from tests.workers.ticks import TickNote

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.timeout(300)]

#: Importing the console takes a while on a busy machine; how fast it starts is measured elsewhere.
START_S = 60
ROLES = {"q2-runners-watc": 1, "q2-slow-watch": 1, "q2-runners": 2, "q2-slow": 2}


def is_complete(cluster: ClusterUnderTest) -> bool:
    """Return whether every process of both clusters is there, and not one more."""
    assert cluster.main.poll() is None, "the main process ended"
    return {role: len(cluster.pids(role)) for role in ROLES} == ROLES and len(cluster.children()) == sum(ROLES.values())


def runner_pids() -> list[int]:
    """Return the processes that are busy with a runner's shift."""
    return sorted(live(WorkerKind.RUNNER).values_list("pid", flat=True))


def at_work(*clusters: ClusterUnderTest) -> bool:
    """Return whether these clusters carry all their shifts, and no other process is seen to carry one."""
    runners = {pid for cluster in clusters for pid in cluster.pids("q2-runners")}
    chores = {pid for cluster in clusters for pid in cluster.pids("q2-slow")}
    doing_chores = list(live(WorkerKind.CHORES).values_list("pid", flat=True))
    return set(runner_pids()) == runners and len(doing_chores) == len(clusters) and set(doing_chores) <= chores


def idle_pid(cluster: ClusterUnderTest) -> int:
    """Return the worker that waits for a task."""
    busy = live(WorkerKind.CHORES).values_list("pid", flat=True)
    (idle,) = set(cluster.pids("q2-slow")) - set(busy)
    return idle


def victims_of(cluster: ClusterUnderTest) -> dict[str, Callable[[], list[int]]]:
    """Return whom to kill: called one after the other, when all is well again."""
    return {
        "an idle worker": lambda: [idle_pid(cluster)],
        "a busy runner": lambda: runner_pids()[:1],
        "all runners": runner_pids,
        "all workers of the other cluster": lambda: cluster.pids("q2-slow"),
        "the runners' sentinel": lambda: cluster.pids("q2-runners-watc"),
        "the other sentinel": lambda: cluster.pids("q2-slow-watch"),
    }


def wait_for_start(ground: Ground, cluster: ClusterUnderTest) -> None:
    """Wait until the cluster is complete, both runners share the shards, and every bot ticks."""
    wait_until(lambda: is_complete(cluster), START_S, "the cluster is complete")
    wait_until(lambda: at_work(cluster), 10, "all shifts are at work")
    ground.wait_for_all_bots()


def test_kill_9_of_any_process_in_turn_is_healed_and_doubles_nothing(ground: Ground) -> None:
    cluster = ground.start()
    wait_for_start(ground, cluster)
    for _ in range(2):
        for name, victims in victims_of(cluster).items():
            killed = victims()
            assert killed, name
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            took_s = ground.wait_for_all_bots(timeout_s=10)
            wait_until(lambda: is_complete(cluster), 10, f"the cluster is complete again after {name} died")
            wait_until(lambda: at_work(cluster), 10, f"all shifts are at work again after {name} died")
            assert not set(killed) & {child.pid for child in cluster.children()}
            assert took_s < 10, name
    assert cluster.main.poll() is None
    ground.check_no_double_tick_was_tried()
    assert cluster.stop(signal.SIGTERM, group=True) < 5


def test_kill_9_of_the_main_process_leaves_nobody_and_another_cluster_takes_over_within_10_s(ground: Ground) -> None:
    first, second = ground.start(), ground.start()
    wait_until(lambda: is_complete(first) and is_complete(second), START_S, "both clusters are complete")
    wait_until(lambda: at_work(first, second), 30, "each cluster carries its own shifts")
    ground.wait_for_all_bots()
    wait_until(
        lambda: Lease.objects.filter(name__startswith="shard:").values("holder").distinct().count() == 4,
        5,
        "fair shares",
    )
    os.kill(first.main.pid, signal.SIGKILL)
    killed_at = timezone.now()
    first.main.wait()
    wait_until(lambda: not first.children(), 2, "no orphan is left")
    wait_until(
        lambda: len(ground.bots_ticked_since(killed_at + timedelta(seconds=0.5))) == 32, 10, "every bot ticks elsewhere"
    )
    taken_over_s = (timezone.now() - killed_at).total_seconds()
    assert taken_over_s < 10, taken_over_s
    ground.check_no_double_tick_was_tried()
    wait_until(lambda: at_work(second), 20, "the dead count as dead, and nothing is carried twice")


@pytest.mark.parametrize(
    ("signum", "group", "busy_s"),
    [(signal.SIGTERM, True, "0"), (signal.SIGTERM, False, "0.5"), (signal.SIGINT, True, "0.5")],
    ids=["term-group-quiet", "term-main-busy", "ctrl-c-busy"],
)
def test_signal_stops_everything_within_5_s_and_gives_the_leases_back(
    ground: Ground, signum: int, group: bool, busy_s: str
) -> None:
    cluster = ground.start(TEST_TICK_TAKES_S=busy_s)
    wait_until(lambda: is_complete(cluster) and len(runner_pids()) == 2, START_S, "the cluster is complete")
    wait_until(lambda: TickNote.objects.exists(), 10, "a bot ticked")
    took_s = cluster.stop(signum, group=group)
    assert took_s < 5, took_s
    assert cluster.main.returncode == 0
    assert not Lease.objects.exclude(holder="").exists()
    assert not WorkerHeartbeat.objects.exists()
    assert "Traceback" not in cluster.log


def test_signal_while_starting_stops_everything(ground: Ground) -> None:
    cluster = ground.start()
    wait_until(lambda: bool(cluster.children()), START_S, "the first child is there")
    assert cluster.stop(signal.SIGTERM, group=True) < 5


def test_worker_frozen_past_its_lease_writes_nothing_when_it_wakes(ground: Ground, tmp_path: Path) -> None:
    freeze = tmp_path / "freeze"
    cluster = ground.start("-n", "runners", TEST_FREEZE_FILE=str(freeze))
    wait_until(lambda: len(runner_pids()) == 2, START_S, "both runners are at work")
    ground.wait_for_all_bots()
    freeze.touch()
    wait_until(lambda: bool(list(tmp_path.glob("freeze.*"))), 5, "a runner froze")
    frozen_pid = int(next(tmp_path.glob("freeze.*")).suffix[1:])
    frozen_at = timezone.now()
    frozen = WorkerHeartbeat.objects.get(pid=frozen_pid, kind=WorkerKind.RUNNER).worker_id
    held = dict(Lease.objects.filter(holder=frozen).values_list("name", "epoch"))
    assert held
    wait_until(
        lambda: len(ground.bots_ticked_since(frozen_at + timedelta(seconds=1))) == 32, 10, "its bots tick elsewhere"
    )
    assert not Lease.objects.filter(holder=frozen).exists()
    os.kill(frozen_pid, signal.SIGCONT)
    wait_until(lambda: f"nothing written: {frozen} lost" in cluster.log, 5, "the woken worker is refused")
    ground.wait_for_all_bots()
    # What it wrote since it woke, it wrote under leases that it won anew.
    for note in TickNote.objects.filter(holder=frozen, ticked_at__gt=frozen_at):
        for name, epoch in (part.split("#") for part in note.token.split(",")):
            assert int(epoch) > held.get(name, 0), note.token
    ground.check_no_double_tick_was_tried()


def test_end_of_a_shift_hands_over_without_a_pause_and_a_wiped_queue_heals(ground: Ground) -> None:
    cluster = ground.start("-n", "runners", TEST_SHIFT_LIFE_S="3")
    wait_until(lambda: len(runner_pids()) == 2, START_S, "both runners are at work")
    first = set(live(WorkerKind.RUNNER).values_list("pk", flat=True))
    ground.wait_for_all_bots()
    started = timezone.now()
    wait_until(
        lambda: not first & set(live(WorkerKind.RUNNER).values_list("pk", flat=True)) and len(runner_pids()) == 2,
        10,
        "other runners are at work",
    )
    ground.wait_for_all_bots(timeout_s=6)
    ticked = list(
        TickNote.objects.filter(bot_id=1, ticked_at__gt=started).order_by("due_at").values_list("due_at", flat=True)
    )
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(ticked)]
    # Had nobody taken over, the bots would have waited for the leases to run out, 7 s.
    assert max(gaps_s) <= 6, gaps_s
    ground.check_no_double_tick_was_tried()
    assert OrmQ.objects.count() <= 2
    ends_s = time.monotonic() + 5
    while time.monotonic() < ends_s:  # successors vanish from the queue as they are queued
        OrmQ.objects.all().delete()
        time.sleep(0.02)
    ground.wait_for_all_bots(timeout_s=10)
    wait_until(lambda: len(runner_pids()) == 2, 10, "both runners are at work again")
    assert cluster.main.poll() is None


def test_task_that_overruns_is_ended_and_a_frozen_one_is_killed(ground: Ground) -> None:
    cluster = ground.start("-n", "slow")
    wait_until(lambda: live(WorkerKind.CHORES).count() == 1, START_S, "the chores are at work")
    async_task("tests.workers.ticks.overrun", cluster="slow", timeout=1)
    wait_until(lambda: Task.objects.filter(success=False).exists(), 15, "it failed")
    assert "exceeded maximum timeout" in Task.objects.get(success=False).result
    async_task("tests.workers.ticks.freeze", cluster="slow", timeout=1)
    wait_until(lambda: "its task ran out of time" in cluster.log, 10, "its worker is killed")
    wait_until(lambda: len(cluster.pids("q2-slow")) == 2, 10, "both are replaced")
    async_task("time.sleep", 0.01, cluster="slow")
    wait_until(lambda: Task.objects.filter(func="time.sleep", success=True).exists(), 10, "the next task runs")
