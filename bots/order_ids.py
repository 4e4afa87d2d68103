"""Client order ids: ours, at most 18 characters of ``a-z0-9-``, and the same again when a tick is repeated."""

import base64
import hashlib
import secrets
from datetime import UTC, datetime

from safety.models import Setting

LENGTH_MAX = 18
INSTALLATION_KEY = "installation_id"


def installation_id() -> str:
    """Return this installation's random id, drawn at its first use. It keeps two installations' ids apart."""
    row, _ = Setting.objects.get_or_create(key=INSTALLATION_KEY, defaults={"value": secrets.token_hex(16)})
    return row.value


def tick_order_id(installation: str, bot_id: int, due_at: datetime, leg: str) -> str:
    """Return the id of one leg of one tick: ``t`` and 85 bits of a hash over installation, bot, due time and leg."""
    due_us = int(due_at.astimezone(UTC).timestamp() * 1_000_000)
    digest = hashlib.sha256(f"{installation}|{bot_id}|{due_us}|{leg}".encode()).digest()
    return "t" + base64.b32encode(digest).decode().lower()[: LENGTH_MAX - 1]


def random_order_id(kind: str) -> str:
    """Return a random id for an order that a person or the kill switch asked for; ``kind`` is its first letter."""
    return kind[0] + base64.b32encode(secrets.token_bytes(11)).decode().lower()[: LENGTH_MAX - 1]
