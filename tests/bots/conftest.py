"""Fixtures of the trading floor."""

from tests.bots.builders import floor

__all__ = ["floor"]
