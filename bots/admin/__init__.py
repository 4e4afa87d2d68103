"""The admin pages of the bots app. Faces only: whatever changes goes through ``bots.manager``."""

from django.urls import reverse

from audit import bot_names
from bots.admin import access, autopilot, books, bot, orders
from bots.models import Bot

__all__ = ["access", "autopilot", "books", "bot", "orders"]


def _names() -> list[bot_names.BotName]:
    rows = Bot.objects.order_by("name").values_list("pk", "name", "symbol")
    return [bot_names.BotName(*row, reverse("admin:bots_bot_change", args=[row[0]])) for row in rows]


bot_names.tell(_names)
