"""Silence is told once for each outage and once when it is over, by whichever process sees it first."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.workers.absence import CHORES, KEY, RUNNER, SILENT_AFTER_S, Watch, look_around
from safety.models import Setting
from safety.notification_models import Notification
from tests.conftest import CommittedDatabase
from tests.readiness.processes import beat

RUN, DO, CLUSTER = WorkerKind.RUNNER, WorkerKind.CHORES, WorkerKind.CLUSTER


def watch() -> Watch:
    """Return a watch that has looked for long enough to be sure of what it sees."""
    return Watch(grace_s=0, steady_s=0)


def look(one: Watch | None = None) -> frozenset[str]:
    return (one or watch()).look(timezone.now())


def told() -> list[tuple[str, str, str]]:
    rows = Notification.objects.filter(event="worker_down").order_by("id")
    return [(one.subject, one.title, one.severity) for one in rows]


def age(age_s: float, *kinds: str) -> None:
    """Let the heartbeats of these kinds be so old."""
    WorkerHeartbeat.objects.filter(kind__in=kinds or WorkerKind.values).update(
        seen_at=timezone.now() - timedelta(seconds=age_s)
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("age_s", "is_silent"), [(0, False), (SILENT_AFTER_S - 2, False), (SILENT_AFTER_S + 0.1, True), (7200, True)]
)
def test_a_worker_is_silent_when_its_heartbeat_is_too_old(age_s: float, is_silent: bool) -> None:
    beat(RUN, age_s=age_s)
    beat(DO)
    assert look() == (frozenset({RUNNER}) if is_silent else frozenset())
    assert bool(told()) is is_silent


@pytest.mark.django_db
def test_one_of_several_workers_that_is_heard_of_is_enough() -> None:
    for age_s in (500, 3):
        beat(RUN, age_s=age_s)
        beat(DO, age_s=age_s)
    assert look() == frozenset()
    assert told() == []


@pytest.mark.django_db
def test_every_worker_dead_is_one_message_that_says_what_to_do_and_what_is_at_stake() -> None:
    beat(RUN, age_s=65)
    beat(DO, age_s=70)
    beat(WorkerKind.WEB)
    assert look() == {RUNNER, CHORES}
    [one] = Notification.objects.all()
    assert (one.event, one.subject, one.severity) == ("worker_down", "workers", "urgent")
    assert one.title == "No worker is alive: nothing trades, and nobody watches"
    assert "Last heard of at" in one.text
    assert "make run" in one.text
    assert {"Last heard of", "Live bots", "Open orders at venues"} == {name for name, _ in one.facts}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("alive", "title"),
    [(DO, "No worker ticks the bots: nothing trades"), (RUN, "No worker does the watching")],
)
def test_what_is_missing_is_named(alive: WorkerKind, title: str) -> None:
    beat(alive)
    look()
    assert told() == [("workers", title, "urgent")]


@pytest.mark.django_db
def test_workers_that_were_never_started_or_were_stopped_as_planned_are_told_of_too() -> None:
    look()
    [one] = Notification.objects.all()
    assert "stopped, or never started" in one.text


@pytest.mark.django_db
def test_an_outage_is_told_once_and_its_end_once_by_any_number_of_processes() -> None:
    beat(RUN, age_s=100)
    beat(DO, age_s=100)
    watches = [watch() for _ in range(3)]
    for _ in range(3):
        for one in watches:
            look(one)
    assert len(told()) == 1
    age(0)
    for one in [*watches, watch()]:
        look(one)
    assert [title for _, title, _ in told()][1:] == ["The workers are back"]
    assert told()[1][2] == "info"
    age(100)
    for one in watches:
        look(one)
    assert len(told()) == 3, "the next outage is another one"


@pytest.mark.django_db
def test_a_process_that_begins_in_an_outage_does_not_tell_it_again_and_sees_its_end() -> None:
    look()
    fresh = Watch(grace_s=1000, steady_s=0)
    look(fresh)
    assert len(told()) == 1
    beat(RUN)
    beat(DO)
    look(fresh)
    assert [title for _, title, _ in told()][1:] == ["The workers are back"]


@pytest.mark.django_db
def test_workers_that_come_back_one_after_the_other_are_told_of_when_all_are_back() -> None:
    look()
    beat(RUN)
    look()
    assert len(told()) == 1
    beat(DO)
    look()
    assert [title for _, title, _ in told()][1:] == ["The workers are back"]


@pytest.mark.django_db
def test_a_console_that_has_just_started_gives_its_workers_time() -> None:
    starting = Watch(grace_s=1000, steady_s=0)
    assert look(starting) == frozenset()
    assert told() == []


@pytest.mark.django_db
def test_a_moment_of_silence_is_not_enough_and_a_change_starts_anew() -> None:
    patient = Watch(grace_s=0, steady_s=1000)
    for _ in range(3):
        assert look(patient) == frozenset()
    patient.steady_s = 0
    beat(RUN)
    assert look(patient) == {CHORES}


@pytest.mark.django_db
def test_a_host_that_vanished_is_a_warning_while_others_go_on() -> None:
    for kind in (RUN, DO, CLUSTER):
        beat(kind, host="one")
    beat(CLUSTER, host="two", age_s=SILENT_AFTER_S - 2)
    look()
    assert told() == []
    WorkerHeartbeat.objects.filter(host="two").update(seen_at=timezone.now() - timedelta(seconds=SILENT_AFTER_S + 1))
    for _ in range(2):
        look()
    assert told() == [("host:two", "The workers of host two vanished", "warning")]
    WorkerHeartbeat.objects.filter(host="two").update(seen_at=timezone.now())
    look()
    assert told()[1:] == [("host:two", "The workers of host two are back", "info")]


@pytest.mark.django_db
def test_a_host_whose_row_was_forgotten_is_not_called_back() -> None:
    for kind in (RUN, DO, CLUSTER):
        beat(kind, host="one")
    row = beat(CLUSTER, host="two", age_s=100)
    look()
    row.delete()
    look()
    assert len(told()) == 1
    assert Setting.objects.get(key=KEY).value == "[]"


@pytest.mark.django_db
def test_hosts_that_all_died_are_told_as_one() -> None:
    for host in ("one", "two"):
        for kind in (RUN, DO, CLUSTER):
            beat(kind, host=host, age_s=100)
    look()
    assert [subject for subject, _, _ in told()] == ["workers"]


@pytest.mark.django_db
@pytest.mark.parametrize("spoilt", ["", "not json", "7", "null", '{"a": 1}'])
def test_a_note_that_cannot_be_read_hides_nothing(spoilt: str) -> None:
    Setting.objects.update_or_create(key=KEY, defaults={"value": spoilt})
    look()
    assert len(told()) == 1


@pytest.mark.django_db
def test_a_look_costs_two_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    beat(RUN)
    beat(DO)
    one = watch()
    with django_assert_num_queries(2):
        look(one)


@pytest.fixture
def dead_workers(committed_db: CommittedDatabase) -> None:
    beat(RUN, age_s=100)
    beat(DO, age_s=100)


def test_processes_that_look_in_the_same_moment_tell_once(dead_workers: None) -> None:
    start, errors = threading.Barrier(6), []

    def work() -> None:
        one = watch()
        try:
            start.wait(10)
            look(one)
        except Exception as error:  # noqa: BLE001 - shown by the test
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(told()) == 1
    assert look_around().silent == {RUNNER, CHORES}
