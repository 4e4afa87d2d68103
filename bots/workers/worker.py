"""One worker process: takes its tasks from the queue itself, runs them, and stores what came of them.

django-q2 feeds its workers through a pipe that they share, guarded by locks that they share. Killing a process that
holds one hangs the cluster for ever. The ORM broker already hands each task to one taker only, so every worker here is
its own taker, and nothing is shared that a death could leave behind.
"""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django_q.brokers import Broker, get_broker
from django_q.monitor import save_task
from django_q.signals import post_execute
from django_q.signing import BadSignature, SignedPackage
from django_q.worker import worker

from bots.workers.process import StopFlag, TaskTimer, become_child, rest, stopping
from bots.workers.q2 import apply_cluster_settings, cluster_settings
from bots.workers.watchdog import SHIFT_GROUP

log = logging.getLogger(__name__)

_STOP = "STOP"
_RETRY_DATABASE_S = 1.0
_cluster_id = ""


def current_cluster_id() -> str:
    """Return the id of the cluster this process works for, or "" outside a cluster."""
    return _cluster_id


def work(name: str, cluster_id: str, parent_pid: int, stop: StopFlag, timer: TaskTimer) -> None:
    """Be a worker of the cluster ``name`` until ``stop`` is raised. The first call of a forked process."""
    global _cluster_id
    become_child(f"q2-{name}", parent_pid, stop)
    _cluster_id = cluster_id
    apply_cluster_settings(name)
    broker = get_broker()
    try:
        worker(Feed(broker), Results(broker), timer, cluster_settings(name)["timeout"])
    finally:
        connections.close_all()


class Feed:
    """Stands in for the shared task queue."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def get(self) -> dict[str, Any] | str:
        """Return the next task, waiting for one, or the word that ends the worker's loop."""
        while not stopping():
            try:
                taken = self._broker.dequeue() or []  # sleeps for the poll time when there is nothing
                for row_id, package in taken:
                    task = self._open(row_id, package)
                    if task is not None:
                        return task
            except (DatabaseError, InterfaceError):
                log.exception("cannot reach the queue")
                connections.close_all()
                rest(_RETRY_DATABASE_S)
        return _STOP

    def _open(self, row_id: int, package: str) -> dict[str, Any] | None:
        try:
            task: dict[str, Any] = SignedPackage.loads(package)
        except (TypeError, BadSignature):
            log.exception("a task's signature is wrong: dropped")
            self._broker.fail(row_id)
            return None
        task["cluster"] = self._broker.list_key
        task["ack_id"] = row_id
        if task.get("group") == SHIFT_GROUP:
            # At most once: a shift is never handed out again while it runs, and the watchdog replaces a lost one.
            self._broker.acknowledge(row_id)
        return task


class Results:
    """Stands in for the shared result queue and the monitor process behind it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def put(self, task: dict[str, Any]) -> None:
        """Store a result and take the task off the queue. If that fails the task comes again: tasks are idempotent."""
        if not task["success"]:
            log.error("task %s failed: %s", task["name"], task["result"])
        try:
            save_task(task, self._broker)
            row_id = task.pop("ack_id", None)
            if row_id and (task["success"] or task.get("ack_failure", False)):
                self._broker.acknowledge(row_id)
            post_execute.send(sender="django_q", task=task)
        except (DatabaseError, InterfaceError):
            log.exception("cannot store the result of task %s", task["name"])
            connections.close_all()
