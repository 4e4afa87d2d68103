"""The safety app."""

from django.apps import AppConfig
from django.core import checks


class SafetyConfig(AppConfig):
    """Registers the safety app with Django, and its check of the database's stamp."""

    name = "safety"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have ``check --database default``, and ``migrate``, refuse a database that belongs to the other kind of venues."""
        from safety.stamp import system_check

        checks.register(system_check, checks.Tags.database)
