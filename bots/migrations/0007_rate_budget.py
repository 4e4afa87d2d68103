"""How much of a venue's rate limit is used, and what the venue said of the key."""

import datetime
from typing import Any

from django.db import migrations, models

from safety.migration_rights import may_be_seen

LONG_AGO = datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.UTC)


def add_kraken(apps: Any, schema_editor: Any) -> None:
    """Make Kraken's row, so that its tier can be chosen before the first request."""
    rows = apps.get_model("bots", "VenueAccess").objects.using(schema_editor.connection.alias)
    rows.get_or_create(account="kraken")


class Migration(migrations.Migration):
    dependencies = [("bots", "0006_reconciliation"), ("safety", "0004_people")]

    operations = [
        migrations.CreateModel(
            name="RateCounter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("account", models.CharField(max_length=40)),
                ("scope", models.CharField(blank=True, default="", max_length=30)),
                ("empty_at", models.DateTimeField(default=LONG_AGO)),
                ("hour", models.DateTimeField(default=LONG_AGO)),
                ("spent_cancels", models.PositiveIntegerField(default=0)),
                ("spent_exits", models.PositiveIntegerField(default=0)),
                ("spent_orders", models.PositiveIntegerField(default=0)),
                ("spent_look_ups", models.PositiveIntegerField(default=0)),
                ("spent_background", models.PositiveIntegerField(default=0)),
                ("held_back", models.PositiveIntegerField(default=0)),
            ],
            options={
                "db_table": "rate_counters",
                "ordering": ["account", "scope"],
                "constraints": [models.UniqueConstraint(fields=("account", "scope"), name="rate_counter_once")],
            },
        ),
        migrations.CreateModel(
            name="VenueAccess",
            fields=[
                ("account", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "tier",
                    models.CharField(
                        choices=[("starter", "Starter"), ("intermediate", "Intermediate"), ("pro", "Pro")],
                        default="starter",
                        max_length=20,
                    ),
                ),
                ("rate_refused_at", models.DateTimeField(null=True)),
                ("rate_refused_reason", models.CharField(blank=True, default="", max_length=300)),
                ("nonce_refused_at", models.DateTimeField(null=True)),
                ("nonce_refused_since", models.DateTimeField(null=True)),
                ("nonce_refusals", models.PositiveIntegerField(default=0)),
                ("key_refused_at", models.DateTimeField(null=True)),
                ("key_refused_reason", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "db_table": "venue_access",
                "verbose_name_plural": "venue access",
                "ordering": ["account"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("tier__in", ["starter", "intermediate", "pro"])),
                        name="venue_access_tier_known",
                    )
                ],
            },
        ),
        migrations.RunPython(add_kraken, migrations.RunPython.noop),
        may_be_seen("bots", "rate counter", "venue access"),
    ]
