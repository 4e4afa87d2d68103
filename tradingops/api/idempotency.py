"""Idempotency-Key: a request that is asked for again makes nothing again, and is answered by what the first one made.

The rules that keep it to one are in safety/api_requests.py and in the executor; here are the header, the waiting and the answers.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Generic, TypeVar

from django.db import Error
from django.utils import timezone
from ninja import Header
from pydantic import BaseModel

from bots.manager import BotActionError
from safety import api_requests
from safety.api_requests import Asked, ClaimLostError, KeyReusedError
from safety.intents import Denial
from safety.models import ApiRequest
from tradingops.api.auth import Caller
from tradingops.api.errors import Refused

WAIT_S, POLL_S = 10.0, 0.1
#: Each that waits holds a thread, and the kill switch needs one.
WAITING_MAX = 2
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="Drawn by you for what you want once, and sent again with each repeat of the request: 1 to 255 printable "
        "ASCII characters. It is kept for 30 days.",
        examples=["rebalance-2026-11-23-btc-1"],
    ),
]
T = TypeVar("T")
_waiting = threading.BoundedSemaphore(WAITING_MAX)


@dataclass(frozen=True, slots=True)
class Making(Generic[T]):
    """How a kind of object is made once.

    ``draw`` gives the id that it will have, empty when only the making tells; ``find`` what came of a request so far, None when
    nothing; ``is_under_way`` whether that may still become something else within seconds; ``make`` makes it.
    """

    draw: Callable[[], str]
    find: Callable[[ApiRequest], T | None]
    is_under_way: Callable[[T], bool]
    make: Callable[[ApiRequest], T]


def asked_by(caller: Caller, key: str, endpoint: str, payload: BaseModel) -> Asked:
    """Return a request as it is kept: whose, and the hash of what it asks for. What is left out stays left out."""
    body = json.dumps(payload.model_dump(exclude_unset=True), sort_keys=True, default=str)
    return Asked(_whose(caller), key, endpoint, hashlib.sha256(body.encode()).hexdigest())


def _whose(caller: Caller) -> str:
    """Return who a key belongs to: people and tokens by number, since names change hands."""
    if caller.user is not None:
        return f"user:{caller.user.pk}"
    return caller.actor if caller.token is None else f"token:{caller.token.pk}"


def once(asked: Asked, making: Making[T]) -> T:
    """Return what the first request with this key made, as it now stands, or make it now.

    While the first still runs, waits up to 10 s. Raises Refused (409): the denial that the first got, a key that belongs to
    another request, or a first one that still runs; and whatever ``make`` raises.
    """
    found = _look(asked, making)
    if found is not None:
        return found
    if not _waiting.acquire(blocking=False):
        raise _still_running()
    try:
        ends_s = time.monotonic() + WAIT_S
        while time.monotonic() < ends_s:
            time.sleep(POLL_S)
            found = _look(asked, making)
            if found is not None:
                return found
        raise _still_running()
    finally:
        _waiting.release()


def _look(asked: Asked, making: Making[T]) -> T | None:
    """Return what was made, or make it when nobody is at it; None while another request is."""
    now = timezone.now()
    try:
        row = api_requests.find(asked)
    except KeyReusedError as reused:
        text = "This Idempotency-Key was used for another request. Nothing was done: draw a new key for what is new."
        raise Refused(HTTPStatus.CONFLICT, text, code="key_reused") from reused
    if row is None:
        begun = api_requests.begin(asked, making.draw(), now)
        return None if begun is None else _attempt(begun, making)
    found = making.find(row)
    if found is not None and not (making.is_under_way(found) and api_requests.is_claimed(row, now)):
        return found
    if row.outcome is not None:
        raise _told_again(row)
    if found is not None or not api_requests.take_over(row, now):
        return None
    # Between the look and the taking over, the one before may have got done after all.
    found = making.find(row)
    return _attempt(row, making) if found is None else found


def _attempt(row: ApiRequest, making: Making[T]) -> T | None:
    """Make it, and keep a denial that leaves nothing behind. Whatever else goes wrong lets the key be tried again."""
    is_kept = False
    try:
        made = making.make(row)
        is_kept = True
        return made
    except ClaimLostError:
        # Nothing was made here: the answer is what the other attempt makes.
        is_kept = True
        return None
    except BotActionError as refused:
        is_kept = _keep(row, Refused(HTTPStatus.CONFLICT, str(refused)))
        raise
    except Refused as refused:
        is_kept = refused.http_status == HTTPStatus.CONFLICT and _keep(row, refused)
        raise
    finally:
        if not is_kept:
            # Without the database the claim runs out by itself.
            with suppress(Error):
                api_requests.release(row)


def _keep(row: ApiRequest, refused: Refused) -> bool:
    reasons = [denial.as_dict() for denial in refused.denials]
    api_requests.keep_denial(row, {"message": str(refused), "code": refused.code, "reasons": reasons})
    return True


def _told_again(row: ApiRequest) -> Refused:
    kept = row.outcome
    denials = tuple(Denial(**reason) for reason in kept["reasons"])
    return Refused(HTTPStatus.CONFLICT, kept["message"], denials, kept["code"])


def _still_running() -> Refused:
    text = "The first request with this Idempotency-Key still runs. Ask again in some seconds, with the same key and no new one."
    return Refused(HTTPStatus.CONFLICT, text, code="still_running")
