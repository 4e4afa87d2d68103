"""The outbox of notifications."""

import json
from typing import Any

import audit.fields
from django.db import migrations, models

from audit.fields import canonical_json
from safety.migration_rights import may_be_seen


def tell_of_email(apps: Any, schema_editor: Any) -> None:
    """Let the setting that tells of the preferences name the new switch, as the next change would."""
    for row in apps.get_model("safety", "Setting").objects.filter(key="notification_prefs"):
        row.value = canonical_json({"email": True, **json.loads(row.value)})
        row.save(update_fields=["value"])


class Migration(migrations.Migration):

    dependencies = [
        ('safety', '0006_api_requests'),
    ]

    operations = [
        migrations.CreateModel(
            name='ChannelState',
            fields=[
                ('name', models.CharField(max_length=20, primary_key=True, serialize=False)),
                ('not_before', models.DateTimeField(null=True)),
                ('left', models.PositiveIntegerField(null=True)),
                ('refills_at', models.DateTimeField(null=True)),
                ('failures', models.PositiveIntegerField(default=0)),
                ('failing_since', models.DateTimeField(null=True)),
                ('tried_at', models.DateTimeField(null=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('detail', models.TextField(blank=True, default='')),
            ],
            options={
                'db_table': 'notification_channels',
            },
        ),
        migrations.AddField(
            model_name='notificationprefs',
            name='email',
            field=models.BooleanField(default=True),
        ),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(max_length=20)),
                ('event_id', models.CharField(max_length=40)),
                ('event', models.CharField(max_length=40)),
                ('severity', models.CharField(max_length=10)),
                ('status', models.CharField(choices=[('waiting', 'Waiting'), ('delivered', 'Delivered'), ('dead', 'Dead'), ('dropped', 'Dropped')], default='waiting', max_length=10)),
                ('count', models.PositiveIntegerField(default=1)),
                ('lines', audit.fields.CanonicalJSONField(blank=True, default=list)),
                ('first_at', models.DateTimeField()),
                ('last_at', models.DateTimeField()),
                ('not_before', models.DateTimeField(null=True)),
                ('gather_s', models.PositiveIntegerField(default=0)),
                ('give_up_at', models.DateTimeField()),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('claimed_by', models.CharField(blank=True, default='', max_length=100)),
                ('claimed_until', models.DateTimeField(null=True)),
                ('tried_at', models.DateTimeField(null=True)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('detail', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField()),
            ],
            options={
                'verbose_name_plural': 'deliveries',
                'db_table': 'notification_deliveries',
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('status', 'waiting')), fields=['channel', 'id'], name='delivery_waiting'), models.Index(condition=models.Q(('status', 'dead')), fields=['-id'], name='delivery_dead'), models.Index(fields=['channel', 'event', '-id'], name='delivery_last_of_event'), models.Index(fields=['created_at'], name='delivery_age')],
                'constraints': [models.UniqueConstraint(fields=('channel', 'event_id'), name='delivery_once_a_channel'), models.CheckConstraint(condition=models.Q(('status__in', ['waiting', 'delivered', 'dead', 'dropped'])), name='delivery_status_known')],
            },
        ),
        migrations.CreateModel(
            name='Notification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=40, unique=True)),
                ('event', models.CharField(max_length=40)),
                ('severity', models.CharField(max_length=10)),
                ('subject', models.CharField(max_length=200)),
                ('title', models.CharField(max_length=200)),
                ('text', models.TextField(blank=True)),
                ('facts', audit.fields.CanonicalJSONField(blank=True, default=list)),
                ('created_at', models.DateTimeField()),
                ('planned_at', models.DateTimeField(null=True)),
                ('seen_at', models.DateTimeField(null=True)),
                ('seen_by', models.CharField(blank=True, default='', max_length=150)),
            ],
            options={
                'db_table': 'notifications',
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('planned_at__isnull', True)), fields=['id'], name='notification_unplanned'), models.Index(condition=models.Q(('seen_at__isnull', True), ('severity', 'urgent')), fields=['-id'], name='notification_unseen'), models.Index(fields=['created_at'], name='notification_age')],
            },
        ),
        may_be_seen('safety', 'notification', 'delivery', 'channel state'),
        migrations.RunPython(tell_of_email, migrations.RunPython.noop),
    ]
