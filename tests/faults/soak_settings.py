"""Settings of the soak's worker processes (tests/faults/test_soak.py): their strategy, and every chore but the readiness runs.

What a readiness run finds of a test's host is not what is tried here; the test itself keeps a good one in the database.
"""

import re

from tradingops.settings import *  # noqa: F403
from tradingops.settings import BASE_DIR
from tradingops.settings import Q_CLUSTER as Q_CLUSTER

RUNNER_TICK = "tests.faults.churning.tick_batch"
# Read, and not imported: the module needs settings itself.
_shipped = (BASE_DIR / "bots/workers/chores.py").read_text().partition("CHORE_MODULES = (")[2].partition("\n)")[0]
_names = re.findall(r'"(bots[\w.]+)"', _shipped)
CHORE_MODULES = (*(name for name in _names if name != "bots.readiness_chores"), "tests.faults.churning")
