"""E-mail, by the mail server that the environment names."""

from safety.notifications.email.mail import EmailChannel

__all__ = ["EmailChannel"]
