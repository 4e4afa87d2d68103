"""The web process has a heartbeat, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bots", "0004_order_look_ups")]

    operations = [
        migrations.AlterField(
            model_name="workerheartbeat",
            name="kind",
            field=models.CharField(
                choices=[("runner", "Runner"), ("chores", "Chores"), ("cluster", "Cluster"), ("web", "Web")],
                max_length=10,
            ),
        ),
        migrations.RemoveConstraint(model_name="workerheartbeat", name="heartbeat_kind_known"),
        migrations.AddConstraint(
            model_name="workerheartbeat",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["runner", "chores", "cluster", "web"])), name="heartbeat_kind_known"
            ),
        ),
    ]
