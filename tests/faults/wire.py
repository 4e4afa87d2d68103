"""An intent as JSON, on its way to a process of tests/faults/killer.py and back."""

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from safety.intents import OrderIntent, OrderType, Side


def intent_json(intent: OrderIntent) -> dict[str, Any]:
    """Return an intent as JSON takes it."""
    found = {field.name: getattr(intent, field.name) for field in fields(intent)}
    return {
        name: value
        if isinstance(value, bool | int | None)
        else value.isoformat()
        if name == "created_at"
        else str(value)
        for name, value in found.items()
    }


def intent_of(raw: dict[str, Any]) -> OrderIntent:
    """Return the intent that ``intent_json`` wrote."""
    limit = raw["limit_price"]
    typed = {
        "side": Side(raw["side"]),
        "type": OrderType(raw["type"]),
        "quantity": Decimal(raw["quantity"]),
        "limit_price": None if limit is None else Decimal(limit),
        "created_at": datetime.fromisoformat(raw["created_at"]),
    }
    return OrderIntent(**{**raw, **typed})
