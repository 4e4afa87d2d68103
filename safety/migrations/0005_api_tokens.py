"""Scoped tokens for the API, and the count of wrong ones."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from safety.migration_rights import may_be_seen

RIGHT = ("manage_api_tokens", "Can make and revoke API tokens")


def let_risk_managers(apps: Any, schema_editor: Any) -> None:
    """Let the group that may release make tokens, too. One that people took the release from is left as it is."""
    using = schema_editor.connection.alias
    types = apps.get_model("contenttypes", "ContentType").objects.using(using)
    rights = apps.get_model("auth", "Permission").objects.using(using)
    kind, _ = types.get_or_create(app_label="safety", model="apitoken")
    right, _ = rights.get_or_create(content_type=kind, codename=RIGHT[0], defaults={"name": RIGHT[1]})
    releases = {"permissions__codename": "release_kill_switch", "permissions__content_type__app_label": "safety"}
    for group in apps.get_model("auth", "Group").objects.using(using).filter(name="Risk manager", **releases):
        group.permissions.add(right)


class Migration(migrations.Migration):
    dependencies = [
        ("safety", "0004_people"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiFailure",
            fields=[
                ("address", models.CharField(max_length=45, primary_key=True, serialize=False)),
                ("began_at", models.DateTimeField()),
                ("failures", models.PositiveIntegerField(default=0)),
                ("untold", models.PositiveIntegerField(default=0)),
                ("told_at", models.DateTimeField(null=True)),
            ],
            options={"verbose_name": "API failure", "db_table": "api_failures", "ordering": ["address"]},
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60, unique=True)),
                ("prefix", models.CharField(max_length=8, unique=True)),
                ("secret_hash", models.CharField(max_length=64)),
                (
                    "scope",
                    models.CharField(
                        choices=[("read", "read"), ("engage", "engage"), ("operate", "operate"), ("trade", "trade")],
                        max_length=10,
                    ),
                ),
                ("made_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_by", models.CharField(blank=True, max_length=150)),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "db_table": "api_tokens",
                "ordering": ["-id"],
                "permissions": [RIGHT],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("scope__in", ["read", "engage", "operate", "trade"])),
                        name="api_token_scope_known",
                    )
                ],
            },
        ),
        migrations.RunPython(let_risk_managers, migrations.RunPython.noop),
        may_be_seen("safety", "API token", "API failure"),
    ]
