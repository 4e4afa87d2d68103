"""The sign of life to another machine: HEARTBEAT_URL is called while all is well, so that somebody learns of a dead host.

The address is a secret, as a webhook's is: whoever has it could feign that this console lives. It is read from the environment at
each call and stands in no row, page or log.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import requests
from django.conf import settings

from audit.fields import canonical_json
from safety.models import Setting

#: The setting that keeps what became of the last call.
KEY = "heartbeat_url"
CONNECT_S, ANSWER_S = 4.0, 6.0


@dataclass(frozen=True, slots=True)
class Ping:
    """What became of the last call, or why none was made; ``ok_at`` is when one last succeeded."""

    at: datetime
    is_ok: bool
    detail: str
    ok_at: datetime | None


def is_configured() -> bool:
    """Return whether HEARTBEAT_URL is set in this process's environment."""
    return bool(settings.ENVIRONMENT.heartbeat_url)


def last() -> Ping | None:
    """Return what became of the last call, or None if there was none yet. Raises django.db.Error."""
    text = Setting.objects.filter(key=KEY).values_list("value", flat=True).first()
    try:
        kept = json.loads(text or "null")
        ok_at = kept["ok_at"] and datetime.fromisoformat(kept["ok_at"])
        return Ping(datetime.fromisoformat(kept["at"]), bool(kept["ok"]), str(kept["detail"]), ok_at)
    except (ValueError, TypeError, KeyError):
        # A note to ourselves; the next call writes it anew.
        return None


def ping(now: datetime) -> Ping:
    """Call HEARTBEAT_URL once, keep what became of it, and return it. At most some 10 s; not inside a transaction."""
    is_ok, detail = _call()
    return keep(now, is_ok=is_ok, detail=detail)


def hold_back(now: datetime, why: str) -> Ping:
    """Keep why no call is made: the other machine shall miss it."""
    return keep(now, is_ok=False, detail=f"Not called, so that its silence is noticed: {why}.")


def keep(now: datetime, *, is_ok: bool, detail: str) -> Ping:
    """Keep what became of a call, and return it."""
    before = last()
    found = Ping(now, is_ok, detail, now if is_ok else None if before is None else before.ok_at)
    ok_at = found.ok_at and found.ok_at.isoformat()
    value = canonical_json({"at": now.isoformat(), "ok": is_ok, "detail": detail, "ok_at": ok_at})
    Setting.objects.update_or_create(key=KEY, defaults={"value": value})
    return found


def _call() -> tuple[bool, str]:
    url = settings.ENVIRONMENT.heartbeat_url
    if not url:
        return False, "HEARTBEAT_URL is not set."
    try:
        with requests.Session() as session:
            # No proxy and no password file of this machine may see the address; no redirect may carry it elsewhere.
            session.trust_env = False
            answer = session.get(url, timeout=(CONNECT_S, ANSWER_S), allow_redirects=False, stream=True)
            # The status says it all: what else comes, and how slowly, is not waited for.
            answer.close()
    except (requests.RequestException, ValueError) as error:
        # The class only: the message of an error quotes the address. ValueError: a host's name that is none.
        return False, f"HEARTBEAT_URL could not be reached ({type(error).__name__}). Look at this host's network."
    status = answer.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return True, "HEARTBEAT_URL was called, and it answered."
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return False, f"HEARTBEAT_URL points elsewhere (status {status}), which is not followed. Set the final address."
    return False, f"HEARTBEAT_URL answered with status {status}. Look whether its address is right."
