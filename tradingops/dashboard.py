"""The first page: what all paper books are worth, what the bots do, what happened last, and whether anyone is working."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from audit import bot_names
from audit.models import OrderEvent
from bots.admin import equity
from bots.admin.overview import BotOverview, overviews, with_books
from bots.models import Bot, BotStatus, WorkerHeartbeat
from bots.models.worker import WorkerKind
from bots.workers.heartbeats import live
from tradingops.mode import status_of

CHART_HOURS = 24
EVENTS = 10
BOTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over the books whose figure is known; ``unknown`` counts those that are left out for want of a price."""

    value: Decimal
    unknown: int

    @classmethod
    def of(cls, figures: list[Decimal | None]) -> "Total":
        """Return the sum of what is known."""
        known = [figure for figure in figures if figure is not None]
        return cls(sum(known, Decimal(0)), len(figures) - len(known))


@dataclass(frozen=True, slots=True)
class Workers:
    """Who ticks the bots: living runners, and when any runner was seen last."""

    alive: int
    seen_at: datetime | None


def add_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard's figures to the first page. People without the right to see bots get an empty page."""
    now = timezone.now()
    context |= {"chart_hours": CHART_HOURS, "may_see": request.user.has_perm("bots.view_bot"), "title": "Dashboard"}
    if context["may_see"]:
        context |= live_context(request, now)
    return context


def live_context(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """Return what moves on the dashboard, all as of ``now``. Paper and live are summed apart."""
    seen = overviews(with_books(Bot.objects.order_by("name")), now)
    current = [one for one in seen if one.bot.status != BotStatus.ARCHIVED]
    paper = [one for one in current if not one.bot.is_live]
    live = [one for one in current if one.bot.is_live]
    shown = sorted(current, key=lambda one: (one.bot.status != BotStatus.RUNNING, one.bot.name))
    return {
        "now": now,
        "bots": shown[:BOTS_MAX],
        "bots_left_out": max(0, len(shown) - BOTS_MAX),
        "running": sum(one.bot.status == BotStatus.RUNNING for one in current),
        "silent": sum(one.is_silent for one in current),
        # Bots on a venue's paper account share its money: none of it is one bot's own.
        "paper_equity": Total.of([one.equity for one in paper if not one.bot.trades_at_venue]),
        "paper_unrealised": Total.of([one.unrealised_pnl for one in paper]),
        "paper_open": sum(bool(one.quantity) for one in paper),
        "paper_today": pnl_today(seen, now, is_live=False),
        "live_bots": len(live),
        "live_value": Total.of([one.value for one in live]),
        "live_unrealised": Total.of([one.unrealised_pnl for one in live]),
        "live_today": pnl_today(seen, now, is_live=True),
        "stale": [one for one in current if one.quantity and (one.mark is None or one.mark.is_stale)],
        "failed": [one for one in current if one.bot.last_error],
        "workers": read_workers(),
        "autopilot": status_of(request).autopilot if request.user.has_perm("bots.view_autopilotconfig") else None,
        "events": _events(request),
    }


def pnl_today(seen: list[BotOverview], now: datetime, *, is_live: bool) -> Total:
    """Return the P&L since midnight UTC of the bots that trade live now, or of those on paper, archived ones counted in."""
    before = equity.pnl_before(equity.midnight_utc(now), is_live=is_live)
    books = [one for one in seen if one.bot.is_live == is_live]
    return Total.of([None if one.pnl is None else one.pnl - before.get(one.bot.pk, Decimal(0)) for one in books])


def read_workers() -> Workers:
    """Return how many runners live, by the database's clock, and when one was seen last."""
    runners = WorkerHeartbeat.objects.filter(kind=WorkerKind.RUNNER)
    seen_at = runners.order_by("-seen_at").values_list("seen_at", flat=True).first()
    return Workers(live(WorkerKind.RUNNER).count(), seen_at)


def _events(request: HttpRequest) -> list[OrderEvent]:
    """Return the last order events with the names of their bots."""
    if not request.user.has_perm("audit.view_orderevent"):
        return []
    names = bot_names.by_id()
    rows = list(OrderEvent.objects.order_by("-id")[:EVENTS])
    for row in rows:
        row.known_bot = names.get(row.bot_id)
    return rows
