"""The project as an app: it brings commands, and has each session know when it began."""

from importlib import import_module

from django.apps import AppConfig


class TradingopsConfig(AppConfig):
    """The project itself; it has no models."""

    name = "tradingops"

    def ready(self) -> None:
        """Have sign-ins note the time in their sessions, wherever they come from."""
        import_module("safety.sign_in_marks")
