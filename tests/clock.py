"""Where on the clock a test stands, for those to which a new hour, or a new day, is news of its own."""

import time

HOUR_S = 3600
#: A busy machine takes so long for any of them.
NEEDS_S = 20


def stay_within_the_hour() -> None:
    """Return where no hour and no day ends soon: mostly at once, and else when the next one has begun."""
    left_s = HOUR_S - time.time() % HOUR_S
    if left_s < NEEDS_S:
        time.sleep(left_s + 0.01)
