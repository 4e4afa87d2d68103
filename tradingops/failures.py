"""What is answered when something fails: a page that is too old, an error of ours, and no database at all.

Loads nothing of the admin: Django's own checks import it in every process.
"""

import sys
from http import HTTPStatus

from django.db import DataError, Error, IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.csrf import csrf_failure

from tradingops import request_ids

API = "/api/"


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Lead a HALT from a page that was too old to a fresh one, where one tap does it; refuse anything else."""
    if request.path == reverse("admin:console_halt"):
        return HttpResponseRedirect(request.path, status=HTTPStatus.SEE_OTHER)
    return csrf_failure(request, reason)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error of ours. Where the database is at fault, say how trading is halted without it."""
    failed = sys.exc_info()[1]
    # A row that the database refuses is a fault of ours: it answers.
    is_down = isinstance(failed, Error) and not isinstance(failed, IntegrityError | DataError)
    if request.path.startswith(API):
        return _api_error(is_down, changes=request.method not in ("GET", "HEAD"))
    if is_down:
        return database_down()
    return HttpResponse(render_to_string("500.html"), status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _api_error(is_down: bool, *, changes: bool) -> HttpResponse:
    """Answer in the API's one error shape. ``changes``: what was asked for may have been done, or begun."""
    code = "not_safe_to_serve" if is_down else "error"
    own = f"An error of the console; its log says more under the request id {request_ids.current()}."
    message = "The database does not answer." if is_down else own
    if changes:
        # An order may have reached its venue before this; sent again, it would be a second one.
        message += " What was asked for may have been done: look before you ask again, and never send an order twice."
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_down else HTTPStatus.INTERNAL_SERVER_ERROR
    return JsonResponse({"code": code, "message": message, "reasons": []}, status=status)


def database_down(*, has_latch: bool = False, problem: str = "") -> HttpResponse:
    """Say that the database does not answer, what that means for trading, and what can be done without it.

    ``has_latch`` says that the console could set this host's file latch, ``problem`` why it could not.
    """
    page = render_to_string("database_down.html", {"has_latch": has_latch, "problem": problem})
    return HttpResponse(page, status=HTTPStatus.SERVICE_UNAVAILABLE)
