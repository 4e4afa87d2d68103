"""Who asks, and what it may do: the worker's token as a bearer, or a signed-in staff session with CSRF protection.

Live-sensitive endpoints want a token as soon as one is set: a browser's session alone is not enough there. Where none is set, a
session with the right does. A token that is set but wrong never falls back to the session.
"""

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from safety.permissions import CLEAR_HOLDS, RELEASE
from safety.sign_in_marks import signed_in_recently
from tradingops.api.errors import Refused

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What takes a person, whatever a token may do.
PERSONS_ONLY = frozenset({RELEASE, CLEAR_HOLDS + ":held"})
WORKER = "api:worker"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``user`` is None for the worker's token, which may do all that takes no person."""

    actor: str
    user: Any = None
    has_recent_sign_in: bool = False

    @property
    def is_token(self) -> bool:
        """Return whether a token asks, and no person."""
        return self.user is None

    def require(self, *permissions: str) -> None:
        """Return quietly when the caller has every one of these rights. Raises Refused (403)."""
        for permission in permissions:
            held = permission not in PERSONS_ONLY if self.is_token else self.user.has_perm(permission)
            if not held:
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

    def require_recent_sign_in(self) -> None:
        """Return quietly for a token, and for a person who gave the password a moment ago. Raises Refused (403)."""
        if not self.is_token and not self.has_recent_sign_in:
            raise Refused(
                HTTPStatus.FORBIDDEN, "Sign in again first: this takes a recent sign-in.", code="sign_in_again"
            )


class CallerAuth(AuthBase):
    """Finds out who asks. An answer of None is a 401."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the caller, or None. Raises Refused (403) for a session that changes something without its CSRF token."""
        header = request.headers.get("Authorization")
        if header is not None:
            return Caller(WORKER) if _is_right(header) else None
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated or not user.is_staff:
            return None
        if request.method not in SAFE_METHODS and not _has_csrf_token(request):
            raise Refused(HTTPStatus.FORBIDDEN, "The CSRF token is missing or wrong.", code="csrf")
        return Caller(user.get_username(), user, signed_in_recently(request))


def _has_csrf_token(request: HttpRequest) -> bool:
    # Read and kept first: the check looks for the token in a form, and would leave nothing of one for whoever asks next.
    _ = request.body
    return check_csrf(request) is None


def _is_right(header: str) -> bool:
    """Return whether a bearer is the worker's token, or the one before it. Compared in constant time."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        return False
    environment = settings.ENVIRONMENT
    if not environment.worker_api_token:
        # The previous one is for a rotation. Where the token was taken away, nobody gets in with the one before it.
        return False
    known = [token for token in (environment.worker_api_token, environment.worker_api_token_previous) if token]
    # Every one is compared, so that the time tells nothing.
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in known]
    return any(matches)


def caller_of(request: HttpRequest) -> Caller:
    """Return who asks, as ``caller`` found it."""
    found = getattr(request, "auth", None)
    if not isinstance(found, Caller):
        raise Refused(HTTPStatus.UNAUTHORIZED, "A valid bearer token or a signed-in session is needed.")
    return found


caller = CallerAuth()
