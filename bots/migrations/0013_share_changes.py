"""Splits and mergers of shares, and holdings that count for nothing."""

import django.db.models.deletion
from django.db import migrations, models

import audit.fields

MOVEMENTS = [
    ("deposit", "Deposit"), ("withdrawal", "Withdrawal"), ("reward", "Reward"), ("fee", "Fee"), ("other", "Other"),
    ("external_fill", "External Fill"), ("oversold", "Oversold"), ("settled", "Settled"), ("carried", "Carried"),
    ("share_change", "Share Change"),
]  # fmt: skip
DIFFERENCES = [
    ("shortage", "Shortage"), ("surplus", "Surplus"), ("order", "Order"), ("oversold", "Oversold"), ("shares", "Shares"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("bots", "0012_vanished_orders")]

    operations = [
        migrations.RemoveConstraint("accountmovement", "movement_kind_known"),
        migrations.RemoveConstraint("difference", "difference_kind_known"),
        migrations.AddField(
            "accountmovement",
            "share_difference",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="share_movements",
                to="bots.difference",
            ),
        ),
        migrations.AddField("account", "worthless", audit.fields.CanonicalJSONField(blank=True, default=list)),
        migrations.AddField("accountmovement", "what", models.CharField(blank=True, default="", max_length=20)),
        migrations.AlterField("accountmovement", "kind", models.CharField(choices=MOVEMENTS, max_length=20)),
        migrations.AlterField("difference", "kind", models.CharField(choices=DIFFERENCES, max_length=10)),
        migrations.AddConstraint(
            "accountmovement",
            models.CheckConstraint(
                condition=models.Q(kind__in=[name for name, _ in MOVEMENTS]), name="movement_kind_known"
            ),
        ),
        migrations.AddConstraint(
            "difference",
            models.CheckConstraint(
                condition=models.Q(kind__in=[name for name, _ in DIFFERENCES]), name="difference_kind_known"
            ),
        ),
    ]
