"""Records to write, and the ways in which an attacker with the owner's rights would change what was written."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from audit.log import OperatorEventRecord, OrderEventRecord, record, unit
from audit.triggers import trigger_names

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)

_ORDER_EVENT = OrderEventRecord(
    bot_id=7,
    client_order_id="t-abc-1-0",
    venue="kraken",
    symbol="BTC/USD",
    side="buy",
    ord_type="limit",
    price=Decimal("64123.5"),
    amount=Decimal("0.0125"),
    event="filled",
    status="filled",
    is_live=False,
    actor="system:runner",
    venue_order_id="OABC-123",
    reason="the far side of the spread",
    details={"fee": Decimal("0.26"), "liquidity": "taker"},
    ts=NOON,
)
_OPERATOR_EVENT = OperatorEventRecord(
    actor="admin", action="limits", object="risk_limits:1", old="100", new="50", reason="a quiet week", ts=NOON
)


def order_event(**changes: Any) -> OrderEventRecord:
    """Return an ordinary paper fill, with changes."""
    return replace(_ORDER_EVENT, **changes)


def operator_event(**changes: Any) -> OperatorEventRecord:
    """Return an ordinary act of a person, with changes."""
    return replace(_OPERATOR_EVENT, **changes)


def write(*events: OrderEventRecord | OperatorEventRecord) -> None:
    """Commit ``events`` in one unit."""
    with unit():
        for event in events:
            record(event)


def write_fills(count: int, **changes: Any) -> None:
    """Commit ``count`` order events that differ in their client order id."""
    write(*(order_event(client_order_id=f"t-abc-{number}-0", **changes) for number in range(1, count + 1)))


def execute(sql: str, *values: Any) -> None:
    """Run one statement as it stands."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def fetch(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one query and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def drop_triggers() -> None:
    """Take the append-only triggers away, as the owner of the tables can."""
    for table, names in trigger_names(connection.vendor).items():
        for name in names:
            execute(f"DROP TRIGGER {name} ON {table}" if connection.vendor == "postgresql" else f"DROP TRIGGER {name}")
