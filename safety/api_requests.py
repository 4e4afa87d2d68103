"""Idempotency-Keys: which request with a key came first, who works on it, and what it made.

A request is claimed, and the claim committed, before anything is done; an order's id is drawn with the claim. Whoever makes the
order makes it with that very id, which is unique in the database: two requests at one moment, a process that dies or freezes
anywhere, and one that takes over from it can't make two. ADR 0016.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from safety.models import ApiRequest

#: How long a key is remembered. After that it is a new one.
KEPT = timedelta(days=30)
#: How long an attempt may work before another takes over: no shorter than an intent may be old (INTENT_EXPIRED), so that what
#: froze meanwhile is too old to be sent.
CLAIM = timedelta(seconds=30)
DELETED_AT_ONCE_MAX = 10_000


class KeyReusedError(Exception):
    """The key belongs to another request of the same caller: to another endpoint, or with another body."""


class ClaimLostError(Exception):
    """Another attempt took over; what this one was about to make must not be made."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that carries a key. ``body_hash`` is the SHA-256 of what was asked for, in one canonical form."""

    caller: str
    key: str
    endpoint: str
    body_hash: str


def find(asked: Asked) -> ApiRequest | None:
    """Return the row of this caller's key, or None. Raises KeyReusedError when it belongs to another request."""
    row = ApiRequest.objects.filter(caller=asked.caller, key=asked.key).first()
    if row is not None and (row.endpoint, row.body_hash) != (asked.endpoint, asked.body_hash):
        raise KeyReusedError
    return row


def begin(asked: Asked, made: str, now: datetime) -> ApiRequest | None:
    """Commit the first claim of a key and return it, or None when another request was first.

    ``made`` is the id that its order will have. Raises RuntimeError inside a transaction: the claim would not be committed.
    """
    try:
        with transaction.atomic(durable=True):
            return ApiRequest.objects.create(
                caller=asked.caller,
                key=asked.key,
                endpoint=asked.endpoint,
                body_hash=asked.body_hash,
                made=made,
                holder=_new_holder(),
                claimed_at=now,
                claimed_until=now + CLAIM,
                created_at=now,
            )
    except IntegrityError:
        return None


def is_claimed(row: ApiRequest, now: datetime) -> bool:
    """Return whether an attempt works on it. A claim far in the future is none: a clock was set back."""
    return now < row.claimed_until <= now + 2 * CLAIM


def take_over(row: ApiRequest, now: datetime) -> bool:
    """Claim a request whose attempt is over, and return whether this attempt now has it. Nothing may have come of it yet."""
    if is_claimed(row, now):
        return False
    claimed = {"holder": _new_holder(), "claimed_at": now, "claimed_until": now + CLAIM}
    with transaction.atomic(durable=True):
        # A new holder each time: of two that take over, the second finds nothing. Nor does one whose predecessor got done.
        if _held(row).filter(made=row.made, outcome=None).update(**claimed) != 1:
            return False
    for name, value in claimed.items():
        setattr(row, name, value)
    return True


def keep_made(row: ApiRequest, made: str) -> None:
    """Keep what was made, in the transaction that makes it. Raises ClaimLostError when another attempt has taken over."""
    if _held(row).update(made=made, claimed_until=row.claimed_at) != 1:
        raise ClaimLostError


def keep_denial(row: ApiRequest, outcome: dict[str, Any]) -> None:
    """Keep a denial that left no order, so that the same request is denied again. Nothing when another attempt has taken over."""
    _held(row).update(outcome=outcome)


def release(row: ApiRequest) -> None:
    """Let the next request with this key try again at once. A row for which no id was drawn goes: it keeps nothing."""
    if row.made == "":
        _held(row).filter(made="", outcome=None).delete()
    _held(row).update(claimed_until=row.claimed_at)


def forget_old(now: datetime) -> int:
    """Delete keys that are older than they are kept, and return how many. Bounded: the next round deletes more."""
    old = ApiRequest.objects.filter(created_at__lt=now - KEPT).order_by("created_at")
    deleted, _ = ApiRequest.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:DELETED_AT_ONCE_MAX])).delete()
    return deleted


def _held(row: ApiRequest) -> Any:
    """Return the row as a query, empty when another attempt holds it by now."""
    return ApiRequest.objects.filter(pk=row.pk, holder=row.holder)


def _new_holder() -> str:
    return secrets.token_hex(16)
