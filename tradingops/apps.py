"""The project as an app: it brings the ``prepare`` command."""

from django.apps import AppConfig


class TradingopsConfig(AppConfig):
    """The project itself; it has no models."""

    name = "tradingops"
