"""The dead-man switch of an account."""

from typing import Any

from django.db import migrations, models

from safety.migration_rights import may_be_seen


def add_kraken(apps: Any, schema_editor: Any) -> None:
    """Make Kraken's row, switched off."""
    rows = apps.get_model("bots", "DeadManSwitch").objects.using(schema_editor.connection.alias)
    rows.get_or_create(account="kraken")


class Migration(migrations.Migration):
    dependencies = [("bots", "0007_rate_budget"), ("safety", "0004_people")]

    operations = [
        migrations.CreateModel(
            name="DeadManSwitch",
            fields=[
                ("account", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("is_wanted", models.BooleanField(default=False)),
                ("asked_at", models.DateTimeField(null=True)),
                ("fires_at", models.DateTimeField(null=True)),
                ("tried_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("failure", models.CharField(blank=True, default="", max_length=300)),
                ("fired_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "dead_man_switches",
                "verbose_name_plural": "dead man switches",
                "ordering": ["account"],
            },
        ),
        migrations.RunPython(add_kraken, migrations.RunPython.noop),
        may_be_seen("bots", "dead man switch"),
    ]
