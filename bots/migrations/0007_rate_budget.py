"""How much of a venue's rate limit is used."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0006_reconciliation")]

    operations = []
