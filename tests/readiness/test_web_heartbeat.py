"""The web process tells of itself while it lives, and outlives a database that is away."""

import os
import subprocess
import threading
import time

import pytest
from django.db import connections

from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.workers.heartbeats import bury_dead_web, host_name
from tests.conftest import CommittedDatabase
from tests.readiness.processes import beat
from tradingops import web_heartbeat


def wait_for(count: int) -> None:
    ends_s = time.monotonic() + 5
    while WorkerHeartbeat.objects.filter(kind=WorkerKind.WEB).count() != count:
        assert time.monotonic() < ends_s, "it did not happen in time"
        time.sleep(0.02)


def test_row_is_there_while_the_process_lives(committed_db: CommittedDatabase) -> None:
    ended = web_heartbeat.start()
    try:
        wait_for(1)
        assert "gates" in WorkerHeartbeat.objects.get().details["facts"]
    finally:
        ended.set()
    wait_for(0)


def test_database_that_is_away_ends_nothing(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()
    beats = threading.Thread(target=web_heartbeat.beat_until, args=(ended, 0.05))
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE worker_heartbeats RENAME TO elsewhere")
    beats.start()
    time.sleep(0.3)
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE elsewhere RENAME TO worker_heartbeats")
    wait_for(1)
    ended.set()
    beats.join(5)
    assert "cannot write" in caplog.text


def test_row_of_a_web_process_that_is_gone_goes_when_the_next_begins(committed_db: CommittedDatabase) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for host, pid in ((host_name(), gone.pid), (host_name(), os.getpid()), ("another", gone.pid)):
        row = beat(WorkerKind.WEB, host=host)
        WorkerHeartbeat.objects.filter(pk=row.pk).update(pid=pid)
    assert bury_dead_web() == 1
    assert set(WorkerHeartbeat.objects.values_list("host", flat=True)) == {host_name(), "another"}
