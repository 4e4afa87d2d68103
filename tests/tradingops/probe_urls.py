"""A small API with the console's error handlers, to make each kind of error happen."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import HttpError

from bots.models import Bot
from tradingops.api.errors import add_error_handlers

probe = NinjaAPI(urls_namespace="probe")
add_error_handlers(probe)


@probe.get("/number")
def number(request: HttpRequest, n: int) -> int:
    """Give the number back; any other text is bad input."""
    return n


@probe.get("/denied")
def denied(request: HttpRequest) -> None:
    """Be denied."""
    raise HttpError(409, "Denied.")


@probe.get("/missing")
def missing(request: HttpRequest) -> None:
    """Look for a bot that is not there."""
    get_object_or_404(Bot, pk=0)


@probe.get("/private", auth=lambda request: None)
def private(request: HttpRequest) -> None:
    """Be asked for a token."""


urlpatterns = [path("probe/", probe.urls)]
