"""How long a session lasts: an hour without anything done, and twelve hours at most.

Pages that move by themselves ask the console every few seconds. Those requests say nothing about a person, so they keep
no session alive.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from safety.sign_in_marks import ACTIVE_AT, SIGNED_IN_AT, now_s

#: Writing down each click would cost a write a request.
NOTED_EVERY_S = 60
#: A clock may be set back a little.
SKEW_S = 60
IDLE = "You were signed out after {minutes} minutes without a click. Sign in to go on where you were."
OVER = "You were signed out: a session lasts {hours} hours. Sign in to go on where you were."


def limit_sessions(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Sign people out whose session is over, and tell them why on the sign-in page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        # Without a session cookie there is nothing to be read.
        if request.session.session_key is None or SESSION_KEY not in request.session:
            return get_response(request)
        why = why_over(request)
        if not why:
            if not is_polling(request) and now_s() - request.session[ACTIVE_AT] >= NOTED_EVERY_S:
                request.session[ACTIVE_AT] = now_s()
            return get_response(request)
        logout(request)
        messages.warning(request, why)
        if request.method == "POST" and request.path.startswith(reverse("admin:index")):
            # An address that only takes what is sent can't be gone back to; the page it was sent from can.
            return redirect_to_login(_page_before(request), reverse("admin:login"))
        return get_response(request)

    return middleware


def is_polling(request: HttpRequest) -> bool:
    """Return whether a page asked by itself, and no person."""
    if request.method not in ("GET", "HEAD"):
        return False
    by_script = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or "HX-Request" in request.headers
    return by_script or request.headers.get("Accept", "").startswith(("application/json", "text/event-stream"))


def why_over(request: HttpRequest) -> str:
    """Return why the session is over, or an empty text. One without its times, or from the future, is over."""
    began, active, now = request.session.get(SIGNED_IN_AT), request.session.get(ACTIVE_AT), now_s()
    if not isinstance(began, int) or not isinstance(active, int) or max(began, active) > now + SKEW_S:
        began = active = 0
    if now - began >= settings.SESSION_LIFE_S:
        return OVER.format(hours=settings.SESSION_LIFE_S // 3600)
    return IDLE.format(minutes=settings.SESSION_IDLE_S // 60) if now - active >= settings.SESSION_IDLE_S else ""


def _page_before(request: HttpRequest) -> str:
    try:
        before = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        # No address at all.
        return reverse("admin:index")
    is_ours = before.netloc == request.get_host() and before.path.startswith(reverse("admin:index"))
    return (
        f"{before.path}?{before.query}"
        if is_ours and before.query
        else before.path
        if is_ours
        else reverse("admin:index")
    )
