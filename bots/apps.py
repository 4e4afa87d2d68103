"""The bots app."""

from django.apps import AppConfig


class BotsConfig(AppConfig):
    """Registers the bots app with Django."""

    name = "bots"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the bots to the kill switch's signals."""
        from bots import receivers  # noqa: F401 - connects by being imported
