"""Settings of worker processes whose bots trade at every tick (tests/faults/churning.py)."""

from tradingops.settings import *  # noqa: F403
from tradingops.settings import Q_CLUSTER as Q_CLUSTER

RUNNER_TICK = "tests.faults.churning.tick_batch"
