"""The seam to django-q2: what a worker takes from the queue, when it lets go of it, and which django-q2 is accepted."""

import time
from datetime import timedelta
from io import StringIO

import django_q
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command, get_commands
from django.db import OperationalError
from django.utils import timezone
from django_q.brokers import Broker, get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Task
from django_q.tasks import async_task
from django_q.worker import worker
from pytest_django import Settings

from bots.workers import process, q2
from bots.workers.cluster import Cluster
from bots.workers.process import Pulse, StopFlag, TaskTimer
from bots.workers.watchdog import SHIFT_GROUP
from bots.workers.worker import Feed, Results

ran: list[str] = []


def do(what: str) -> str:
    """A task."""
    ran.append(what)
    if what == "fail":
        raise ValueError("as asked")
    return what


DO = f"{__name__}.do"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.setattr(process, "_own_stop", False)


@pytest.fixture
def broker() -> Broker:
    return get_broker("slow")


class OneThenStop(Feed):
    """A feed that ends the worker's loop when the queue is empty."""

    def get(self) -> object:  # type: ignore[override]
        waiting = OrmQ.objects.filter(key="slow", lock__lt=timezone.now()).exists()
        return super().get() if waiting else "STOP"


def run_queued(broker: Broker, results: Results | None = None) -> None:
    """Run what is queued with django-q2's own worker loop, in this process."""
    worker(OneThenStop(broker), results or Results(broker), TaskTimer(), 30)


# Real commits: django-q2's loop closes the connection of a test that is one transaction.
@pytest.mark.usefixtures("committed_db")
class TestTasks:
    def test_task_runs_once_is_stored_and_leaves_the_queue(self, broker: Broker) -> None:
        async_task(do, "work", cluster="slow")
        run_queued(broker)
        run_queued(broker)
        assert ran == ["work"]
        assert not OrmQ.objects.exists()
        task = Task.objects.get()
        assert (task.success, task.result, task.cluster) == (True, "work", "slow")

    def test_failed_task_is_stored_with_its_traceback_and_does_not_come_again(self, broker: Broker) -> None:
        async_task(do, "fail", cluster="slow")
        run_queued(broker)
        assert ran == ["fail"]
        assert not OrmQ.objects.exists()
        task = Task.objects.get()
        assert not task.success
        assert "as asked" in task.result

    def test_running_task_is_locked_and_stays_queued_until_it_is_done(self, broker: Broker) -> None:
        async_task(do, "work", cluster="slow")
        task = Feed(broker).get()
        assert isinstance(task, dict)
        row = OrmQ.objects.get()
        assert row.lock > timezone.now() + timedelta(seconds=30)
        assert task["ack_id"] == row.pk

    def test_shift_leaves_the_queue_when_it_is_taken_so_it_is_never_handed_out_twice(self, broker: Broker) -> None:
        async_task(do, "shift", cluster="slow", group=SHIFT_GROUP)
        assert isinstance(Feed(broker).get(), dict)
        assert not OrmQ.objects.exists()

    def test_task_with_a_wrong_signature_is_dropped_and_the_next_one_taken(self, broker: Broker) -> None:
        OrmQ.objects.create(key="slow", payload="forged:by:someone", lock=timezone.now())
        async_task(do, "work", cluster="slow")
        task = Feed(broker).get()
        assert isinstance(task, dict)
        assert task["args"] == ("work",)
        assert OrmQ.objects.count() == 1

    def test_task_of_another_cluster_is_left_alone(self, broker: Broker) -> None:
        async_task(do, "work", cluster="runners")
        run_queued(broker)
        assert ran == []

    def test_two_workers_never_take_the_same_task(self, broker: Broker) -> None:
        async_task(do, "work", cluster="slow")
        stale = list(OrmQ.objects.all())
        assert isinstance(Feed(broker).get(), dict)
        assert not OrmQ.objects.filter(pk=stale[0].pk, lock=stale[0].lock).exists()

    def test_feed_ends_the_loop_when_a_stop_is_asked_for(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        async_task(do, "work", cluster="slow")
        monkeypatch.setattr(process, "_own_stop", True)
        assert Feed(broker).get() == "STOP"
        assert OrmQ.objects.count() == 1


def test_result_that_cannot_be_stored_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    class Unreachable(Broker):  # type: ignore[misc]
        def acknowledge(self, task_id: int) -> None:
            raise OperationalError("gone")

    task = {
        "id": "1",
        "name": "n",
        "func": DO,
        "args": (),
        "kwargs": {},
        "success": True,
        "result": "",
        "ack_id": 5,
        "save": False,
    }
    Results(Unreachable("slow")).put(task)
    assert "cannot store the result of task n" in caplog.text


class TestTimer:
    def test_idle_worker_is_never_overdue(self) -> None:
        assert not TaskTimer().overdue

    def test_busy_worker_is_overdue_after_its_timeout_only(self) -> None:
        timer = TaskTimer()
        timer.value = 0.1
        seen = [timer.overdue]
        time.sleep(0.12)
        seen.append(timer.overdue)
        timer.value = -1
        seen.append(timer.overdue)
        assert seen == [False, True, False]

    def test_task_without_a_timeout_is_never_overdue(self) -> None:
        timer = TaskTimer()
        timer.value = -1
        assert not timer.overdue

    def test_timer_adds_what_the_worker_adds(self) -> None:
        timer = TaskTimer()
        timer.value = 30
        timer.value += 3
        assert timer.value == 33

    def test_pulse_grows_old_until_it_beats(self) -> None:
        pulse = Pulse()
        time.sleep(0.05)
        aged_s = pulse.age_s
        assert aged_s >= 0.05
        beaten_s = time.monotonic()
        pulse.beat()
        assert pulse.age_s <= time.monotonic() - beaten_s + 0.001


class TestStop:
    def test_flag_of_the_cluster_is_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flag = StopFlag()
        monkeypatch.setattr(process, "_stop_flags", [flag])
        assert not process.stopping()
        flag.raise_()
        assert process.stopping()

    def test_rest_ends_soon_after_a_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "_own_stop", True)
        started_s = time.monotonic()
        process.rest(30)
        assert time.monotonic() - started_s < 10

    def test_outside_a_cluster_nothing_is_stopping(self) -> None:
        assert not process.stopping()


