"""How much of a venue's rate limit an account has left, and who may spend it: one budget for all workers and hosts.

A venue counts what is asked and lets the counter fall at a steady pace; what would lift it above its limit is refused, and
whoever goes on asking is locked out. So it is counted here too, before anything leaves, in one conditional update per request.
Of the limit each purpose may fill up a share only: what is asked in the background can never use up what a cancel needs. The
shared clock of the database decides. A row holds the moment when its counter will have fallen to nothing, so that no worker
has to lower it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db.models import Case, DateTimeField, DurationField, Expression, F, QuerySet, Value, When
from django.db.models.expressions import Combinable, CombinedExpression
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from bots.models import RateCounter
from bots.workers.database_time import database_time

#: What is left to wait is never said to be less: two that wait for the same room must not spin.
WAIT_MS_MIN = 50
#: A counter that is so far beyond full was written before the clock was set back.
CLOCK_JUMP_MS = 1_000


class Purpose(StrEnum):
    """What a request is for, the most pressing first."""

    CANCELS = "cancels"
    EXITS = "exits"
    ORDERS = "orders"
    LOOK_UPS = "look_ups"
    BACKGROUND = "background"

    @property
    def rank(self) -> int:
        """Return 0 for the most pressing."""
        return list(Purpose).index(self)


#: How far each purpose may fill the counter, in per cent of the limit. The rest is kept for those above it.
SHARES_PCT = {
    Purpose.CANCELS: 100,
    Purpose.EXITS: 95,
    Purpose.ORDERS: 90,
    Purpose.LOOK_UPS: 80,
    Purpose.BACKGROUND: 65,
}
#: How far the reading of a long history may fill it, in per cent: what is left of the background's share is enough for the next
#: round's own questions, and what is left of the look-ups' share for the search for one order.
HISTORY_PCT = 50
_purpose: ContextVar[Purpose] = ContextVar("purpose", default=Purpose.BACKGROUND)


@dataclass(frozen=True, slots=True)
class Limit:
    """A venue's limit: how high its counter may stand, and how long it takes to fall by one."""

    size: int
    ms_per_unit: int

    @property
    def full_ms(self) -> int:
        """Return how long a full counter takes to fall to nothing."""
        return self.size * self.ms_per_unit

    @property
    def per_s(self) -> Decimal:
        """Return by how much the counter falls in a second."""
        return Decimal(1_000) / self.ms_per_unit

    def share_ms(self, purpose: Purpose) -> int:
        """Return how long the counter takes to fall to nothing from as high as ``purpose`` may fill it."""
        return self.full_ms * SHARES_PCT[purpose] // 100


@dataclass(frozen=True, slots=True)
class Used:
    """One counter as it stands now. ``spent`` is by purpose since ``hour`` began, ``held_back`` how often nothing was asked."""

    account: str
    scope: str
    used: Decimal
    limit: Limit
    hour: datetime
    spent: dict[Purpose, int]
    held_back: int


@contextmanager
def spending(purpose: Purpose) -> Iterator[None]:
    """Count what is asked inside for ``purpose``, unless what is around it is more pressing. Serves as a decorator, too."""
    token = _purpose.set(min(purpose, _purpose.get(), key=lambda one: one.rank))
    try:
        yield
    finally:
        _purpose.reset(token)


def purpose_now() -> Purpose:
    """Return what is being asked for: what nobody named is background."""
    return _purpose.get()


def take(account: str, scope: str, limit: Limit, cost: int, purpose: Purpose, *, always: bool = False) -> int:
    """Count a request that is about to leave, and return 0; or count nothing, and return how long to wait, in ms.

    ``always`` counts it in any case: what must leave, leaves. Raises django.db.Error.
    """
    rows = RateCounter.objects.filter(account=account, scope=scope)
    room_ms = limit.share_ms(purpose) - cost * limit.ms_per_unit
    free = rows if always else rows.filter(empty_at__lte=_in_ms(room_ms))
    for _ in range(2):
        if free.update(**_counted(limit, cost, purpose)):
            return 0
        if rows.exists():
            break
        RateCounter.objects.bulk_create([RateCounter(account=account, scope=scope)], ignore_conflicts=True)
    return _wait_ms(rows, limit, room_ms)


