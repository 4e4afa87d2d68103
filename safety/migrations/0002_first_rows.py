"""The rows without which everything reads as halted: the global trading state, the kill switch setting, limits, prefs
and the installation's random id."""

import secrets
from typing import Any

from django.db import migrations
from django.utils import timezone


def add_rows(apps: Any, schema_editor: Any) -> None:
    """Add what is missing. A console starts active: it trades on paper, and live has gates of its own."""
    now = timezone.now()
    state = {"level": "active", "actor": "installation", "changed_at": now}
    apps.get_model("safety", "TradingState").objects.get_or_create(scope="global", defaults=state)
    apps.get_model("safety", "Setting").objects.get_or_create(key="kill_switch", defaults={"value": "0"})
    installation = {"value": secrets.token_hex(16)}
    apps.get_model("safety", "Setting").objects.get_or_create(key="installation_id", defaults=installation)
    apps.get_model("safety", "RiskLimits").objects.get_or_create(scope="global")
    apps.get_model("safety", "NotificationPrefs").objects.get_or_create(id=1)
    prefs = '{"discord":true,"enabled":true,"events":{},"quiet_hours":{"from":null,"until":null}}'
    apps.get_model("safety", "Setting").objects.get_or_create(key="notification_prefs", defaults={"value": prefs})


class Migration(migrations.Migration):
    dependencies = [("safety", "0001_initial")]
    operations = [migrations.RunPython(add_rows, migrations.RunPython.noop)]
