"""Who asks, and what it may do: a token as a bearer, or a signed-in staff session with CSRF protection.

Live-sensitive endpoints want a token as soon as WORKER_API_TOKEN is set: a browser's session alone is not enough there. Where
none is set, a session with the right does. A token that is sent but wrong never falls back to the session, and the answer
doesn't tell a wrong one from one that expired, was revoked or never was. Wrong ones are counted; a right one always passes.
"""

import hmac
import logging
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from safety import api_failures, api_tokens
from safety.api_models import ApiToken
from safety.client_address import client_address
from safety.permissions import CHANGE_LIMITS, CLEAR_HOLDS, MANAGE_TOKENS, OPERATE_BOT, RELEASE, TRADE_LIVE
from safety.sign_in_marks import signed_in_recently
from tradingops.api.bodies import check_size
from tradingops.api.errors import NO_CALLER, Refused
from tradingops.environment import TOKEN_CHARS_MIN
from tradingops.rates import buckets

log = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What takes a person, whatever a token may do.
PERSONS_ONLY = frozenset({RELEASE, CLEAR_HOLDS + ":held", CHANGE_LIMITS, MANAGE_TOKENS})
WORKER = "api:worker"
#: Stopping is never limited, however often it is asked for.
KILL_SWITCH = "/api/safety/kill-switch"
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. A person has a ``user``, a scoped token a ``token``; with neither it is the worker's token."""

    actor: str
    user: Any = None
    has_recent_sign_in: bool = False
    token: ApiToken | None = None

    @property
    def is_token(self) -> bool:
        """Return whether a token asks, and no person."""
        return self.user is None

    def has(self, permission: str) -> bool:
        """Return whether the caller holds a right. A scoped token holds what its scope has and its maker holds, too."""
        if not self.is_token:
            return bool(self.user.has_perm(permission))
        if permission in PERSONS_ONLY:
            return False
        return self.token is None or api_tokens.allows(self.token, permission)

    def require(self, *permissions: str) -> None:
        """Return quietly when the caller has every one of these rights. Raises Refused (403)."""
        for permission in permissions:
            if not self.has(permission):
                raise Refused(HTTPStatus.FORBIDDEN, f"This takes the right {permission}.", code="not_allowed")

    def require_live(self, *permissions: str) -> None:
        """Return quietly when the caller may do what is live-sensitive. Raises Refused: 401 without the token, else 403."""
        if not self.is_token and settings.ENVIRONMENT.worker_api_token:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "A token is set for this console, so this takes it as a bearer: a session alone is not enough.",
                code="token_needed",
            )
        self.require(*permissions)

    def require_on_live(self, *, raises_risk: bool) -> None:
        """Return quietly when the caller may do this to a live bot or a live order. Raises Refused: 401, else 403.

        For a person what shrinks a risk takes less, see safety.permissions.may_operate. A token below the scope trade touches
        nothing live, not even an exit: to sell or cancel at the wrong moment costs money, too. It can engage the kill switch.
        """
        needs_trade = raises_risk or self.is_token
        self.require_live(*((OPERATE_BOT, TRADE_LIVE) if needs_trade else (OPERATE_BOT,)))

    def require_recent_sign_in(self) -> None:
        """Return quietly for a token, and for a person who gave the password a moment ago. Raises Refused (403)."""
        if not self.is_token and not self.has_recent_sign_in:
            raise Refused(
                HTTPStatus.FORBIDDEN, "Sign in again first: this takes a recent sign-in.", code="sign_in_again"
            )


class BearerToken(AuthBase):
    """Lets a right token in. Without an Authorization header it says nothing, and the session is looked at."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "WORKER_API_TOKEN, or a scoped token that was made under API tokens in the admin."

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller, or None without the header. Raises Refused (401, 422, 429), DatabaseError."""
        header = request.headers.get("Authorization")
        if header is None:
            return None
        found = _token_caller(_bearer(header), notes_use=request.path != KILL_SWITCH)
        if found is None:
            raise _wrong_token(request)
        check_size(request)
        return _admitted(request, found)


