"""The project: settings, the environment, URLs, and what is shown of the whole."""

__version__ = "0.1.0"
