"""The API under ``/api/``: one error shape for everything, and the public health check."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI, Schema, Status
from ninja.errors import AuthenticationError, HttpError, ValidationError

from tradingops import __version__
from tradingops.health import Health, read_health

REASONS_MAX = 50
CODES = {
    HTTPStatus.UNAUTHORIZED: "not_signed_in",
    HTTPStatus.FORBIDDEN: "not_allowed",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "denied",
    HTTPStatus.UNPROCESSABLE_ENTITY: "bad_input",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "not_safe_to_serve",
}

api = NinjaAPI(title="tradingops", version=__version__, urls_namespace="api")


class HealthOut(Schema):
    """The console's health. Ages are in seconds; null means never seen, or not to be read."""

    status: str
    version: str
    uptime_s: int
    database: str
    worker_heartbeat_age_s: float | None
    autopilot_heartbeat_age_s: float | None
    trading_state: str
    mode: str


class Reason(Schema):
    """One reason of an error: which control or field, and for a control its limit and the actual figure."""

    code: str
    message: str
    limit: str = ""
    actual: str = ""


class ErrorOut(Schema):
    """Every error of the API."""

    code: str
    message: str
    reasons: list[Reason]


def error(status: int, message: str, reasons: list[dict[str, str]] | None = None, code: str = "") -> JsonResponse:
    """Return an error in the API's shape. Without a code, the status names it."""
    body = {"code": code or CODES.get(HTTPStatus(status), "error"), "message": message, "reasons": reasons or []}
    response = JsonResponse(body, status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.get("/health", auth=None, response={200: HealthOut, 503: HealthOut}, summary="Is the console fit to serve?")
def health(request: HttpRequest) -> Status[Health]:
    """Answer 200 when the database answers and a worker was seen in the last 30 s, else 503. Halted is healthy."""
    found = read_health()
    return Status(HTTPStatus.OK if found.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE, found)


def no_such_endpoint(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer for a path under ``/api/`` that is nobody's."""
    return error(HTTPStatus.NOT_FOUND, "There is no such endpoint.")


def add_error_handlers(ninja_api: NinjaAPI) -> None:
    """Make an API answer every error in the one shape."""
    handlers: dict[type[Exception], Callable[..., HttpResponse]] = {
        ValidationError: _bad_input,
        AuthenticationError: _not_signed_in,
        Http404: _not_found,
        HttpError: _http_error,
    }
    for kind, handler in handlers.items():
        ninja_api.add_exception_handler(kind, handler)


def _bad_input(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    reasons = [
        {
            "code": str(fault.get("type", "")),
            "message": f"{_place(fault)}: {fault.get('msg', '')}",
            "limit": "",
            "actual": "",
        }
        for fault in exc.errors[:REASONS_MAX]
    ]
    return error(HTTPStatus.UNPROCESSABLE_ENTITY, "The input is not valid.", reasons)


def _place(fault: dict[str, Any]) -> str:
    """Return where in the input a fault is: ``query.limit``, ``body.payload.side``."""
    return ".".join(str(part) for part in fault.get("loc", ()))


def _not_signed_in(request: HttpRequest, exc: AuthenticationError) -> HttpResponse:
    return error(HTTPStatus.UNAUTHORIZED, "A valid bearer token or a signed-in session is needed.")


def _not_found(request: HttpRequest, exc: Http404) -> HttpResponse:
    return error(HTTPStatus.NOT_FOUND, "There is no such object.")


def _http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    return error(exc.status_code, str(exc))


add_error_handlers(api)
