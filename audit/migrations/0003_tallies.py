from django.db import migrations, models

import audit.fields


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("version", models.BigIntegerField(default=0)),
                ("value", audit.fields.CanonicalJSONField(default=dict)),
            ],
            options={"db_table": "tallies"},
        ),
    ]
