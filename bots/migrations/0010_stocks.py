"""What stocks need."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0009_shadow")]

    operations = []
