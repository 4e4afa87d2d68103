"""Pages of lists that grow: newest first, each page from where the last one ended, at one cost however long the list is.

A cursor names the last row of its page by what the list is sorted by. Rows that come in meanwhile are newer: they move nothing
and make nothing come twice. Nothing is counted.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Self, TypeVar

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, model_validator

from tradingops.api.errors import Refused
from tradingops.api.values import ID_MAX, Input, Instant, Text

LIMIT_MAX = 500
JSON = "application/json; charset=utf-8"
#: Turns plain values of our own into JSON.
ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
CURSOR = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
WRITTEN = re.compile(r"([a-z-]{1,20})\.([0-9a-f]{12})\.([0-9]{1,19})(?:\.([0-9T:.-]{1,26}))?", re.ASCII)

T = TypeVar("T")


class PageIn(Input):
    """Which page of a list. A name in the address that the endpoint does not know, or one that comes twice, is refused.

    Frozen, and so a question that those who ask it at the same time can share an answer by.
    """

    model_config = ConfigDict(frozen=True)

    limit: int = Field(50, ge=1, le=LIMIT_MAX, description="Items on a page, 1 to 500.", examples=[50])
    cursor: Text | None = Field(
        None, max_length=200, description="Where to go on: `next` of the page before, with the same filters."
    )

    @model_validator(mode="after")
    def _nothing_else(self, info: ValidationInfo) -> Self:
        """Refuse what would be left out without a word: a filter with a slip in its name would show everything."""
        request = (info.context or {}).get("request")
        if isinstance(request, HttpRequest):
            known = type(self).model_fields
            for name, values in request.GET.lists():
                if name not in known:
                    raise ValueError(f"there is no parameter {name[:40]!r} here; known are {', '.join(known)}")
                if len(values) > 1:
                    raise ValueError(f"{name} is given {len(values)} times; once is enough")
        return self


class WindowIn(PageIn):
    """Which page, and of which stretch of time."""

    since: Instant | None = Field(None, description="Only what is not older than this: the moment itself is included.")
    until: Instant | None = Field(None, description="Only what is older than this: the moment itself is left out.")

    @model_validator(mode="after")
    def _not_turned_round(self) -> Self:
        """Refuse a stretch that ends before it begins: its empty page would be taken for an answer."""
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since is later than until: exchange the two")
        return self

    @property
    def is_window(self) -> bool:
        """Return whether a stretch of time is asked for."""
        return self.since is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """How a list is sorted, newest first: by id, or by ``time`` and then id. ``name`` keeps one list's cursors from another's."""

    name: str
    time: str = ""

    @property
    def fields(self) -> list[str]:
        """Return what to sort by."""
        return [f"-{self.time}", "-id"] if self.time else ["-id"]

    def after(self, mark: "Mark") -> Q:
        """Return the condition for the rows that come after a cursor's row."""
        if not self.time:
            return Q(id__lt=mark.id)
        # The bound by itself is what an index answers.
        earlier = Q(**{f"{self.time}__lt": mark.at}) | Q(id__lt=mark.id)
        return Q(**{f"{self.time}__lte": mark.at}) & earlier


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: the row's id, and its time where the list is sorted by that."""

    id: int
    at: datetime | None = None


def page_of(rows: QuerySet[Any, T], listing: Listing, asked: PageIn) -> tuple[list[T], str | None]:
    """Return one page of ``rows`` and the cursor of the next, None on the last. Raises Refused (422) for a bad cursor.

    Rows are models, or named values with their ``id``: those cost half as much where a page of them is only shown.
    """
    start = start_of(listing, asked)
    if start is not None:
        rows = rows.filter(listing.after(start))
    found = list(rows.order_by(*listing.fields)[: asked.limit + 1])
    return cut(found, listing, asked, lambda row: _mark(row, listing))


def _mark(row: Any, listing: Listing) -> Mark:
    return Mark(row.id, getattr(row, listing.time) if listing.time else None)


def cut(found: list[T], listing: Listing, asked: PageIn, mark: Callable[[T], Mark]) -> tuple[list[T], str | None]:
    """Return what fits a page of ``found``, which holds what comes after the cursor, and the cursor of the next page."""
    if len(found) <= asked.limit:
        return found, None
    page = found[: asked.limit]
    return page, _write(mark(page[-1]), listing, asked)


def start_of(listing: Listing, asked: PageIn) -> Mark | None:
    """Return where the page before ended, None for the first page. Raises Refused (422) for a bad cursor."""
    return None if asked.cursor is None else _read(asked.cursor, listing, asked)


def refuse_parameters(request: HttpRequest) -> None:
    """Return quietly when nothing stands in the address of an endpoint that takes nothing there. Raises Refused (422)."""
    for name in request.GET:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"There is no parameter {name[:40]!r} here: there is none at all."
        )


def within(asked: WindowIn, field: str) -> Q:
    """Return the condition for a stretch of time: ``since`` is included, ``until`` is not."""
    bounds = {f"{field}__gte": asked.since, f"{field}__lt": asked.until}
    return Q(**{name: moment for name, moment in bounds.items() if moment is not None})


def answer(body: BaseModel | Mapping[str, Any], status: int = HTTPStatus.OK) -> HttpResponse:
    """Return a body as it is: one that was checked when it was made, or plain values of our own for a page of many rows.

    What plain values look like is held by the tests, which check each list against its schema.
    """
    content = body.model_dump_json() if isinstance(body, BaseModel) else written(body)
    return HttpResponse(content, status=status, content_type=JSON)


def written(body: Mapping[str, Any]) -> bytes:
    """Return plain values of our own as JSON."""
    return ANYTHING.dump_json(body)


def answer_written(content: bytes) -> HttpResponse:
    """Return what was written as JSON already, for one who asks or for several."""
    return HttpResponse(content, content_type=JSON)


def _write(mark: Mark, listing: Listing, asked: PageIn) -> str:
    at = "" if mark.at is None else f".{mark.at.replace(tzinfo=None).isoformat(timespec='microseconds')}"
    text = f"{listing.name}.{_digest(asked)}.{mark.id}{at}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, listing: Listing, asked: PageIn) -> Mark:
    """Return where a cursor says that its page ended. Raises Refused for one that no page of this list gave."""
    found = WRITTEN.fullmatch(_plain(cursor)) if CURSOR.fullmatch(cursor) else None
    if found is None:
        raise _bad_cursor("This is no cursor: take it from `next` of the page before, as it is.")
    name, digest, row_id, at = found.groups()
    if name != listing.name or bool(at) != bool(listing.time) or int(row_id) > ID_MAX:
        raise _bad_cursor("This cursor belongs to another list.")
    if digest != _digest(asked):
        raise _bad_cursor("This cursor was given for other filters: begin without one when you change them.")
    try:
        return Mark(int(row_id), None if at is None else datetime.fromisoformat(f"{at}+00:00"))
    except ValueError as error:
        raise _bad_cursor("This is no cursor: take it from `next` of the page before, as it is.") from error


def _plain(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _digest(asked: PageIn) -> str:
    """Return what tells one set of filters from another. It guards against slips only: a cursor is no secret and no permit."""
    filters = {
        name: value for name, value in asked if name not in PageIn.model_fields and value is not None and value != ""
    }
    return hashlib.sha256(_canonical(filters).encode()).hexdigest()[:12]


def _canonical(filters: Mapping[str, Any]) -> str:
    plain = {name: value.value if isinstance(value, Enum) else str(value) for name, value in filters.items()}
    return repr(sorted(plain.items()))


def _bad_cursor(message: str) -> Refused:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, message, code="bad_cursor")
