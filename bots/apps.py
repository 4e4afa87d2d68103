"""The bots app."""

from django.apps import AppConfig


class BotsConfig(AppConfig):
    """Registers the bots app with Django."""

    name = "bots"
    default_auto_field = "django.db.models.BigAutoField"
