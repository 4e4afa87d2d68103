"""Discord, by one webhook that the environment names."""

from safety.notifications.discord.webhook import DiscordChannel

__all__ = ["DiscordChannel"]
