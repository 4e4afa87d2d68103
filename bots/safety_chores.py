"""The periodic part of the kill switch: unfinished runs go on, this host's latches are copied, the chains are watched."""

import time
from datetime import datetime

from bots import clean_up, flatten
from bots.apart import apart
from bots.workers.chores import chore
from safety import chain_watch, kill_runs, latches

#: How long one round works on one run: other chores wait meanwhile.
ROUND_S = 3.0


@chore(every_s=1)
def go_on_with_kill_runs(now: datetime) -> None:
    """Go on with every run of the kill switch until the venues have confirmed all that it asked for."""
    for run in kill_runs.unfinished():
        until_s = time.monotonic() + ROUND_S
        with apart(f"kill run {run.pk}: its flatten goes on in the next round"):
            flatten.work_on(run, until_s=until_s)
        with apart(f"kill run {run.pk}: its clean-up goes on in the next round"):
            clean_up.work_on(run, until_s=until_s)


@chore(every_s=1)
def copy_latches(now: datetime) -> None:
    """Carry this host's file and variable to the database, so that the other hosts follow."""
    latches.copy_to_row()


@chore(every_s=10)
def watch_chains(now: datetime) -> None:
    """Check some more of the audit chains, and halt when one is broken."""
    chain_watch.check_some()
