"""Splits and mergers of shares."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0012_vanished_orders")]

    operations = []
