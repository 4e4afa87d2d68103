"""A moment on two clocks, for what grows old while nobody looks.

While a laptop sleeps, or a virtual machine is paused, the monotonic clock stands still and the one on the wall goes on; when the
wall's is set, it jumps. An age by one of them alone makes what was learned hours ago look a second old.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone


def _on_the_wall() -> datetime:
    # Looked up at each call: a test may set the clock by putting another one in its place.
    return timezone.now()


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on two clocks: now, unless it is said otherwise."""

    monotonic_s: float = field(default_factory=time.monotonic)
    wall: datetime = field(default_factory=_on_the_wall)

    def elapsed_s(self) -> float:
        """Return the seconds since then by whichever clock says more: what is kept is never taken for younger than it is."""
        return max(
            time.monotonic() - self.monotonic_s,
            (_on_the_wall() - self.wall).total_seconds(),
        )
