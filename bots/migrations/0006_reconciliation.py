"""What the account held, what moved it, and where the books differ from the venue."""

import audit.fields
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models

from safety.migration_rights import may_be_seen


class Migration(migrations.Migration):

    dependencies = [
        ('bots', '0005_web_heartbeat'),
        ('safety', '0004_people'),
    ]

    operations = [
        migrations.CreateModel(
            name='AccountMovement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reference', models.CharField(max_length=120)),
                ('asset', models.CharField(max_length=20)),
                ('kind', models.CharField(choices=[('deposit', 'Deposit'), ('withdrawal', 'Withdrawal'), ('reward', 'Reward'), ('fee', 'Fee'), ('other', 'Other'), ('external_fill', 'External Fill'), ('oversold', 'Oversold'), ('settled', 'Settled'), ('carried', 'Carried')], max_length=20)),
                ('quantity', audit.fields.ExactDecimalField()),
                ('value_usd', audit.fields.ExactDecimalField(null=True)),
                ('counts', models.BooleanField(default=True)),
                ('happened_at', models.DateTimeField()),
                ('noted_at', models.DateTimeField()),
                ('undone_at', models.DateTimeField(null=True)),
            ],
            options={
                'db_table': 'account_movements',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='AccountSync',
            fields=[
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='sync', serialize=False, to='bots.account')),
                ('holder', models.CharField(blank=True, default='', max_length=64)),
                ('epoch', models.PositiveBigIntegerField(default=0)),
                ('expires_at', models.DateTimeField()),
                ('wanted_at', models.DateTimeField(help_text='Somebody asked for a round before the next is due.', null=True)),
                ('wanted_by', models.CharField(blank=True, default='', max_length=20)),
                ('started_at', models.DateTimeField(null=True)),
                ('listed_at', models.DateTimeField(null=True)),
                ('sound_at', models.DateTimeField(null=True)),
                ('history_at', models.DateTimeField(null=True)),
                ('history_since', models.DateTimeField(null=True)),
                ('baseline_at', models.DateTimeField(null=True)),
                ('doubts', audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ('failing_since', models.DateTimeField(null=True)),
                ('failure', models.CharField(blank=True, default='', max_length=500)),
            ],
            options={
                'db_table': 'account_syncs',
            },
        ),
        migrations.CreateModel(
            name='AssetBaseline',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('asset', models.CharField(max_length=20)),
                ('quantity', audit.fields.ExactDecimalField(default=Decimal('0'))),
                ('external_quantity', audit.fields.ExactDecimalField(default=Decimal('0'))),
                ('external_price', audit.fields.ExactDecimalField(null=True)),
                ('agreed_at', models.DateTimeField(help_text='When both sides last agreed about it.', null=True)),
            ],
            options={
                'db_table': 'asset_baselines',
                'ordering': ['account_id', 'asset'],
            },
        ),
        migrations.CreateModel(
            name='Difference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('shortage', 'Shortage'), ('surplus', 'Surplus'), ('order', 'Order'), ('oversold', 'Oversold')], max_length=10)),
                ('key', models.CharField(help_text='What it is about; one difference at a time is open about it.', max_length=120)),
                ('asset', models.CharField(blank=True, default='', max_length=20)),
                ('symbol', models.CharField(blank=True, default='', max_length=30)),
                ('venue_order_id', models.CharField(blank=True, default='', max_length=80)),
                ('client_order_id', models.CharField(blank=True, default='', max_length=80)),
                ('text', models.CharField(max_length=500)),
                ('venue', audit.fields.ExactDecimalField(null=True)),
                ('expected', audit.fields.ExactDecimalField(null=True)),
                ('held', audit.fields.ExactDecimalField(null=True)),
                ('flows', audit.fields.ExactDecimalField(null=True)),
                ('opened_at', models.DateTimeField()),
                ('seen_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(null=True)),
                ('closed_by', models.CharField(blank=True, default='', max_length=150)),
                ('outcome', models.CharField(blank=True, default='', max_length=10)),
                ('reason', models.CharField(blank=True, default='', max_length=500)),
            ],
            options={
                'db_table': 'reconciliation_differences',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ReconciliationRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('trigger', models.CharField(max_length=20)),
                ('state', models.CharField(choices=[('agrees', 'Agrees'), ('differs', 'Differs'), ('waits', 'Waits'), ('failed', 'Failed')], max_length=10)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField()),
                ('reason', models.CharField(blank=True, default='', max_length=500)),
                ('figures', audit.fields.CanonicalJSONField(blank=True, default=dict)),
                ('found', audit.fields.CanonicalJSONField(blank=True, default=dict)),
            ],
            options={
                'db_table': 'reconciliation_runs',
                'ordering': ['-id'],
            },
        ),
        migrations.AddField(
            model_name='order',
            name='external_ended_at',
            field=models.DateTimeField(help_text="When an order of somebody else's was seen to have ended.", null=True),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('venue_order_id', ''), _negated=True), fields=['venue', 'venue_order_id'], name='order_venue_id'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('external_ended_at__isnull', True), ('status', 'external')), fields=['venue'], name='order_external_open'),
        ),
        migrations.AddField(
            model_name='accountmovement',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='movements', to='bots.account'),
        ),
        migrations.AddField(
            model_name='assetbaseline',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='baselines', to='bots.account'),
        ),
        migrations.AddField(
            model_name='difference',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='differences', to='bots.account'),
        ),
        migrations.AddField(
            model_name='reconciliationrun',
            name='account',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='reconciliations', to='bots.account'),
        ),
        migrations.AddIndex(
            model_name='accountmovement',
            index=models.Index(fields=['account', 'happened_at'], name='movement_account_time'),
        ),
        migrations.AddConstraint(
            model_name='accountmovement',
            constraint=models.UniqueConstraint(fields=('account', 'reference', 'asset'), name='movement_counts_once'),
        ),
        migrations.AddConstraint(
            model_name='accountmovement',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['deposit', 'withdrawal', 'reward', 'fee', 'other', 'external_fill', 'oversold', 'settled', 'carried'])), name='movement_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='assetbaseline',
            constraint=models.UniqueConstraint(fields=('account', 'asset'), name='baseline_one_an_asset'),
        ),
        migrations.AddConstraint(
            model_name='difference',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['shortage', 'surplus', 'order', 'oversold'])), name='difference_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='difference',
            constraint=models.UniqueConstraint(condition=models.Q(('closed_at__isnull', True)), fields=('account', 'key'), name='difference_one_open'),
        ),
        migrations.AddIndex(
            model_name='reconciliationrun',
            index=models.Index(fields=['account', '-id'], name='reconciliation_account_id'),
        ),
        migrations.AddConstraint(
            model_name='reconciliationrun',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['agrees', 'differs', 'waits', 'failed'])), name='reconciliation_state_known'),
        ),
        may_be_seen(
            "bots", "account movement", "account sync", "asset baseline", "difference", "reconciliation run"
        ),
    ]
