"""The tasks that django-q2 carries. They are called by these names from rows in the queue: renaming one needs care."""

import secrets

from bots.workers import watchdog as watch
from bots.workers.chores import ChoresShift, load_chores
from bots.workers.shift import runner_from_settings
from bots.workers.worker import current_cluster_id


def run_shift() -> str:
    """Tick bots until the end of this shift; return why it ended."""
    # Lives differ, so that the runners of a cluster don't all hand over in the same second.
    life_s = watch.shift_life_s() * (0.8 + secrets.randbelow(200) / 1000)
    return runner_from_settings(current_cluster_id(), life_s).run()


def run_chores() -> str:
    """Do the chores until the end of this shift; return why it ended."""
    return ChoresShift(cluster_id=current_cluster_id(), life_s=watch.shift_life_s(), chores=load_chores()).run()


def watchdog() -> int:
    """Queue the shifts that are missing; return how many."""
    return watch.top_up()
