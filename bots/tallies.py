"""The chore that keeps the totals of the metrics up to date, so that a scrape never counts history."""

from datetime import datetime

from audit import order_tally
from bots.workers.chores import chore
from safety import kill_tally

#: In one round. A console that was updated counts its history in rounds like this, and not in one go.
EVENTS_MAX = 100_000
WITHIN_S = 1.0


@chore(every_s=5)
def keep_tallies(now: datetime) -> None:
    """Count the order events and the kill switch's runs that came since the last round."""
    order_tally.keep(EVENTS_MAX, WITHIN_S)
    kill_tally.keep()
