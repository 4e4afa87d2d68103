"""Orders that a venue neither lists nor finds."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0011_history_progress")]

    operations = []
