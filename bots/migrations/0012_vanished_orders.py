"""Orders that a venue neither lists nor finds, and keys that a venue locked out."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("bots", "0011_history_progress")]

    operations = [
        migrations.AddField(
            model_name="order",
            name="missed_since",
            field=models.DateTimeField(
                help_text="When a whole look-up first did not find it, though it rests as far as we know.", null=True
            ),
        ),
        migrations.AddField(
            model_name="order",
            name="missed_at",
            field=models.DateTimeField(help_text="When a whole look-up last did not find it.", null=True),
        ),
        migrations.AddField(model_name="venueaccess", name="locked_out_since", field=models.DateTimeField(null=True)),
        migrations.AddField(model_name="venueaccess", name="locked_out_until", field=models.DateTimeField(null=True)),
    ]
