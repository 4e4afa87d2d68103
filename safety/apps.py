"""The safety app."""

from django.apps import AppConfig


class SafetyConfig(AppConfig):
    """Registers the safety app with Django."""

    name = "safety"
    default_auto_field = "django.db.models.BigAutoField"
