"""The autopilot's settings, and what a scan thinks of each symbol."""

from decimal import Decimal
from typing import Any

import audit.fields
from django.db import migrations, models

from safety.migration_rights import may_be_seen


def add_row(apps: Any, schema_editor: Any) -> None:
    """Make the one row, switched off and on paper."""
    apps.get_model("bots", "AutopilotConfig").objects.using(schema_editor.connection.alias).get_or_create(id=1)


class Migration(migrations.Migration):
    dependencies = [("bots", "0013_share_changes"), ("safety", "0004_people")]

    operations = [
        migrations.CreateModel(
            name="AutopilotConfig",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("enabled", models.BooleanField(default=False)),
                ("dry_run", models.BooleanField(default=True)),
                ("profile", models.CharField(choices=[("conservative", "Conservative"), ("balanced", "Balanced"), ("aggressive", "Aggressive")], default="conservative", max_length=20)),
                ("universe", audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ("asset_types", audit.fields.CanonicalJSONField(blank=True, default=list)),
                ("total_capital_usd", audit.fields.ExactDecimalField(default=Decimal("1000"))),
                ("is_by_conviction", models.BooleanField(default=False)),
                ("slots", models.PositiveSmallIntegerField(default=3)),
                ("sector_slots", models.PositiveSmallIntegerField(default=2)),
                ("score_min", models.PositiveSmallIntegerField(default=75)),
                ("score_demote", models.PositiveSmallIntegerField(default=60)),
                ("cooldown_minutes", models.PositiveIntegerField(default=240)),
                ("scan_interval_s", models.PositiveIntegerField(default=300)),
                ("daily_loss_pct", audit.fields.ExactDecimalField(default=Decimal("2"))),
                ("weekly_loss_pct", audit.fields.ExactDecimalField(default=Decimal("5"))),
                ("auto_start", models.BooleanField(default=True)),
                ("close_mode", models.CharField(choices=[("manage_out", "Manage Out"), ("flatten", "Flatten")], default="manage_out", max_length=20)),
            ],
            options={
                "verbose_name_plural": "autopilot config",
                "db_table": "autopilot_config",
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="autopilot_config_single_row"),
                    models.CheckConstraint(condition=models.Q(("score_demote__lte", models.F("score_min"))), name="autopilot_demotes_below_min"),
                    models.CheckConstraint(condition=models.Q(("score_min__lte", 100)), name="autopilot_score_is_a_percentage"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Recommendation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("venue", models.CharField(max_length=20)),
                ("symbol", models.CharField(max_length=20)),
                ("timeframe", models.CharField(max_length=10)),
                ("score", models.PositiveSmallIntegerField()),
                ("parts", audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ("regime", models.CharField(max_length=20)),
                ("confidence", audit.fields.ExactDecimalField()),
                ("action", models.CharField(max_length=20)),
                ("reasons", audit.fields.CanonicalJSONField(blank=True, default=list)),
                ("cost_bps", audit.fields.ExactDecimalField(null=True)),
                ("scanned_at", models.DateTimeField()),
            ],
            options={
                "db_table": "recommendations",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["venue", "symbol", "-id"], name="recommendation_latest")],
            },
        ),
        migrations.RunPython(add_row, migrations.RunPython.noop),
        may_be_seen("bots", "autopilot config", "recommendation"),
    ]
