"""Rights and the three groups that hold them. A group that is there already stays as people made it.

Django makes the rows of the rights after all migrations; the groups need them now, so they are made here as it would.
"""

from typing import Any

from django.db import migrations

SEEN = {
    "audit": ("order event", "operator event", "chain head", "anchor"),
    "auth": ("user", "group"),
    "bots": (
        "account", "bot", "bot tick", "candle", "deal", "equity snapshot", "fill", "lease", "nonce key", "order", "position",
        "worker heartbeat",
    ),
    "safety": (
        "kill run", "notification prefs", "readiness run", "risk limits", "setting", "trading state",
    ),
}
VIEWER = [
    (app, name.replace(" ", ""), f"view_{name.replace(' ', '')}", f"Can view {name}")
    for app, names in SEEN.items()
    for name in names
]
OPERATOR = [
    *VIEWER,
    ("bots", "bot", "add_bot", "Can add bot"),
    ("bots", "bot", "change_bot", "Can change bot"),
    ("bots", "bot", "operate_bot", "Can start, stop, pause and close bots"),
    ("safety", "tradingstate", "engage_kill_switch", "Can engage the kill switch"),
    ("safety", "tradingstate", "run_readiness", "Can run the readiness checks"),
    ("safety", "notificationprefs", "change_notificationprefs", "Can change notification prefs"),
]
RISK_MANAGER = [
    *OPERATOR,
    ("bots", "bot", "trade_live", "Can set a bot live and trade live"),
    ("safety", "tradingstate", "release_kill_switch", "Can release the kill switch"),
    ("safety", "risklimits", "add_risklimits", "Can add risk limits"),
    ("safety", "risklimits", "change_risklimits", "Can change risk limits"),
]
GROUPS = {"Viewer": VIEWER, "Operator": OPERATOR, "Risk manager": RISK_MANAGER}


def add_groups(apps: Any, schema_editor: Any) -> None:
    """Make each group that is missing, with its rights."""
    using = schema_editor.connection.alias
    types = apps.get_model("contenttypes", "ContentType").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    groups = apps.get_model("auth", "Group").objects.using(using)
    for group_name, rights in GROUPS.items():
        group, is_new = groups.get_or_create(name=group_name)
        if not is_new:
            continue
        for app, model, codename, name in rights:
            kind, _ = types.get_or_create(app_label=app, model=model)
            right, _ = permissions.get_or_create(content_type=kind, codename=codename, defaults={"name": name})
            group.permissions.add(right)


class Migration(migrations.Migration):
    dependencies = [
        ("safety", "0003_safety_part_two"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.AlterModelOptions(
            name="tradingstate",
            options={
                "ordering": ["scope"],
                "permissions": [
                    ("engage_kill_switch", "Can engage the kill switch"),
                    ("release_kill_switch", "Can release the kill switch"),
                    ("run_readiness", "Can run the readiness checks"),
                ],
            },
        ),
        migrations.RunPython(add_groups, migrations.RunPython.noop),
    ]
