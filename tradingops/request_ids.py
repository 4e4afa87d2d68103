"""Each request has an id: in its answer's X-Request-ID and in every line that it logs, so that the two can be put together."""

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
#: Anything else could forge log lines, or fill them.
PLAIN = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_current: ContextVar[str] = ContextVar("request_id", default="")


def request_ids(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Give each request the id that it came with, if that is a plain one, or else a new one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        _current.set(given if PLAIN.fullmatch(given) else uuid4().hex)
        response = get_response(request)
        response[HEADER] = current()
        return response

    return middleware


def current() -> str:
    """Return the id of the request that this thread answers, or an empty text."""
    return _current.get()


@receiver(request_finished, dispatch_uid="tradingops.request_ids")
def _end(**kwargs: Any) -> None:
    # Not before: a stream logs under its request's id for as long as it runs.
    _current.set("")


class AddRequestId(logging.Filter):
    """Puts the id into a log record, as `` [id]``; nothing where no request is being answered."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id, and let the record pass."""
        found = current()
        record.request_id = f" [{found}]" if found else ""
        return True
