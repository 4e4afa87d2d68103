"""Settings of django-q2: the database is the queue, and there are two clusters.

``slow`` is the default: chores and anything else that may take its time. ``runners`` ticks the bots. Runner tasks live for
minutes, so ``retry`` is far above their life: the queue hands a task out again after ``retry`` even while it still runs.
"""

from typing import Any

Q_CLUSTER: dict[str, Any] = {
    "name": "tradingops",
    "cluster_name": "slow",
    "label": "Work queue",
    "orm": "default",
    "workers": 2,
    "bulk": 1,
    "queue_limit": 3,
    "poll": 0.5,
    "timeout": 30,
    "retry": 60,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "recycle": 0,
    "save_limit": 50,
    "ALT_CLUSTERS": {
        "runners": {
            "workers": 2,
            "poll": 0.2,
            "timeout": 360,
            "retry": 3600,
        },
    },
}
