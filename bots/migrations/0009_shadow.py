"""A live bot's paper twin."""

from decimal import Decimal

import django.db.models.deletion
from django.db import migrations, models

import audit.fields
from safety.migration_rights import may_be_seen


class Migration(migrations.Migration):
    dependencies = [("bots", "0008_dead_man"), ("safety", "0004_people")]

    operations = [
        migrations.CreateModel(
            name="ShadowBot",
            fields=[
                (
                    "bot",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, primary_key=True,
                        related_name="shadow_setting", serialize=False, to="bots.bot",
                    ),
                ),
                ("is_on", models.BooleanField(default=False)),
                ("since", models.DateTimeField()),
            ],
            options={"db_table": "shadow_bots"},
        ),
        migrations.CreateModel(
            name="ShadowOrder",
            fields=[
                (
                    "order",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, primary_key=True,
                        related_name="shadow", serialize=False, to="bots.order",
                    ),
                ),
                ("bid", audit.fields.ExactDecimalField()),
                ("ask", audit.fields.ExactDecimalField()),
                ("filled_quantity", audit.fields.ExactDecimalField(default=Decimal(0))),
                ("filled_notional", audit.fields.ExactDecimalField(default=Decimal(0))),
                ("fees", audit.fields.ExactDecimalField(default=Decimal(0))),
                ("fill_unit_seconds", audit.fields.ExactDecimalField(default=Decimal(0))),
                ("fills", models.PositiveIntegerField(default=0)),
                ("note", models.CharField(blank=True, default="", max_length=200)),
                ("started_at", models.DateTimeField()),
                ("matched_until", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "shadow_orders",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)), fields=["order"], name="shadow_open"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("filled_quantity__gte", Decimal(0))), name="shadow_filled_not_negative"
                    )
                ],
            },
        ),
        may_be_seen("bots", "shadow bot", "shadow order"),
    ]  # fmt: skip
