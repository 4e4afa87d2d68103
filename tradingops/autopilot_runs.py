"""One cycle of the autopilot now, asked for by a person or a script: it goes on by itself if it takes longer than one waits."""

import threading

from django.utils import timezone

from bots.autopilot import cycle
from bots.models import AutopilotCycle
from tradingops.background import in_background

#: So long a request waits for its cycle to end.
WAIT_S = 10.0


class _Attempt:
    """A cycle that was begun in a thread, and what came of it."""

    def __init__(self, trigger: str) -> None:
        self.ended = threading.Event()
        self.cycle: AutopilotCycle | None = None
        self.error: Exception | None = None
        self._trigger = trigger

    def run(self) -> None:
        """Run the cycle, and keep what came of it."""
        try:
            self.cycle = cycle.run(self._trigger, timezone.now())
        except (cycle.CycleTaken, cycle.AutopilotOff) as refused:
            self.error = refused
        finally:
            self.ended.set()


def run_now(trigger: str, wait_s: float = WAIT_S) -> AutopilotCycle | None:
    """Run one cycle, and return it as it stands when it has ended, or after ``wait_s``: it then goes on by itself.

    None: it has not come so far as to have a row. Raises cycle.CycleTaken while another is under way, and cycle.AutopilotOff.
    """
    before = AutopilotCycle.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    attempt = _Attempt(trigger)
    in_background("a cycle of the autopilot", attempt.run)
    attempt.ended.wait(wait_s)
    if attempt.error is not None:
        raise attempt.error
    return attempt.cycle or AutopilotCycle.objects.filter(pk__gt=before, trigger=trigger).order_by("-id").first()
