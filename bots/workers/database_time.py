"""The clock that every worker shares.

Hosts disagree about the time; leases and heartbeats are compared across hosts. On PostgreSQL the database's clock
decides. SQLite means one host, whose own clock is as good.
"""

from datetime import timedelta

from django.db import connection
from django.db.models import DateTimeField, DurationField, Expression, Func, Value
from django.db.models.expressions import Combinable, CombinedExpression
from django.utils import timezone


class _ClockTimestamp(Func):
    """The time when the row is looked at, not when the transaction began."""

    template = "clock_timestamp()"
    output_field = DateTimeField()


def database_time(offset_s: float = 0.0) -> Expression | CombinedExpression:
    """Return an expression for the shared clock's time, ``offset_s`` seconds from now."""
    offset = timedelta(seconds=offset_s)
    if connection.vendor != "postgresql":
        return Value(timezone.now() + offset, output_field=DateTimeField())
    if not offset_s:
        return _ClockTimestamp()
    return CombinedExpression(
        _ClockTimestamp(),
        Combinable.ADD,
        Value(offset, output_field=DurationField()),
        output_field=DateTimeField(),
    )
