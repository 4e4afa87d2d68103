"""Filters of the history pages. Each gives a condition that an index answers; none asks the table for its distinct values."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from audit import bot_names

NUMBER = re.compile(r"[0-9]{1,18}")
DAYS = {
    "today": (0, "Today (UTC)"),
    "yesterday": (1, "Yesterday and today"),
    "week": (6, "Last 7 days"),
    "month": (29, "Last 30 days"),
}


class IsLiveFilter(admin.SimpleListFilter):
    """Paper or live."""

    title = "paper or live"
    parameter_name = "is_live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return both books."""
        return (("0", "Paper"), ("1", "Live"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of one book."""
        return queryset.filter(is_live=self.value() == "1") if self.value() in ("0", "1") else queryset


class BotFilter(admin.SimpleListFilter):
    """One bot, by its name."""

    title = "bot"
    parameter_name = "bot"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return every bot."""
        return [(str(bot.bot_id), bot.name) for bot in bot_names.all_bots()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of one bot."""
        value = self.value() or ""
        # SQLite raises for a number with more digits than any id has.
        return queryset.filter(bot_id=int(value)) if NUMBER.fullmatch(value) else queryset


class SymbolFilter(admin.SimpleListFilter):
    """One symbol, of those that the bots trade."""

    title = "symbol"
    parameter_name = "symbol"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the symbols of the bots that there are."""
        return [(symbol, symbol) for symbol in sorted({bot.symbol for bot in bot_names.all_bots()})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of one symbol."""
        return queryset.filter(symbol=self.value()) if self.value() else queryset


class DayFilter(admin.SimpleListFilter):
    """A stretch of UTC days up to now."""

    title = "date (UTC)"
    parameter_name = "days"
    field = "ts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Return the stretches."""
        return [(key, title) for key, (_, title) in DAYS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows since the beginning of the stretch."""
        if self.value() not in DAYS:
            return queryset
        midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return queryset.filter(**{f"{self.field}__gte": midnight - timedelta(days=DAYS[str(self.value())][0])})
