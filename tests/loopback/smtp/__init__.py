"""A mail server that is on this machine, for tests: it takes letters, or refuses them as it is told."""

from tests.loopback.smtp.server import Letter, SmtpServer

__all__ = ["Letter", "SmtpServer"]
