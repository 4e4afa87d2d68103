"""What carries messages. Each channel is a folder of its own; all are asked in the same words."""

from typing import Protocol

from safety.notifications.discord import DiscordChannel
from safety.notifications.email import EmailChannel
from safety.notifications.messages import Message
from safety.notifications.outcomes import Outcome

__all__ = ["Channel", "channels"]


class Channel(Protocol):
    """One way to reach people."""

    name: str

    def is_configured(self) -> bool:
        """Return whether the environment names where to send."""
        ...

    def deliver(self, message: Message) -> Outcome:
        """Send one message once, and return what became of it. Bounded in time; raises nothing that a network can cause."""
        ...


def channels() -> tuple[Channel, ...]:
    """Return every channel that there is, configured or not."""
    return (DiscordChannel(), EmailChannel())