class TestVersion:
    def test_installed_django_q2_is_accepted(self) -> None:
        q2.check_version()

    def test_another_minor_version_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(django_q, "VERSION", (1, 12, 0))
        with pytest.raises(ImproperlyConfigured, match=r"1, 11"):
            Cluster(["runners"])

    def test_changed_signature_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(q2, "_SIGNATURES", {worker: ["task_queue", "timer"]})
        with pytest.raises(ImproperlyConfigured, match="worker"):
            q2.check_version()

    def test_setting_that_is_gone_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(Conf, "POLL")
        with pytest.raises(ImproperlyConfigured, match="POLL"):
            q2.check_version()


class TestSettings:
    def test_runners_retry_is_far_above_a_shifts_life(self) -> None:
        runners = q2.cluster_settings("runners")
        assert runners["retry"] >= 5 * runners["timeout"]
        assert runners["cluster_name"] == "runners"

    @pytest.mark.parametrize("name", q2.cluster_names())
    def test_every_cluster_holds_the_settings_that_keep_tasks_from_running_twice(self, name: str) -> None:
        chosen = q2.cluster_settings(name)
        assert chosen["timeout"] < chosen["retry"]
        assert (chosen["bulk"], chosen["max_attempts"], chosen["ack_failures"], chosen["catch_up"]) == (
            1,
            1,
            True,
            False,
        )

    def test_unknown_cluster_is_refused(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="known are runners, slow"):
            Cluster(["runer"])

    @pytest.mark.parametrize("bad", [{"timeout": 60, "retry": 60}, {"bulk": 2}])
    def test_dangerous_settings_are_refused(self, settings: Settings, bad: dict[str, int]) -> None:
        settings.Q_CLUSTER = settings.Q_CLUSTER | bad
        with pytest.raises(ImproperlyConfigured):
            q2.cluster_settings("slow")

    def test_a_process_becomes_one_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for attribute in q2._CONF_NAMES.values():
            monkeypatch.setattr(Conf, attribute, getattr(Conf, attribute))
        q2.apply_cluster_settings("runners")
        assert (Conf.CLUSTER_NAME, Conf.RETRY, Conf.TIMEOUT) == ("runners", 3600, 360)


class TestCommand:
    def test_qcluster_is_ours(self) -> None:
        assert get_commands()["qcluster"] == "bots"

    def test_unknown_name_is_refused(self) -> None:
        with pytest.raises(CommandError, match="invalid choice"):
            call_command("qcluster", "--name", "nonsense", stdout=StringIO())
