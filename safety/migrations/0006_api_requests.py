"""What a request with an Idempotency-Key made."""

from django.db import migrations, models

import audit.fields
from safety.migration_rights import may_be_seen


class Migration(migrations.Migration):
    dependencies = [("safety", "0005_api_tokens"), ("safety", "0004_people"), ("audit", "0003_tallies")]

    operations = [
        migrations.CreateModel(
            name="ApiRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("caller", models.CharField(max_length=200)),
                ("key", models.CharField(max_length=255)),
                ("endpoint", models.CharField(max_length=40)),
                ("body_hash", models.CharField(max_length=64)),
                ("made", models.CharField(blank=True, max_length=20)),
                ("outcome", audit.fields.CanonicalJSONField(null=True)),
                ("holder", models.CharField(max_length=32)),
                ("claimed_at", models.DateTimeField()),
                ("claimed_until", models.DateTimeField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "api_requests",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["created_at"], name="api_request_age")],
                "constraints": [models.UniqueConstraint(fields=("caller", "key"), name="api_request_key_is_used_once")],
            },
        ),
        may_be_seen("safety", "api request"),
        may_be_seen("audit", "tally"),
    ]
