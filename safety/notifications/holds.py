"""What holds a message back: quiet hours, a channel's own limit, a pause after a failure.

A moment that lies further ahead than any of them can be holds nothing: it was written while a clock was wrong, and must not
silence the console once the clock is right again.
"""

from datetime import UTC, datetime, timedelta

from safety.models import NotificationPrefs

#: The longest that a channel may want to be left alone (discord.webhook.WAIT_S_MAX), with room for two clocks that differ.
CHANNEL_HELD_MAX = timedelta(hours=1, minutes=10)
#: Quiet hours are shorter than a day.
DELIVERY_HELD_MAX = timedelta(days=1, minutes=10)


def holds(until: datetime | None, now: datetime, longest: timedelta) -> bool:
    """Return whether something is to wait for ``until``."""
    return until is not None and now < until <= now + longest


def quiet_until(prefs: NotificationPrefs, now: datetime) -> datetime | None:
    """Return when the quiet hours end in which ``now`` lies, or None outside them.

    They begin with ``quiet_from`` and are over at ``quiet_until``, both UTC, and may cross midnight. Two equal ends are no
    hours.
    """
    start, end = prefs.quiet_from, prefs.quiet_until
    if start is None or end is None or start == end:
        return None
    clock = now.astimezone(UTC)
    time = clock.time()
    is_quiet = start <= time < end if start < end else time >= start or time < end
    if not is_quiet:
        return None
    day = clock.date() if time < end else clock.date() + timedelta(days=1)
    return datetime.combine(day, end, tzinfo=UTC)
