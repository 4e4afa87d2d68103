"""A live bot's paper twin."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0008_dead_man")]

    operations = []
