"""Decisions of the intelligence layer, the autopilot's cycles and decisions, and its own bots."""

from typing import Any

import audit.fields
import django.db.models.deletion
from django.db import migrations, models

from safety.migration_rights import may_be_seen


def add_row(apps: Any, schema_editor: Any) -> None:
    """Make the one row of the autopilot's state, and the two of its losses."""
    alias = schema_editor.connection.alias
    apps.get_model("bots", "AutopilotState").objects.using(alias).get_or_create(id=1)
    for is_live in (False, True):
        apps.get_model("bots", "AutopilotLosses").objects.using(alias).get_or_create(is_live=is_live)


class Migration(migrations.Migration):

    dependencies = [
        ('bots', '0015_api_indexes'),
        ('safety', '0004_people'),
    ]

    operations = [
        migrations.CreateModel(
            name='AutopilotCycle',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('trigger', models.CharField(max_length=150)),
                ('status', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('lost', 'Lost')], default='running', max_length=10)),
                ('holder', models.CharField(max_length=100)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('summary', audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ('error', models.TextField(blank=True, default='')),
            ],
            options={
                'db_table': 'autopilot_cycles',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='AutopilotDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('decided_at', models.DateTimeField()),
                ('kind', models.CharField(max_length=20)),
                ('venue', models.CharField(blank=True, default='', max_length=20)),
                ('symbol', models.CharField(blank=True, default='', max_length=30)),
                ('score', models.PositiveSmallIntegerField(null=True)),
                ('code', models.CharField(max_length=40)),
                ('reason', models.TextField()),
                ('facts', audit.fields.CanonicalJSONField(blank=True, default=dict)),
            ],
            options={
                'db_table': 'autopilot_decisions',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='AutopilotState',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('heartbeat_at', models.DateTimeField(null=True)),
                ('next_at', models.DateTimeField(null=True)),
                ('enabled_at', models.DateTimeField(null=True)),
                ('told_late_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'autopilot_state',
            },
        ),
        migrations.CreateModel(
            name='AutopilotLosses',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_live', models.BooleanField(unique=True)),
                ('pnl_usd', audit.fields.ExactDecimalField(null=True)),
                ('measured_at', models.DateTimeField(null=True)),
                ('day', models.DateField(null=True)),
                ('day_start_pnl_usd', audit.fields.ExactDecimalField(null=True)),
                ('week', models.DateField(null=True)),
                ('week_start_pnl_usd', audit.fields.ExactDecimalField(null=True)),
                ('stopped_at', models.DateTimeField(null=True)),
                ('stopped_until', models.DateTimeField(null=True)),
                ('stopped_by', models.CharField(blank=True, default='', max_length=300)),
            ],
            options={
                'db_table': 'autopilot_losses',
            },
        ),
        migrations.CreateModel(
            name='AutopilotBot',
            fields=[
                ('bot', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='autopilot', serialize=False, to='bots.bot')),
                ('made_at', models.DateTimeField()),
                ('made_score', models.PositiveSmallIntegerField()),
                ('made_regime', models.CharField(max_length=20)),
                ('made_price', audit.fields.ExactDecimalField(null=True)),
                ('phase', models.CharField(choices=[('starting', 'Starting'), ('waiting', 'Waiting'), ('trading', 'Trading'), ('leaving', 'Leaving'), ('loss_hold', 'Loss Hold'), ('kept', 'Kept')], max_length=20)),
                ('phase_at', models.DateTimeField()),
                ('reason', models.CharField(blank=True, default='', max_length=500)),
                ('closed_at', models.DateTimeField(null=True)),
                ('closed_price', audit.fields.ExactDecimalField(null=True)),
            ],
            options={
                'db_table': 'autopilot_bots',
                'constraints': [models.CheckConstraint(condition=models.Q(('phase__in', ['starting', 'waiting', 'trading', 'leaving', 'loss_hold', 'kept'])), name='autopilot_bot_phase_known')],
            },
        ),
        migrations.CreateModel(
            name='BotDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('decided_at', models.DateTimeField()),
                ('action', models.CharField(max_length=20)),
                ('regime', models.CharField(max_length=20)),
                ('confidence', audit.fields.ExactDecimalField()),
                ('score', models.PositiveSmallIntegerField()),
                ('parts', audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ('reasons', audit.fields.CanonicalJSONField(blank=True, default=list)),
                ('cost_bps', audit.fields.ExactDecimalField(null=True)),
                ('inputs', audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ('version', models.PositiveSmallIntegerField()),
            ],
            options={
                'db_table': 'bot_decisions',
                'ordering': ['-id'],
            },
        ),
        migrations.AddField(
            model_name='bot',
            name='by_autopilot',
            field=models.BooleanField(default=False, help_text='The autopilot made it and may close it. It touches no other bot.'),
        ),
        migrations.AddField(
            model_name='bot',
            name='score_min',
            field=models.PositiveSmallIntegerField(default=0, help_text="New entries only while the market's score is at least this, 0 to 100. 0: any score."),
        ),
        migrations.AddField(
            model_name='recommendation',
            name='score_before',
            field=models.PositiveSmallIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='recommendation',
            name='trend',
            field=audit.fields.ExactDecimalField(null=True),
        ),
        migrations.AddConstraint(
            model_name='bot',
            constraint=models.CheckConstraint(condition=models.Q(('score_min__lte', 100)), name='bot_score_min_is_a_score'),
        ),
        migrations.AddConstraint(
            model_name='bot',
            constraint=models.UniqueConstraint(condition=models.Q(('by_autopilot', True), models.Q(('status', 'archived'), _negated=True)), fields=('venue', 'symbol'), name='bot_of_autopilot_once_a_symbol'),
        ),
        migrations.AddConstraint(
            model_name='autopilotcycle',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['running', 'done', 'failed', 'lost'])), name='autopilot_cycle_status_known'),
        ),
        migrations.AddConstraint(
            model_name='autopilotcycle',
            constraint=models.UniqueConstraint(condition=models.Q(('status', 'running')), fields=('status',), name='autopilot_one_cycle_at_once'),
        ),
        migrations.AddField(
            model_name='recommendation',
            name='cycle',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='recommendations', to='bots.autopilotcycle'),
        ),
        migrations.AddField(
            model_name='autopilotdecision',
            name='bot',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='bots.bot'),
        ),
        migrations.AddField(
            model_name='autopilotdecision',
            name='cycle',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='decisions', to='bots.autopilotcycle'),
        ),
        migrations.AddConstraint(
            model_name='autopilotstate',
            constraint=models.CheckConstraint(condition=models.Q(('id', 1)), name='autopilot_state_single_row'),
        ),
        migrations.AddField(
            model_name='botdecision',
            name='bot',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='bots.bot'),
        ),
        migrations.AddIndex(
            model_name='autopilotdecision',
            index=models.Index(fields=['venue', 'symbol', '-id'], name='autopilot_decision_of_symbol'),
        ),
        migrations.AddIndex(
            model_name='autopilotdecision',
            index=models.Index(fields=['decided_at'], name='autopilot_decision_age'),
        ),
        migrations.AddIndex(
            model_name='botdecision',
            index=models.Index(fields=['bot', '-decided_at'], name='decision_of_bot_at'),
        ),
        migrations.RunPython(add_row, migrations.RunPython.noop),
        may_be_seen('bots', 'bot decision', 'autopilot cycle', 'autopilot decision', 'autopilot state', 'autopilot losses', 'autopilot bot'),
    ]
