"""Settings of the worker processes that these tests start: the console's own, but the tick only takes notes."""

import os

from tradingops.settings import *  # noqa: F403
from tradingops.settings import Q_CLUSTER as Q_CLUSTER

RUNNER_TICK = "tests.workers.ticks.record_tick"
RUNNER_SCHEDULE = "tests.workers.ticks.load_schedule"
SHIFT_LIFE_S = int(os.environ.get("TEST_SHIFT_LIFE_S", "300"))
CHORE_MODULES = os.environ.get("TEST_CHORE_MODULES", "bots.workers.housekeeping").split()
