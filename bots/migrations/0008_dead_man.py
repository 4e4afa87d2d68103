"""The dead-man switch of an account."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0007_rate_budget")]

    operations = []
