"""How the autopilot does: its heartbeat, when it is due, and what it has lost."""

from datetime import datetime

from bots.models import AutopilotConfig, AutopilotLosses, AutopilotState

#: A heartbeat older than so many scan intervals is late.
LATE_AFTER_INTERVALS = 2


def read() -> AutopilotState:
    """Return the one row."""
    return AutopilotState.objects.get(pk=1)


def losses(*, is_live: bool) -> AutopilotLosses:
    """Return what its bots made and lost on paper, or live."""
    return AutopilotLosses.objects.get(is_live=is_live)


def heartbeat_age_s(now: datetime) -> float | None:
    """Return the seconds since its last whole cycle ended; None while it is off, or none ended since it was switched on."""
    config, state = AutopilotConfig.objects.get(pk=1), read()
    if not config.enabled or state.heartbeat_at is None:
        return None
    if state.enabled_at is not None and state.heartbeat_at < state.enabled_at:
        return None
    return max((now - state.heartbeat_at).total_seconds(), 0.0)


def late_since(config: AutopilotConfig, state: AutopilotState, now: datetime) -> datetime | None:
    """Return the heartbeat that is older than twice the interval, or None: it is off or on time.

    Before its first cycle the moment at which it was switched on stands for it.
    """
    if not config.enabled:
        return None
    known = [one for one in (state.heartbeat_at, state.enabled_at) if one is not None]
    if not known:
        return None
    last = max(known)
    age_s = (now - last).total_seconds()
    return last if age_s > LATE_AFTER_INTERVALS * config.scan_interval_s else None


def is_late(now: datetime) -> bool:
    """Return whether it is on and its heartbeat is older than twice the interval."""
    return late_since(AutopilotConfig.objects.get(pk=1), read(), now) is not None
