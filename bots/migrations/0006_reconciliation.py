"""What the account held, what moved it, and where the books differ from the venue."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("bots", "0005_web_heartbeat")]

    operations = []
