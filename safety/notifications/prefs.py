"""The notification preferences, read and changed as a whole: what the API and scripts use. The admin has a form of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time

from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record, unit
from safety.models import NotificationPrefs
from safety.notifications.messages import EVENTS


class PrefsError(ValueError):
    """Preferences that make no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours (UTC) in which only what is urgent is sent; both None for none."""

    start: time | None = None
    end: time | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed; None leaves it as it is. ``events`` may name some of them."""

    enabled: bool | None = None
    discord: bool | None = None
    email: bool | None = None
    events: Mapping[str, bool] | None = None
    quiet: Quiet | None = None


def read() -> NotificationPrefs:
    """Return the one row."""
    return NotificationPrefs.objects.get(pk=1)


def events_of(prefs: NotificationPrefs) -> dict[str, bool]:
    """Return for every event whether it is wanted. One that was never chosen is."""
    return {name: bool(prefs.events.get(name, True)) for name in EVENTS}


def is_on(prefs: NotificationPrefs, channel: str) -> bool:
    """Return whether anything is to be sent through this channel. One that has no switch of its own is on with the rest."""
    return prefs.enabled and bool(getattr(prefs, channel, True))


def change(wanted: Change, *, actor: str, reason: str) -> NotificationPrefs:
    """Change the preferences, with one audit row for each that is new, and return them. Raises PrefsError."""
    unknown = sorted(set(wanted.events or {}) - set(EVENTS))
    if unknown:
        raise PrefsError(f"There is no event {unknown[0]!r}. Events: {', '.join(EVENTS)}.")
    if wanted.quiet is not None and (wanted.quiet.start is None) != (wanted.quiet.end is None):
        raise PrefsError("Give both ends of the quiet hours, or none.")
    with unit():
        prefs = NotificationPrefs.objects.select_for_update(no_key=True).get(pk=1)
        before = _told(prefs)
        if wanted.enabled is not None:
            prefs.enabled = wanted.enabled
        if wanted.discord is not None:
            prefs.discord = wanted.discord
        if wanted.email is not None:
            prefs.email = wanted.email
        if wanted.events is not None:
            prefs.events = {**events_of(prefs), **wanted.events}
        if wanted.quiet is not None:
            prefs.quiet_from, prefs.quiet_until = wanted.quiet.start, wanted.quiet.end
        prefs.save()
        for name, new in _told(prefs).items():
            if before[name] != new:
                _audit(name, before[name], new, actor, reason)
    return prefs


def _told(prefs: NotificationPrefs) -> dict[str, str]:
    """Return every preference as the audit tells of it."""
    found = {"enabled": str(prefs.enabled), "discord": str(prefs.discord), "email": str(prefs.email)}
    found["quiet_hours"] = canonical_json([_clock(prefs.quiet_from), _clock(prefs.quiet_until)])
    return found | {f"event:{name}": "on" if is_on else "off" for name, is_on in events_of(prefs).items()}


def _clock(moment: time | None) -> str | None:
    return None if moment is None else f"{moment:%H:%M}"


def _audit(name: str, old: str, new: str, actor: str, reason: str) -> None:
    kind, _, event = name.partition(":")
    if event:
        action, what = "notification_event_changed", f"notification_prefs:{event}"
    else:
        action, what = f"notification_{kind}_changed", "notification_prefs"
    record(OperatorEventRecord(actor=actor, action=action, object=what, old=old, new=new, reason=reason))
