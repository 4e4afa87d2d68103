"""How often a password may be wrong, on top of django-axes: counted so that nobody can lock the owner out.

A browser that signed in before carries a cookie that says so. Its failures are counted apart, so that whatever strangers
do, the owner's own browser is let in. For all others three counts hold, each within AXES_COOLOFF_TIME: one account from
one address, all accounts from one address, one account from anywhere.
"""

import hashlib
import secrets
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.core import signing
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

COOKIE = "known_browser"
COOKIE_AGE_S = 180 * 24 * 60 * 60
SALT = "tradingops.known_browser"
KNOWN_MARK = "known browser "
NAME_CHARS_MAX = 150
#: How many times the failures of one account from one address may come from one address, or against one account, in all.
ADDRESS_TIMES, ACCOUNT_TIMES = 5, 10


class ThrottleHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts failures in the database. What is counted for strangers doesn't hold for a browser that is known."""

    def get_failures(self, request: Any, credentials: Any = None) -> int:
        """Return how many failures count against this attempt, on the scale of AXES_FAILURE_LIMIT."""
        counted: int = super().get_failures(request, credentials)
        key = throttle_key(request, credentials)
        if key.startswith(KNOWN_MARK):
            return counted
        fresh = AccessAttempt.objects.filter(attempt_time__gte=request.axes_attempt_time - settings.AXES_COOLOFF_TIME)
        strangers = fresh.exclude(username__startswith=KNOWN_MARK)
        address = _failures(strangers.filter(ip_address=request.axes_ip_address))
        account = _failures(strangers.filter(username=key))
        return max(counted, address // ADDRESS_TIMES, account // ACCOUNT_TIMES)


def _failures(attempts: Any) -> int:
    return attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0


def throttle_key(request: HttpRequest, credentials: Any = None) -> str:
    """Return under which name an attempt is counted: the account's, and for a known browser the browser's as well."""
    typed = credentials.get("username") if credentials else request.POST.get("username")
    name = str(typed or "").replace("\0", "")
    if len(name) > NAME_CHARS_MAX or name.startswith(KNOWN_MARK):
        # No account's: longer than any, and than the column, or made up to be counted as someone's browser.
        name = f"long {hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()}"
    known = _known_browser(request, name)
    return f"{KNOWN_MARK}{known} {name}" if known else name


def remember_browser(response: HttpResponse, username: str) -> None:
    """Have this browser known from now on as one that ``username`` signed in with."""
    value = signing.dumps([_mark(username), secrets.token_hex(8)], salt=SALT)
    response.set_cookie(
        COOKIE, value, max_age=COOKIE_AGE_S, httponly=True, samesite="Lax", secure=bool(settings.SESSION_COOKIE_SECURE)
    )


def is_locked(request: HttpRequest, username: str) -> bool:
    """Return whether this attempt has to wait. The answer to the request then becomes the page that says so."""
    if not settings.AXES_ENABLED or AxesProxyHandler.is_allowed(request, {"username": username}):
        return False
    request.axes_locked_out = True  # type: ignore[attr-defined]
    return True


def count_failure(request: HttpRequest, username: str) -> None:
    """Count a wrong code as a wrong password is counted."""
    user_login_failed.send(sender=__name__, credentials={"username": username}, request=request)


def forget_failures(request: HttpRequest, username: str) -> None:
    """Count from zero again after a success."""
    if settings.AXES_ENABLED:
        AxesProxyHandler.update_request(request)
        AxesProxyHandler.get_implementation().reset_user_attempts(request, {"username": username})


def _known_browser(request: HttpRequest, username: str) -> str:
    """Return the random name of this browser, if ``username`` signed in with it before."""
    try:
        mark, browser = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=COOKIE_AGE_S)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(browser) if mark == _mark(username) else ""


def _mark(username: str) -> str:
    return salted_hmac(SALT, username).hexdigest()[:32]
