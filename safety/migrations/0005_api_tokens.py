"""Scoped tokens for the API."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("safety", "0004_people")]

    operations = []
