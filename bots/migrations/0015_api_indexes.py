"""Indexes that the API's lists go by: orders by symbol, by venue and by time, and points of equity by time."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bots", "0014_autopilot")]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["symbol", "-id"], name="order_symbol_id"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["venue", "-id"], name="order_of_venue_id"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["created_at"], name="order_created"),
        ),
        migrations.AddIndex(
            model_name="equitysnapshot",
            index=models.Index(fields=["taken_at"], name="equity_taken"),
        ),
        migrations.AddIndex(
            model_name="equitysnapshot",
            index=models.Index(fields=["bot", "taken_at"], name="equity_bot_taken"),
        ),
    ]
