"""How far the history of an account has been read."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0010_stocks")]

    operations = []
