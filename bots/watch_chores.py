"""The chores that watch over the console itself: silence, the day's summary, and the sign of life to another machine."""

from datetime import datetime

from django.utils import timezone

from bots import daily_summary, uptime
from bots.autopilot import state as autopilot
from bots.workers.absence import RUNNER, Watch, look_around
from bots.workers.aside import aside
from bots.workers.chores import chore
from safety.notifications import heartbeat

#: The threads of this module, see ``bots/workers/aside.py``.
PING, SUMMARY = "heartbeat url", "daily summary"

_watch = Watch()


@chore(every_s=10)
def watch_workers(now: datetime) -> None:
    """Tell when no runner is heard of, or when another host's workers vanished. The web processes look, too."""
    _watch.look(now)


@chore(every_s=20)
def count_uptime(now: datetime) -> None:
    """Count this minute as one in which the bots were looked after, if they are."""
    if RUNNER not in look_around().silent:
        uptime.count(now)


@chore(every_s=60)
def tell_of_the_day(now: datetime) -> None:
    """Tell what the UTC day before brought, once; counting a busy day takes a moment, and delays no other chore."""
    if daily_summary.is_due(now):
        aside.start(SUMMARY, lambda: daily_summary.tell_yesterday(now))


@chore(every_s=60)
def give_sign_of_life(now: datetime) -> None:
    """Call HEARTBEAT_URL while all is well. That this chore runs and reads says that chores and database are."""
    if not heartbeat.is_configured():
        return
    if why := unwell(now):
        heartbeat.hold_back(now, why)
    elif not aside.start(PING, lambda: heartbeat.ping(timezone.now())):
        heartbeat.keep(now, is_ok=False, detail="HEARTBEAT_URL has not answered the last call yet.")


def unwell(now: datetime) -> str:
    """Return why this console must not be taken for well, or an empty text. Raises django.db.Error."""
    if RUNNER in look_around().silent:
        return "no worker ticks the bots"
    if autopilot.is_late(now):
        return "the autopilot is on, and its last cycle is too long ago"
    return ""
