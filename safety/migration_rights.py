"""For migrations that add a model: whoever may look at everything may look at it, too."""

from typing import Any

from django.db import migrations

from safety.permissions import GROUPS


def may_be_seen(app: str, *names: str) -> migrations.RunPython:
    """Return the operation that lets our groups see these models, each by its verbose name (``"rate counter"``).

    A group that people have emptied, so that it sees no accounts, is left as it is. Needs ``("safety", "0004_people")`` among the
    migration's dependencies: Django makes the rights only after all migrations, so they are made here as it would.
    """

    def add(apps: Any, schema_editor: Any) -> None:
        using = schema_editor.connection.alias
        types = apps.get_model("contenttypes", "ContentType").objects.using(using)
        rights = apps.get_model("auth", "Permission").objects.using(using)
        groups = apps.get_model("auth", "Group").objects.using(using).filter(name__in=GROUPS)
        seeing = groups.filter(permissions__codename="view_account", permissions__content_type__app_label="bots")
        for name in names:
            model = name.replace(" ", "").lower()
            kind, _ = types.get_or_create(app_label=app, model=model)
            right, _ = rights.get_or_create(
                content_type=kind, codename=f"view_{model}", defaults={"name": f"Can view {name}"}
            )
            for group in seeing:
                group.permissions.add(right)

    return migrations.RunPython(add, migrations.RunPython.noop)
