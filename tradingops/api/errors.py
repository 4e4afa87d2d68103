"""The API's one error shape, whatever went wrong."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import Field

from bots.manager import BotActionError
from bots.strategies.schema import ParamError
from safety.intents import Denial

REASONS_MAX = 50
NO_CALLER = "A valid bearer token or a signed-in session is needed."
CODES = {
    HTTPStatus.UNAUTHORIZED: "not_signed_in",
    HTTPStatus.FORBIDDEN: "not_allowed",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.CONFLICT: "denied",
    HTTPStatus.UNPROCESSABLE_ENTITY: "bad_input",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "not_safe_to_serve",
}


class Reason(Schema):
    """One reason of an error: which control or field, and for a control its limit and the actual figure."""

    code: str = Field(description="The control's code, or what is wrong with a field.", examples=["KILL_SWITCH"])
    message: str = Field(description="What is wrong, and what to do.", examples=["Trading is halted: a drill."])
    limit: str = Field("", description="The control's limit; empty where there is none.", examples=["100"])
    actual: str = Field("", description="What was found; empty where there is nothing to compare.", examples=["250"])


class ErrorOut(Schema):
    """Every error of the API."""

    code: str = Field(description="What kind of error; docs/api.md lists them.", examples=["denied"])
    message: str = Field(
        description="What is wrong, in a sentence.", examples=["The order was denied. Nothing was sent."]
    )
    reasons: list[Reason] = Field(description="Every reason; may be empty.")


#: What an endpoint may answer besides success, for its schema.
REFUSALS = dict.fromkeys((401, 403, 404, 409, 422, 429, 503), ErrorOut)


def reason(code: str, message: str, limit: str = "", actual: str = "") -> dict[str, str]:
    """Return one reason of an error."""
    return {"code": code, "message": message, "limit": limit, "actual": actual}


def error(
    status: int,
    message: str,
    reasons: list[dict[str, str]] | None = None,
    code: str = "",
    retry_after_s: int | None = None,
) -> JsonResponse:
    """Return an error in the API's shape. Without a code, the status names it."""
    body = {"code": code or CODES.get(HTTPStatus(status), "error"), "message": message, "reasons": reasons or []}
    response = JsonResponse(body, status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    if retry_after_s is not None:
        response["Retry-After"] = str(retry_after_s)
    return response


def add_error_handlers(ninja_api: NinjaAPI) -> None:
    """Make an API answer every error in the one shape."""
    handlers: dict[type[Exception], Callable[..., HttpResponse]] = {
        ValidationError: _bad_input,
        AuthenticationError: _not_signed_in,
        Http404: _not_found,
        HttpError: _http_error,
        Refused: _refused,
        ObjectDoesNotExist: _not_found,
        BotActionError: _action_refused,
        ParamError: _bad_params,
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
    return error(HTTPStatus.UNAUTHORIZED, NO_CALLER)


def _not_found(request: HttpRequest, exc: Exception) -> HttpResponse:
    return error(HTTPStatus.NOT_FOUND, "There is no such object.")


def _http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    # What is no JSON at all is bad input like any other.
    is_unreadable = exc.status_code == HTTPStatus.BAD_REQUEST
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_unreadable else exc.status_code
    why = exc.__cause__
    code = getattr(why, "code", "")
    if not is_unreadable or not isinstance(why, ValueError) or not code:
        return error(status, str(exc))
    # The parser says what it stumbled over: see bodies.BodyError.
    limits = (getattr(why, "limit", ""), getattr(why, "actual", ""))
    return error(status, str(why), [reason(code, str(why), *limits)])


class Refused(Exception):
    """An answer other than success, with every reason: 401, 403, 409, 429 and the like.

    ``reasons`` come besides those of the ``denials``. ``retry_after_s`` goes into the header Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        denials: tuple[Denial, ...] = (),
        code: str = "",
        *,
        reasons: list[dict[str, str]] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status, self.denials, self.code = status, denials, code
        self.reasons, self.retry_after_s = reasons or [], retry_after_s


def _refused(request: HttpRequest, exc: Refused) -> HttpResponse:
    reasons = [*(denial.as_dict() for denial in exc.denials), *exc.reasons]
    # With one reason its code is the answer's; with several the first is the one that is shown first everywhere.
    code = exc.code or (exc.denials[0].code if exc.denials else "")
    return error(exc.http_status, str(exc), reasons, code, exc.retry_after_s)


def _action_refused(request: HttpRequest, exc: BotActionError) -> HttpResponse:
    return error(HTTPStatus.CONFLICT, str(exc))


def _bad_params(request: HttpRequest, exc: ParamError) -> HttpResponse:
    reasons = [reason(name, text) for name, texts in exc.errors.items() for text in texts]
    return error(HTTPStatus.UNPROCESSABLE_ENTITY, "The strategy's parameters are not valid.", reasons)
