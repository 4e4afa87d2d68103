"""The autopilot's settings and recommendations."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0013_share_changes")]

    operations = []
