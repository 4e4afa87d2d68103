"""The notification preferences, and the setting that tells of them."""

import json
from datetime import time

import pytest

from safety.models import NotificationPrefs, Setting


def told() -> object:
    """Return what the settings table says of the preferences."""
    return json.loads(Setting.objects.get(key="notification_prefs").value)


@pytest.mark.django_db
def test_setting_tells_of_the_first_preferences() -> None:
    quiet = {"from": None, "until": None}
    assert told() == {"enabled": True, "discord": True, "email": True, "events": {}, "quiet_hours": quiet}
    assert Setting.objects.get(key="notification_prefs").value == NotificationPrefs.objects.get().as_text()


@pytest.mark.django_db
def test_setting_follows_every_change() -> None:
    prefs = NotificationPrefs.objects.get()
    prefs.discord, prefs.events = False, {"risk_alert": False}
    prefs.quiet_from, prefs.quiet_until = time(22), time(6, 30)
    prefs.save()
    assert told() == {
        "enabled": True,
        "discord": False,
        "email": True,
        "events": {"risk_alert": False},
        "quiet_hours": {"from": "22:00", "until": "06:30"},
    }
