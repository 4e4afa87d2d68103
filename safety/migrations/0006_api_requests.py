"""What a request with an Idempotency-Key made."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("safety", "0005_api_tokens")]

    operations = []
