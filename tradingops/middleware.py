"""Middleware of the console."""

from collections.abc import Callable

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse

#: Alpine, which the admin theme brings, evaluates expressions; no inline script and no outside host is needed.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Tell browsers to load and send nothing elsewhere, on every response that has no policy of its own."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def whole_forms(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a form of which only a part came, with 400: what is missing would be taken for a field that was left empty.

    JSON needs nothing of the kind, since half of it is no JSON.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if request.content_type in FORMS and length.isdecimal() and len(request.body) < int(length):
            raise SuspiciousOperation("only a part of a form came")
        return get_response(request)

    return middleware


def no_null_characters(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse an address or a cookie with a null character, with 400: PostgreSQL keeps none, and each look-up would fail."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            raise SuspiciousOperation("a null character in the address")
        # A quoted cookie may hold one, written as \000.
        if any("\0" in value for value in request.COOKIES.values()):
            raise SuspiciousOperation("a null character in a cookie")
        return get_response(request)

    return middleware
