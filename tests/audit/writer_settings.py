"""The console's settings with nothing but the audit app, so that a writing process starts fast."""

from tradingops.settings import *  # noqa: F403

INSTALLED_APPS = ["audit"]
