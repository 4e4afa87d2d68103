from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bots", "0003_accounts")]
    operations = [
        migrations.AddField(
            model_name="order",
            name="empty_look_ups",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="Whole look-ups in a row that did not find it at the venue."
            ),
        ),
        migrations.AddField(model_name="order", name="looked_up_at", field=models.DateTimeField(null=True)),
    ]
