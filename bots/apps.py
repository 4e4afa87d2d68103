"""The bots app."""

from django.apps import AppConfig


class BotsConfig(AppConfig):
    """Registers the bots app with Django."""

    name = "bots"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Close django-q2's admin pages: through them anything could be run."""
        from django.contrib import admin

        from bots.workers.admin_lock import lock_queue_admin

        lock_queue_admin(admin.site)