class StaffSession(AuthBase):
    """Lets a signed-in staff session in; what changes something needs its CSRF token in X-CSRFToken."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME
    openapi_description = "A signed-in staff session. What changes something also takes the header X-CSRFToken."

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller, or None where nobody is signed in. Raises Refused (403) without the CSRF token."""
        found = _session_caller(request)
        if found is None:
            return None
        check_size(request)
        if request.method not in SAFE_METHODS and not _has_csrf_token(request):
            raise Refused(HTTPStatus.FORBIDDEN, "The CSRF token is missing or wrong.", code="csrf")
        return _admitted(request, found)


def recognised(request: HttpRequest) -> Caller | None:
    """Return who asks, or None, and count nothing: for looking again at who was let in before. Raises DatabaseError."""
    header = request.headers.get("Authorization")
    return _session_caller(request) if header is None else _token_caller(_bearer(header))


def _session_caller(request: HttpRequest) -> Caller | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_staff:
        return None
    return Caller(user.get_username(), user, signed_in_recently(request))


def _token_caller(given: str, *, notes_use: bool = True) -> Caller | None:
    """Return whose token this is, or None."""
    # The worker's first, and without the database: it has to stop trading when that is away.
    if _is_workers(given):
        return Caller(WORKER)
    token = api_tokens.find(given, now=timezone.now(), notes_use=notes_use)
    return None if token is None else Caller(f"api:token:{token.name}", token=token)


def _bearer(header: str) -> str:
    """Return the token of an Authorization header, or an empty text when it holds none."""
    parts = header.split()
    return parts[1] if len(parts) == 2 and parts[0].lower() == "bearer" else ""


def _is_workers(given: str) -> bool:
    """Return whether a text is the worker's token, or the one before it. Compared in constant time."""
    environment = settings.ENVIRONMENT
    if not environment.worker_api_token:
        # The previous one is for a rotation. Where the token was taken away, nobody gets in with the one before it.
        return False
    known = [token for token in (environment.worker_api_token, environment.worker_api_token_previous) if token]
    # Every one is compared, so that the time tells nothing.
    matches = [hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode()) for token in known]
    if any(matches):
        _warn_of_short(environment)
    return any(matches)


def _warn_of_short(environment: Any) -> None:
    """Say once in each process that a token is too short to be safe."""
    for name in ("WORKER_API_TOKEN", "WORKER_API_TOKEN_PREVIOUS"):
        token = getattr(environment, name.lower())
        if token and len(token) < TOKEN_CHARS_MIN and name not in _warned:
            _warned.add(name)
            log.warning(
                "%s is shorter than %d characters: it works, but it can be guessed. Set a longer one.",
                name,
                TOKEN_CHARS_MIN,
            )


def _wrong_token(request: HttpRequest) -> Refused:
    wait_s = api_failures.note(client_address(request) or "unknown", now=timezone.now())
    if wait_s:
        return Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many wrong tokens came from your address. A right one still passes.",
            retry_after_s=wait_s,
        )
    return Refused(HTTPStatus.UNAUTHORIZED, NO_CALLER)


def _admitted(request: HttpRequest, caller: Caller) -> Caller:
    """Return the caller if it doesn't ask too often. Raises Refused (429)."""
    if request.path == KILL_SWITCH:
        return caller
    environment = settings.ENVIRONMENT
    wait_s = buckets.take(caller.actor, environment.api_requests_per_minute)
    if not wait_s and request.method not in SAFE_METHODS:
        wait_s = buckets.take(f"writes of {caller.actor}", environment.api_writes_per_minute)
    if wait_s:
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "You ask too often. Halting is never limited.",
            retry_after_s=math.ceil(wait_s),
        )
    return caller


def _has_csrf_token(request: HttpRequest) -> bool:
    # Read and kept first: the check looks for the token in a form, and would leave nothing of one for whoever asks next.
    _ = request.body
    return check_csrf(request) is None


def caller_of(request: HttpRequest) -> Caller:
    """Return who asks, as one of ``caller`` found it. Raises Refused (401) where none did."""
    found = getattr(request, "auth", None)
    if not isinstance(found, Caller):
        raise Refused(HTTPStatus.UNAUTHORIZED, NO_CALLER)
    return found


#: The two ways in, in this order: a header that is there and wrong is never passed over.
caller: list[AuthBase] = [BearerToken(), StaffSession()]
