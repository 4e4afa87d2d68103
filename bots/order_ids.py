"""Client order ids: ours, at most 18 characters of ``a-z0-9-``, and the same again when a tick is repeated."""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from django.db import connection

from safety.models import Setting

LENGTH_MAX = 18
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTALLATION_KEY = "installation_id"
# It never changes for a database, so it is read once by each process.
_known: dict[str, str] = {}


def installation_id() -> str:
    """Return this installation's random id, drawn when its database was made. It keeps two installations' ids apart.

    Raises Setting.DoesNotExist when it is gone: with a new one a repeated tick would order twice.
    """
    database = str(connection.settings_dict["NAME"])
    if database not in _known:
        _known[database] = Setting.objects.get(key=INSTALLATION_KEY).value
    return _known[database]


def tick_order_id(installation: str, bot_id: int, due_at: datetime, leg: str) -> str:
    """Return the id of one leg of one tick: ``t`` and 85 bits of a hash over installation, bot, due time and leg.

    Raises TypeError for a time without a zone.
    """
    # Whole microseconds: as a float, times a microsecond apart would share an id.
    due_us = (due_at - EPOCH) // timedelta(microseconds=1)
    digest = hashlib.sha256(f"{installation}|{bot_id}|{due_us}|{leg}".encode()).digest()
    return "t" + base64.b32encode(digest).decode().lower()[: LENGTH_MAX - 1]


def random_order_id(kind: str) -> str:
    """Return a random id for an order that a person or the kill switch asked for; ``kind`` is its first letter."""
    return kind[0] + base64.b32encode(secrets.token_bytes(11)).decode().lower()[: LENGTH_MAX - 1]
