"""How far the history of an account has been read."""

from django.db import migrations, models

import audit.fields


class Migration(migrations.Migration):
    dependencies = [("bots", "0010_stocks")]

    operations = [
        migrations.AddField("accountsync", "reading", audit.fields.CanonicalJSONField(blank=True, default=dict)),
        migrations.AddField("accountsync", "reading_since", models.DateTimeField(null=True)),
    ]
