"""Which bots touch real money now, and how much of it they may lose."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from bots.models import Bot, BotStatus, Order, Position
from bots.order_states import OPEN_STATES


@dataclass(frozen=True, slots=True)
class LiveBots:
    """The bots that are set live, or that hold real money or have an open live order though they are not.

    ``at_risk_usd`` is what they may lose together: nothing is borrowed or sold short, so for each bot it is its capital while
    it is set live, or what its live position cost where that is more. ``loose_orders`` are open live orders of no bot of ours.
    """

    names: tuple[str, ...] = ()
    at_risk_usd: Decimal = Decimal(0)
    loose_orders: int = 0

    def __bool__(self) -> bool:
        """Return whether any real money is touched."""
        return bool(self.names or self.loose_orders)


def is_anything_live() -> bool:
    """Return whether a bot is set live or live exposure exists: a live position or an open live order."""
    question, values = anything_live_sql(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {question}", values)
        return bool(cursor.fetchone()[0])


@cache
def anything_live_sql(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """Return ``is_anything_live`` in one expression, with its values. Made once: to make it takes longer than to ask it."""
    parts = (rows.order_by().values_list("pk") for rows in (_set_live(), _live_positions(), _open_live_orders()))
    first, *others = parts
    inner, values = first.union(*others, all=True).query.get_compiler(connection=connection).as_sql()
    return f"EXISTS ({inner})", tuple(values)


def read_live_bots() -> LiveBots:
    """Return the bots that touch real money, by name. Raises DatabaseError when they can't be read."""
    ordering = list(_open_live_orders().values_list("bot_id", flat=True))
    costs = dict(_live_positions().values_list("bot_id", "cost"))
    touched = [*costs, *(bot_id for bot_id in ordering if bot_id is not None)]
    bots = Bot.objects.filter(Q(pk__in=touched) | Q(pk__in=_set_live().values("pk"))).order_by("name")
    risk = Decimal(0)
    names = []
    for bot in bots.only("name", "dry_run", "status", "capital_usd"):
        names.append(bot.name)
        is_set_live = bot.is_live and bot.status != BotStatus.ARCHIVED
        risk += max(bot.capital_usd if is_set_live or bot.pk in ordering else Decimal(0), costs.get(bot.pk, Decimal(0)))
    return LiveBots(tuple(names), risk, sum(bot_id is None for bot_id in ordering))


def _set_live() -> QuerySet[Bot]:
    return Bot.objects.filter(dry_run=False).exclude(status=BotStatus.ARCHIVED)


def _live_positions() -> QuerySet[Position]:
    return Position.objects.filter(is_live=True, quantity__gt=Decimal(0))


def _open_live_orders() -> QuerySet[Order]:
    return Order.objects.filter(is_live=True, status__in=sorted(OPEN_STATES))
