"""The sentinel: starts the workers of one cluster, replaces the dead, ends them all when asked."""

import logging
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess

from django.db import DatabaseError, InterfaceError, connections
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.scheduler import scheduler

from bots.models.worker import WorkerKind
from bots.workers.heartbeats import BEAT_EVERY_S, Heart, bury_dead_of
from bots.workers.process import Pulse, StopFlag, TaskTimer, become_child, stopping
from bots.workers.q2 import apply_cluster_settings
from bots.workers.watchdog import create_schedule, top_up
from bots.workers.worker import work

log = logging.getLogger(__name__)

CYCLE_S = 0.1
SCHEDULER_EVERY_S = 30.0
#: How long tasks have to hand over after a stop, in seconds; then they are killed.
DRAIN_S = 3.5
#: A worker that dies younger than this is replaced only this much later, in seconds: no storm of forks.
YOUNG_S = 1.0


def run_sentinel(name: str, cluster_id: str, parent_pid: int, stop: StopFlag, pulse: Pulse) -> None:
    """Be the sentinel of the cluster ``name`` until ``stop`` is raised. The first call of a forked process."""
    # A group of its own: a signal to the main process's group (honcho, Ctrl-C) shall reach the main process alone.
    os.setpgrp()
    become_child(f"q2-{name}-watch", parent_pid, stop)
    apply_cluster_settings(name)
    Sentinel(name, cluster_id, pulse).run()


@dataclass
class _Worker:
    process: ForkProcess
    timer: TaskTimer
    started_s: float = field(default_factory=time.monotonic)


class Sentinel:
    """Supervises the workers of one cluster. Every wait is bounded; nothing here waits for a worker's cooperation."""

    def __init__(self, name: str, cluster_id: str, pulse: Pulse) -> None:
        self._name = name
        self._pulse = pulse
        self._stop_workers = StopFlag()
        self._workers: list[_Worker] = []
        self._heart = Heart(WorkerKind.CLUSTER, cluster_id=cluster_id, worker_id=cluster_id)
        self._spawn_after_s = 0.0
        self._rounds_after_s = 0.0
        self._scheduler_after_s = time.monotonic() + 1.0
        self._schedule_known = False

    def run(self) -> None:
        """Supervise until a stop is asked for, then end the workers."""
        try:
            while not stopping():
                self._pulse.beat()
                self._reap()
                self._spawn_missing()
                self._make_rounds()
                time.sleep(CYCLE_S)
        finally:
            self._end()

    def _spawn_missing(self) -> None:
        if len(self._workers) >= Conf.WORKERS or time.monotonic() < self._spawn_after_s:
            return
        connections.close_all()  # a connection must never be shared across a fork
        fork = multiprocessing.get_context("fork")
        while len(self._workers) < Conf.WORKERS:
            timer = TaskTimer()
            args = (self._name, self._heart.cluster_id, os.getpid(), self._stop_workers, timer)
            process = fork.Process(target=work, args=args, daemon=True)
            process.start()
            self._workers.append(_Worker(process, timer))

    def _reap(self) -> None:
        for one in self._workers:
            if one.timer.overdue:
                log.error("worker %s is killed: its task ran out of time", one.process.pid)
                one.process.kill()
        dead = [one for one in self._workers if not one.process.is_alive()]
        for one in dead:
            log.warning("worker %s is gone (%s): replacing it", one.process.pid, one.process.exitcode)
            if time.monotonic() - one.started_s < YOUNG_S:
                self._spawn_after_s = time.monotonic() + YOUNG_S
        if dead:
            self._workers = [one for one in self._workers if one not in dead]
            self._rounds_after_s = 0.0  # what the dead held goes to others at once

    def _make_rounds(self) -> None:
        """Write the cluster's heartbeat, bury dead workers, queue what is missing, run the scheduler."""
        if time.monotonic() < self._rounds_after_s:
            return
        self._rounds_after_s = time.monotonic() + BEAT_EVERY_S
        try:
            self._heart.beat(details={"workers": [one.process.pid for one in self._workers]})
            living = [one.process.pid for one in self._workers if one.process.pid is not None]
            bury_dead_of(self._heart.cluster_id, living)
            top_up()
            self._run_schedules()
        except (DatabaseError, InterfaceError) as error:
            log.warning("cannot reach the database: %s", error)
            connections.close_all()

    def _run_schedules(self) -> None:
        if not self._schedule_known:
            create_schedule()
            self._schedule_known = True
        if Conf.SCHEDULER and time.monotonic() >= self._scheduler_after_s:
            self._scheduler_after_s = time.monotonic() + SCHEDULER_EVERY_S
            scheduler(broker=get_broker())

    def _end(self) -> None:
        self._stop_workers.raise_()
        deadline_s = time.monotonic() + DRAIN_S
        while any(one.process.is_alive() for one in self._workers) and time.monotonic() < deadline_s:
            self._pulse.beat()
            time.sleep(0.02)
        for one in self._workers:
            if one.process.is_alive():
                log.error("worker %s is killed: it did not stop in %s s", one.process.pid, DRAIN_S)
                one.process.kill()
        try:
            self._heart.stop()
        except (DatabaseError, InterfaceError) as error:
            log.warning("cannot take the cluster's heartbeat away: %s", error)
        connections.close_all()