def has_room(account: str, scope: str, limit: Limit, cost: int, *, share_pct: int) -> bool:
    """Return whether a request fits now into so much of the counter. Nothing is counted. Raises django.db.Error."""
    rows = RateCounter.objects.filter(account=account, scope=scope)
    room_ms = limit.full_ms * share_pct // 100 - cost * limit.ms_per_unit
    return not rows.filter(empty_at__gt=_in_ms(room_ms)).exists()


def fill(account: str, scope: str, limit: Limit) -> None:
    """Let the counter be full: the venue says that it is. Raises django.db.Error."""
    _raise_to(account, scope, limit.full_ms)


def correct(account: str, scope: str, limit: Limit, left: int) -> None:
    """Let no more than ``left`` be left, as the venue says; a venue that leaves more changes nothing. Raises django.db.Error."""
    _raise_to(account, scope, (limit.size - max(0, min(left, limit.size))) * limit.ms_per_unit)


def note_held_back(account: str, scope: str) -> None:
    """Count that something was not asked. Raises django.db.Error."""
    hour = _hour()
    RateCounter.objects.filter(account=account, scope=scope).update(
        **_of_this_hour(hour, {"held_back": 1}, also=[f"spent_{one}" for one in Purpose])
    )


def used(counter: RateCounter, limit: Limit, now: datetime) -> Used:
    """Return how one counter stands at ``now``, by the shared clock."""
    left_ms = min(max(_ms(counter.empty_at - now), 0), limit.full_ms)
    return Used(
        counter.account,
        counter.scope,
        Decimal(left_ms) / limit.ms_per_unit,
        limit,
        counter.hour,
        {one: getattr(counter, f"spent_{one}") for one in Purpose},
        counter.held_back,
    )


def _raise_to(account: str, scope: str, left_ms: int) -> None:
    RateCounter.objects.bulk_create([RateCounter(account=account, scope=scope)], ignore_conflicts=True)
    rows = RateCounter.objects.filter(account=account, scope=scope, empty_at__lt=_in_ms(left_ms))
    rows.update(empty_at=_in_ms(left_ms))


def _wait_ms(rows: QuerySet[RateCounter], limit: Limit, room_ms: int) -> int:
    """Return how long until there is room, if nobody else takes it."""
    found = rows.annotate(at=database_time()).values_list("empty_at", "at").first()
    if found is None:
        return WAIT_MS_MIN
    empty_at, now = found
    left_ms = _ms(empty_at - now)
    if left_ms > limit.full_ms + CLOCK_JUMP_MS:
        # The clock was set back. What was used is not known any more: then all of it is.
        rows.filter(empty_at=empty_at).update(empty_at=_in_ms(limit.full_ms))
        left_ms = limit.full_ms
    return max(left_ms - room_ms, WAIT_MS_MIN)


def _counted(limit: Limit, cost: int, purpose: Purpose) -> dict[str, Any]:
    """Return the fields of a counter after one more request. It never stands higher than full."""
    risen = CombinedExpression(
        Greatest(F("empty_at"), database_time()),
        Combinable.ADD,
        Value(timedelta(milliseconds=cost * limit.ms_per_unit), output_field=DurationField()),
        output_field=DateTimeField(),
    )
    others = [f"spent_{one}" for one in Purpose if one != purpose]
    spent = _of_this_hour(_hour(), {f"spent_{purpose}": cost}, also=[*others, "held_back"])
    return {"empty_at": Least(risen, _in_ms(limit.full_ms)), **spent}


def _of_this_hour(hour: datetime, more: dict[str, int], *, also: list[str]) -> dict[str, Any]:
    """Return the fields of the hour with ``more`` added; ``also`` are those that begin at 0 in a new hour."""
    added = {name: Case(When(hour=hour, then=F(name) + by), default=Value(by)) for name, by in more.items()}
    kept = {name: Case(When(hour=hour, then=F(name)), default=Value(0)) for name in also}
    return {"hour": Value(hour, output_field=DateTimeField()), **added, **kept}


def _in_ms(ms: int) -> Expression | CombinedExpression:
    return database_time(ms / 1000)


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)
