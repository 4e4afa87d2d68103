"""The form of the notification preferences: what is sent, where, and when not."""

from datetime import time
from typing import Any

from django import forms
from django.http import QueryDict
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from safety.models import NotificationPrefs
from safety.notifications import prefs
from safety.notifications.messages import EVENTS, URGENT
from safety.notifications.wording import heading

REASON_CHARS_MAX = 500
EVENT = "event_"
CHANNELS = {"discord": "Send to Discord", "email": "Send by email"}


class ClockWidget(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    """A time of the day, with the browser's own picker."""

    input_type = "time"

    def format_value(self, value: Any) -> str | None:
        """Return the time to the minute: nobody sets quiet hours to the second."""
        return f"{value:%H:%M}" if isinstance(value, time) else value


def _switch(label: str, help_text: str = "") -> forms.BooleanField:
    # What the person saw is sent along: what somebody else changed meanwhile stays as it is.
    return forms.BooleanField(
        label=label,
        required=False,
        help_text=help_text,
        widget=UnfoldBooleanSwitchWidget,
        show_hidden_initial=True,
    )


def _clock(label: str) -> forms.TimeField:
    return forms.TimeField(
        label=label,
        required=False,
        widget=ClockWidget,
        show_hidden_initial=True,
        error_messages={"invalid": "Write a time of the day such as 22:00."},
    )


class PrefsForm(forms.Form):
    """All preferences. Only what this person changed, against what the page had shown, is changed."""

    enabled = _switch(
        "Send messages",
        "Off: nothing is sent. What is urgent is still shown on the Safety page and on every page's banner.",
    )
    discord = _switch(CHANNELS["discord"])
    email = _switch(CHANNELS["email"])
    quiet_from = _clock("Quiet from (UTC)")
    quiet_until = _clock("Quiet until (UTC)")
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_CHARS_MAX,
        help_text="Why. It is kept in the operator events.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: QueryDict | None = None, *, found: NotificationPrefs) -> None:
        wanted = prefs.events_of(found)
        initial: dict[str, Any] = {name: getattr(found, name) for name in ("enabled", *CHANNELS)}
        initial |= {"quiet_from": found.quiet_from, "quiet_until": found.quiet_until}
        initial |= {f"{EVENT}{name}": wanted[name] for name in EVENTS}
        super().__init__(data, initial=initial, auto_id="id_prefs_%s")
        for name in EVENTS:
            self.fields[f"{EVENT}{name}"] = _switch(heading(name))

    def switches(self) -> list[forms.BoundField]:
        """Return the fields of what sends at all, and where to."""
        return [self[name] for name in ("enabled", *CHANNELS)]

    def events(self) -> list[dict[str, Any]]:
        """Return each event's field, with whether the event is urgent."""
        return [{"field": self[f"{EVENT}{name}"], "is_urgent": name in URGENT} for name in EVENTS]

    def clean(self) -> dict[str, Any]:
        """Refuse quiet hours that have one end, or no length."""
        cleaned = super().clean() or {}
        if "quiet_from" in cleaned and "quiet_until" in cleaned:
            start, end = cleaned["quiet_from"], cleaned["quiet_until"]
            if (start is None) != (end is None):
                missing = "quiet_from" if start is None else "quiet_until"
                self.add_error(missing, "Give both ends of the quiet hours, or leave both empty.")
            elif start is not None and start == end:
                self.add_error("quiet_until", "Both ends are the same. Give two different times, or leave both empty.")
        return cleaned

    def change(self) -> prefs.Change | None:
        """Return what this person changed, or None for nothing."""
        given = self.cleaned_data
        changed = [name for name in self.changed_data if name != "reason"]
        if not changed:
            return None
        quiet = None
        if {"quiet_from", "quiet_until"} & set(changed):
            quiet = prefs.Quiet(given["quiet_from"], given["quiet_until"])
        events = {name.removeprefix(EVENT): given[name] for name in changed if name.startswith(EVENT)}
        switched = {name: given[name] for name in ("enabled", *CHANNELS) if name in changed}
        return prefs.Change(**switched, events=events or None, quiet=quiet)
