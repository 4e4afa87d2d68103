"""Equity over time and P&L of the day, from the snapshots. Paper and live are asked for apart and never added together.

Sums are made in Python, since a database would add exact decimals inexactly.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import OuterRef, QuerySet, Subquery

from bots.models import Bot, BotStatus, EquitySnapshot, PaperBroker

POINTS_MAX = 120


@dataclass(frozen=True, slots=True)
class Point:
    """What all the asked-for books were worth together at a moment, in USD."""

    at: datetime
    equity: Decimal


def curve(bots: QuerySet[Bot], *, is_live: bool, since: datetime, points_max: int = POINTS_MAX) -> list[Point]:
    """Return the equity of these bots' books together, oldest first, thinned to at most ``points_max`` moments.

    A book counts with its last known worth between its snapshots, and with its starting cash before it began, so that a
    new bot makes no jump that nobody gained.
    """
    known = {bot.pk: bot for bot in bots}
    rows = EquitySnapshot.objects.filter(is_live=is_live, taken_at__gte=since, bot_id__in=list(known))
    moments = _thinned(list(rows.order_by("taken_at").values_list("taken_at", flat=True).distinct()), points_max)
    kept = list(rows.filter(taken_at__in=moments).order_by("taken_at", "bot_id"))
    return _summed(kept, _worth_at_start(kept, known, is_live, since))


def _worth_at_start(
    rows: list[EquitySnapshot], known: dict[int, Bot], is_live: bool, since: datetime
) -> dict[int, Decimal]:
    """Return what each book counts with before its first row."""
    worth: dict[int, Decimal] = {}
    if not is_live:
        # A paper book that has not traded has no snapshot, but its starting cash is there.
        worth |= {bot.pk: bot.paper_equity_usd for bot in known.values()}
    worth |= {pk: row.equity for pk, row in _last_before(since, is_live=is_live).items() if pk in known}
    for row in reversed(rows):
        is_new = known[row.bot_id].created_at > since
        worth[row.bot_id] = row.equity - row.realised_pnl - row.unrealised_pnl if is_new else row.equity
    return worth


def _thinned(moments: list[datetime], points_max: int) -> list[datetime]:
    """Return evenly spread moments; the last one is always among them."""
    step = -(-len(moments) // points_max) or 1
    return moments[::-1][::step][::-1]


def _summed(rows: Iterable[EquitySnapshot], worth: dict[int, Decimal]) -> list[Point]:
    points: dict[datetime, Point] = {}
    for row in rows:
        worth[row.bot_id] = row.equity
        points[row.taken_at] = Point(row.taken_at, sum(worth.values(), Decimal(0)))
    return list(points.values())


def pnl_before(day: datetime, *, is_live: bool) -> dict[int, Decimal]:
    """Return each bot's whole P&L as of its last snapshot before ``day``, by bot; a bot without one is left out."""
    rows = _last_before(day, is_live=is_live)
    return {pk: row.realised_pnl + row.unrealised_pnl for pk, row in rows.items()}


def _last_before(moment: datetime, *, is_live: bool) -> dict[int, EquitySnapshot]:
    """Return each bot's last snapshot before ``moment``, in two queries however many bots there are."""
    last = EquitySnapshot.objects.filter(bot=OuterRef("pk"), is_live=is_live, taken_at__lt=moment).order_by("-taken_at")
    found = Bot.objects.annotate(last_pk=Subquery(last.values("pk")[:1])).values_list("last_pk", flat=True)
    keys = [key for key in found if key is not None]
    return {row.bot_id: row for row in EquitySnapshot.objects.filter(pk__in=keys)}


def midnight_utc(now: datetime) -> datetime:
    """Return the beginning of the UTC day of ``now``."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def chart_data(points: Iterable[Point]) -> list[list[float]]:
    """Return points for the chart: milliseconds since 1970 and US dollars, as floats, since a picture is not a ledger."""
    return [[point.at.timestamp() * 1000, float(round(point.equity, 2))] for point in points]


def current_bots() -> QuerySet[Bot]:
    """Return the bots that are not archived."""
    return Bot.objects.exclude(status=BotStatus.ARCHIVED)


def built_in_paper_bots() -> QuerySet[Bot]:
    """Return the current bots on paper whose money is their own: those on a venue's paper account share that account's."""
    return current_bots().filter(dry_run=True, paper_broker=PaperBroker.BUILT_IN)
