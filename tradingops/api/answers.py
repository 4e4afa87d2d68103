"""Whatever goes wrong under /api/ answers in the API's one shape, also where Django answers before the API is asked.

Stands outside all that may refuse a request, and inside what gives it its id and its headers.
"""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from tradingops.api.errors import error

UNDER = "/api/"
#: Django's answer to what it can't read. Bad input has one status here.
UNREADABLE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
MESSAGES = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request can not be read: its address, its headers or its body are not valid.",
    HTTPStatus.NOT_FOUND: "There is no such endpoint.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This endpoint does not take this method: the header Allow says which it takes.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error of the console; its log says more.",
}


def one_error_shape(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Give an error of the API the API's shape, unless it has it already."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not request.path_info.startswith(UNDER) or response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        if response.get("Content-Type", "").startswith("application/json"):
            return response
        return _shaped(response)

    return middleware


def _shaped(response: HttpResponseBase) -> HttpResponse:
    found = HTTPStatus(response.status_code)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if found in UNREADABLE else found
    shaped = error(status, MESSAGES.get(status, "The request was refused."))
    if response.has_header("Allow"):
        shaped["Allow"] = response["Allow"]
    shaped["Content-Length"] = str(len(shaped.content))
    return shaped
