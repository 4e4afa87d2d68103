"""What all books of one kind were worth together, moment by moment, from the snapshots. Paper and live are never added together.

Counted are the books of bots that are not archived, from each one's first snapshot on. A book that was not valued at a moment,
for want of a price, counts with its last worth before, and is told of. Sums are made in Python: a database would add inexactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from bots.books import EXACT
from bots.models import BotStatus, EquitySnapshot, Position

COLUMNS = ("bot_id", "taken_at", "equity", "position_value", "realised_pnl", "unrealised_pnl")


@dataclass(frozen=True, slots=True)
class Sum:
    """The worth of ``books`` books together at a moment, in USD. Of ``carried`` of them the figures are older than that."""

    at: datetime
    books: int
    carried: int
    equity: Decimal
    position_value: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal


@dataclass(frozen=True, slots=True)
class Latest:
    """What all books are worth by their last snapshots; ``sum`` is None without any. ``unvalued`` books have none yet."""

    sum: Sum | None
    unvalued: int


def snapshots(*, is_live: bool) -> QuerySet[EquitySnapshot]:
    """Return the snapshots of one kind of book that count."""
    return EquitySnapshot.objects.filter(is_live=is_live).exclude(bot__status=BotStatus.ARCHIVED)


def sums_at(moments: Sequence[datetime], *, is_live: bool) -> list[Sum]:
    """Return the sums at these moments, which are those of snapshots, newest first."""
    if not moments:
        return []
    newest, oldest = max(moments), min(moments)
    rows = snapshots(is_live=is_live).filter(taken_at__gte=oldest, taken_at__lte=newest)
    known = {row["bot_id"]: row for row in _last(is_live=is_live, before=oldest)}
    wanted, sums = set(moments), []
    for at, group in _by_moment(rows.order_by("taken_at").values(*COLUMNS)):
        known |= group
        if at in wanted:
            sums.append(_sum(at, known.values()))
    return sums[::-1]


def latest(*, is_live: bool) -> Latest:
    """Return what the books are worth now, by their last snapshots."""
    rows = _last(is_live=is_live)
    books = Position.objects.filter(is_live=is_live).exclude(bot__status=BotStatus.ARCHIVED)
    # One that never traded has no snapshot, and is worth what it began with.
    traded = sum(bool(quantity or flow) for quantity, flow in books.values_list("quantity", "cash_flow"))
    newest = max((row["taken_at"] for row in rows), default=None)
    return Latest(None if newest is None else _sum(newest, rows), max(0, traded - len(rows)))


def _last(*, is_live: bool, before: datetime | None = None) -> list[dict[str, Any]]:
    """Return each book's last snapshot, of those ``before`` a moment."""
    rows = EquitySnapshot.objects.filter(bot=OuterRef("bot"), is_live=is_live)
    rows = rows if before is None else rows.filter(taken_at__lt=before)
    books = Position.objects.filter(is_live=is_live).exclude(bot__status=BotStatus.ARCHIVED)
    last = books.annotate(last_pk=Subquery(rows.order_by("-taken_at").values("pk")[:1])).values_list(
        "last_pk", flat=True
    )
    return list(EquitySnapshot.objects.filter(pk__in=[pk for pk in last if pk is not None]).values(*COLUMNS))


def _by_moment(rows: Iterable[dict[str, Any]]) -> Iterable[tuple[datetime, dict[int, dict[str, Any]]]]:
    """Yield the rows of each moment together, by bot. They come in the order of time."""
    group: dict[int, dict[str, Any]] = {}
    at: datetime | None = None
    for row in rows:
        if at is not None and row["taken_at"] != at:
            yield at, group
            group = {}
        at = row["taken_at"]
        group[row["bot_id"]] = row
    if at is not None:
        yield at, group


def _sum(at: datetime, rows: Iterable[dict[str, Any]]) -> Sum:
    counted = list(rows)
    totals = {name: _added(row[name] for row in counted) for name in COLUMNS[2:]}
    return Sum(at, len(counted), sum(row["taken_at"] != at for row in counted), **totals)


def _added(figures: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for figure in figures:
        total = EXACT.add(total, figure)
    return total
