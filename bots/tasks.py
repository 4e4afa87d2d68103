"""The tasks that django-q2 carries. They are called by these names from rows in the queue: renaming one needs care."""

import secrets

from django.utils import timezone

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


def run_autopilot() -> str:
    """Run one cycle of the autopilot; return what became of it."""
    # Only now: the workers that tick bots have no use for it.
    from bots.autopilot import cycle

    try:
        done = cycle.run("schedule", timezone.now())
    except (cycle.CycleTaken, cycle.AutopilotOff) as why:
        return str(why)
    return f"cycle {done.pk}: {done.status}"


def autopilot_watchdog() -> bool:
    """Queue a cycle of the autopilot that is due and was not queued; return whether that was done."""
    from bots.autopilot import chores

    return chores.queue_if_due(timezone.now())
