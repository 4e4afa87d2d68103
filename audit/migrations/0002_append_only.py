"""The heads of the three chains, and the triggers that refuse to change what was written."""

from typing import Any

from django.db import migrations
from django.db.migrations.exceptions import IrreversibleError

from audit.chain import Chain, genesis
from audit.triggers import install_sql


def create_heads(apps: Any, schema_editor: Any) -> None:
    heads = apps.get_model("audit", "ChainHead").objects.using(schema_editor.connection.alias)
    for chain in Chain:
        heads.create(chain=chain.value, seq=0, hash=genesis(chain))


def install_triggers(apps: Any, schema_editor: Any) -> None:
    for statement in install_sql(schema_editor.connection.vendor):
        schema_editor.execute(statement, params=None)


def refuse(apps: Any, schema_editor: Any) -> None:
    raise IrreversibleError("audit history can't be taken back: to start anew, start with an empty database")


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(create_heads, refuse), migrations.RunPython(install_triggers, refuse)]
