"""What the kill switch tells others. Blocking never depends on any of it.

``kill_switch_engaged`` (``run``): sent after the state was committed, outside any transaction. A receiver that fails is logged,
and the others are still called. It must be quick: the network is for ``kill_run_unfinished``.

``kill_run_unfinished`` (``run``, ``until_s``): somebody waits for this run; do some of what is left of it, and begin nothing
more after ``until_s`` on the monotonic clock. Receivers that fail are logged.

``kill_switch_released`` (``scope``, ``reason``, ``actor``): sent inside the release's transaction, before it commits. A receiver
that raises undoes the release, so what a release must bring about is there as soon as the release is.
"""

import logging
from typing import Any

from django.dispatch import Signal

from safety.models import KillRun

log = logging.getLogger(__name__)

kill_switch_engaged = Signal()
kill_run_unfinished = Signal()
kill_switch_released = Signal()


def tell(signal: Signal, **what: Any) -> None:
    """Send a signal to every receiver. One that fails is logged, and the others are still told."""
    for receiver, answer in signal.send_robust(sender=KillRun, **what):
        if isinstance(answer, Exception):
            log.error("%s failed after the kill switch: %s", receiver, answer, exc_info=answer)
