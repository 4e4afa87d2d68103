"""The seam to django-q2: which version this was written for, and the settings of each of its clusters."""

import inspect
from typing import Any

import django_q
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.monitor import save_task
from django_q.scheduler import scheduler
from django_q.worker import worker

#: The cure rests on details of django-q2 that no promise covers: another minor version needs to be looked at first.
WRITTEN_FOR = (1, 11)
_CONF_NAMES = {
    "cluster_name": "CLUSTER_NAME",
    "workers": "WORKERS",
    "poll": "POLL",
    "bulk": "BULK",
    "timeout": "TIMEOUT",
    "retry": "RETRY",
    "recycle": "RECYCLE",
    "save_limit": "SAVE_LIMIT",
    "max_attempts": "MAX_ATTEMPTS",
    "ack_failures": "ACK_FAILURES",
    "catch_up": "CATCH_UP",
    "scheduler": "SCHEDULER",
}
_SIGNATURES = {
    worker: ["task_queue", "result_queue", "timer", "timeout"],
    save_task: ["task", "broker"],
    scheduler: ["broker"],
    ORM.dequeue: ["self"],
    ORM.acknowledge: ["self", "task_id"],
}


def check_version() -> None:
    """Raise ImproperlyConfigured unless django-q2 is the one this cluster was written for."""
    if django_q.VERSION[:2] != WRITTEN_FOR:
        raise ImproperlyConfigured(f"the cluster is written for django-q2 {WRITTEN_FOR}, found {django_q.VERSION}")
    for function, expected in _SIGNATURES.items():
        found = list(inspect.signature(function).parameters)
        if found != expected:
            raise ImproperlyConfigured(f"django-q2's {function.__qualname__} takes {found}, expected {expected}")
    missing = [name for name in _CONF_NAMES.values() if not hasattr(Conf, name)]
    if missing:
        raise ImproperlyConfigured(f"django-q2's Conf has no {missing}")


def cluster_names() -> tuple[str, ...]:
    """Return the names of all clusters in the settings, the one that ticks bots first."""
    return (*settings.Q_CLUSTER["ALT_CLUSTERS"], settings.Q_CLUSTER["cluster_name"])


def cluster_settings(name: str) -> dict[str, Any]:
    """Return the settings of one cluster. Raises ImproperlyConfigured for an unknown name or a dangerous value."""
    base = {key: value for key, value in settings.Q_CLUSTER.items() if key != "ALT_CLUSTERS"}
    if name != base["cluster_name"]:
        alternatives = settings.Q_CLUSTER["ALT_CLUSTERS"]
        if name not in alternatives:
            raise ImproperlyConfigured(f"there is no cluster {name!r}; known are {', '.join(cluster_names())}")
        base |= alternatives[name] | {"cluster_name": name}
    if not base["timeout"] < base["retry"]:
        raise ImproperlyConfigured(f"cluster {name}: timeout must be below retry, or tasks run twice")
    if base["bulk"] != 1:
        raise ImproperlyConfigured(f"cluster {name}: bulk must be 1, workers take one task at a time")
    return base


def apply_cluster_settings(name: str) -> None:
    """Make this process one of the cluster ``name``. django-q2 reads its settings at import, for one cluster only."""
    chosen = cluster_settings(name)
    for key, attribute in _CONF_NAMES.items():
        if key in chosen:
            setattr(Conf, attribute, chosen[key])
