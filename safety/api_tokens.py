"""Scoped tokens of the API: made by people, shown once, found by their text, revoked with one click.

The text is ``top_PREFIX_SECRET``, with a 256-bit secret in hexadecimal: a form that scanners for leaked secrets can look for.
"""

import hashlib
import hmac
import logging
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError
from django.db.models import Q

from audit.log import OperatorEventRecord, joined_unit, record
from safety.api_models import ApiToken
from safety.api_scopes import Scope, may, rights_of
from safety.permissions import MANAGE_TOKENS

log = logging.getLogger(__name__)

TEXT = re.compile(r"top_([0-9a-f]{8})_[0-9a-f]{64}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}", re.ASCII)
PREFIX_BYTES, SECRET_BYTES = 4, 32
LIFE, LIFE_MAX = timedelta(days=90), timedelta(days=366)
USED_EVERY = timedelta(minutes=1)
#: Compared with where no token has the prefix, so that the time tells nothing.
NOBODYS_HASH = hashlib.sha256(b"").hexdigest()


class TokenError(ValueError):
    """A token can't be made like this; the message is for people."""


def make(
    name: str, scope: Scope, life: timedelta | None, *, maker: Any, reason: str, now: datetime
) -> tuple[ApiToken, str]:
    """Make a token and return it with its text, which is kept nowhere. ``life`` None means that it never expires.

    Raises TokenError when the name is taken or unfit, the life is not above zero and at most a year, or the maker may do less
    than the token could.
    """
    if not NAME.fullmatch(name):
        raise TokenError("Use letters, digits, blanks and . _ - for the name, at most 60, a letter or digit first.")
    if life is not None and not timedelta(0) < life <= LIFE_MAX:
        raise TokenError("A token that expires does so within a year.")
    lacking = [right for right in sorted({MANAGE_TOKENS, *rights_of(scope)}) if not maker.has_perm(right)]
    if lacking:
        raise TokenError(f"You cannot give a token more than you may do yourself: you lack {', '.join(lacking)}.")
    prefix, secret = secrets.token_hex(PREFIX_BYTES), secrets.token_hex(SECRET_BYTES)
    text = f"top_{prefix}_{secret}"
    expires_at = None if life is None else now + life
    until = "never expires" if expires_at is None else f"expires {expires_at:%Y-%m-%d %H:%M} UTC"
    try:
        with joined_unit() as unit:
            with unit.savepoint():
                token = ApiToken.objects.create(
                    name=name, prefix=prefix, secret_hash=_hash(text), scope=scope.value, made_by=maker, made_at=now,
                    expires_at=expires_at,
                )  # fmt: skip
            what = f"api_token:{name}"
            new = f"scope {scope.value}, {until}, prefix {prefix}"
            record(OperatorEventRecord(maker.get_username(), "api_token_made", what, "", new, reason))
    except IntegrityError as taken:
        raise TokenError(
            "There is, or was, a token of this name: choose another, so that the audit stays clear."
        ) from taken
    return token, text


def revoke(token: ApiToken, *, actor: str, now: datetime) -> bool:
    """End a token for ever, at once in every process. Return False when it was revoked before."""
    with joined_unit():
        open_ones = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True)
        if open_ones.update(revoked_at=now, revoked_by=actor) != 1:
            return False
        record(OperatorEventRecord(actor, "api_token_revoked", f"api_token:{token.name}", "works", "revoked"))
    return True


def find(text: str, *, now: datetime, notes_use: bool = True) -> ApiToken | None:
    """Return the token of this text if it works now, else None: unknown, wrong, expired, revoked and stopped look alike.

    One indexed query for the token; nothing is remembered between requests, so that a revocation holds at once. Without
    ``notes_use`` nothing is written, and so no lock is waited for: whoever halts calls ``note_use`` when that is done.
    Raises DatabaseError.
    """
    matched = TEXT.fullmatch(text)
    if matched is None:
        return None
    token = ApiToken.objects.select_related("made_by").filter(prefix=matched[1]).first()
    is_right = hmac.compare_digest(NOBODYS_HASH if token is None else token.secret_hash, _hash(text))
    if token is None or not is_right or why_dead(token, now=now):
        return None
    if notes_use:
        note_use(token, now)
    return token


def allows(token: ApiToken, permission: str) -> bool:
    """Return whether a token holds a right: its scope has it, and so has its maker at this moment."""
    return token.scope in list(Scope) and may(Scope(token.scope), permission) and token.made_by.has_perm(permission)


def why_dead(token: ApiToken, *, now: datetime) -> str:
    """Return why a token does not work, for people, or an empty text."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    maker = token.made_by
    if not (maker.is_active and maker.is_staff):
        return "stopped: whoever made it can no longer sign in"
    if not maker.has_perm(MANAGE_TOKENS):
        return "stopped: whoever made it may no longer make tokens"
    return ""


def note_use(token: ApiToken, now: datetime) -> None:
    """Note that a token was used, at most once a minute. What can't be noted keeps nobody from what the token is for."""
    before = now - USED_EVERY
    if token.last_used_at is not None and before < token.last_used_at <= now:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=before) | Q(last_used_at__gt=now)
    try:
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    except DatabaseError as error:
        log.warning("cannot note that the API token %s was used: %s", token.name, type(error).__name__)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
