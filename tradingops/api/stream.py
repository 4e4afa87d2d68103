"""Server-sent events: order events, and the states of bots and of trading, as they happen.

A stream has no right that its caller lost: it ends within seconds when the token is revoked or the session is over. It ends by
itself after an hour. How far it came is each event's id, and ``Last-Event-ID`` goes on from there, also after a restart.
"""

import json
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from importlib import import_module
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT, socket
from typing import Annotated, Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject
from ninja import Query, Router, Schema
from pydantic import Field

from tradingops import sessions
from tradingops.api import auth
from tradingops.api.errors import ErrorOut, Refused, error
from tradingops.api.stream_hub import NO_DATABASE, FullError, Listener, hub
from tradingops.api.stream_rows import ORDER, News, Place, heads, order_news

router = Router(tags=["stream"])

RIGHTS = ("audit.view_orderevent", "bots.view_bot", "safety.view_tradingstate")
LIFE_S = 3600.0
HEARTBEAT_EVERY_S = 15.0
#: A client that takes nothing for so long is gone.
SEND_WITHIN_S = 20.0
#: What a stream tells again at most; whoever missed more reads the list of order events.
REPLAY_MAX = 10_000
NEWS_PER_CHUNK = 200
RETRY_AFTER_S = 5
OVER, TOO_OLD, NOT_KNOWN = "over", "too_old", "not_known"
RESETS = {
    TOO_OLD: f"More than {REPLAY_MAX} order events came since. Read GET /api/order-events for them.",
    NOT_KNOWN: "No stream of this console told that id. Read GET /api/order-events from where you are sure.",
}


class Filters(Schema):
    """What to leave out. ``bot_id`` keeps one bot's order events and state; ``is_live`` keeps live or paper order events."""

    bot_id: int | None = Field(None, ge=1, le=2**63 - 1)
    is_live: bool | None = None

    def keep(self, news: News) -> bool:
        """Return whether this is to be told. The trading state always is."""
        if self.bot_id is not None and news.bot_id not in (None, self.bot_id):
            return False
        if news.kind != ORDER:
            return True
        of_bot = self.bot_id is None or news.bot_id == self.bot_id
        return of_bot and (self.is_live is None or news.is_live == self.is_live)


_ANSWERS = {
    "responses": {
        200: {
            "description": "Events until the stream ends: order, bot, safety, reset, bye",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    }
}


@router.get(
    "/stream",
    response=dict.fromkeys((401, 403, 422, 429, 503), ErrorOut),
    openapi_extra=_ANSWERS,
    summary="Order events and states, as they happen",
)
def stream(request: HttpRequest, filters: Annotated[Filters, Query()]) -> HttpResponseBase:
    """Answer with server-sent events for an hour at most. 429 or 503 with Retry-After when there are too many streams already."""
    asker = auth.caller_of(request)
    asker.require(*RIGHTS)
    now = heads()
    given = request.headers.get("Last-Event-ID", "")
    place, reset = _resumed(given, now) if given else (now, "")
    listener = Listener(asker.actor, place, lambda: still_allowed(request))
    try:
        hub.admit(listener)
    except FullError as full:
        return _full(full)
    limit_sends(request)
    answer = StreamingHttpResponse(EventStream(listener, filters, reset), content_type="text/event-stream")
    answer["Cache-Control"] = "no-store"
    # A proxy that collects the answer before it passes it on would keep it for an hour.
    answer["X-Accel-Buffering"] = "no"
    return answer


def _resumed(given: str, now: Place) -> tuple[Place, str]:
    """Return from where a stream goes on after an id, and why that is not the id's own place."""
    place = Place.parse(given)
    if place is None or place.live > now.live or place.paper > now.paper:
        return now, NOT_KNOWN
    missed = now.live - place.live + now.paper - place.paper
    return (now, TOO_OLD) if missed > REPLAY_MAX else (place, "")


def _full(full: FullError) -> HttpResponse:
    if full.is_callers:
        answer: HttpResponse = error(HTTPStatus.TOO_MANY_REQUESTS, "You have too many streams open: end one first.")
    else:
        answer = error(HTTPStatus.SERVICE_UNAVAILABLE, "Too many streams are open. Try again in a moment.", code="full")
    answer["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def limit_sends(request: HttpRequest) -> None:
    """Let a send to a client that takes nothing fail, as gunicorn's sockets by themselves never do."""
    client = request.META.get("gunicorn.socket")
    if isinstance(client, socket):
        client.settimeout(SEND_WITHIN_S)
        # Over other sockets than TCP there is nothing of the kind to set.
        with suppress(OSError):
            client.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, int(SEND_WITHIN_S * 1000))


def still_allowed(request: HttpRequest) -> bool:
    """Return whether whoever began a stream may still listen: token, session and rights are read anew. Raises django.db.Error."""
    again: Any = HttpRequest()
    again.method, again.META, again.COOKIES = "GET", request.META, request.COOKIES
    again.path, again.path_info = request.path, request.path_info
    store = import_module(settings.SESSION_ENGINE).SessionStore
    again.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    again.user = SimpleLazyObject(lambda: get_user(again))
    try:
        asker = auth.recognised(again)
        if asker is None or (not asker.is_token and sessions.why_over(again)):
            return False
        asker.require(*RIGHTS)
    except Refused as refused:
        # Asked too often is no reason to end.
        return refused.http_status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return True


class EventStream:
    """The bytes of one stream. ``close`` gives its place among the listeners back, also when nothing was ever asked of it."""

    def __init__(self, listener: Listener, filters: Filters, reset: str) -> None:
        self._listener, self._filters, self._reset = listener, filters, reset
        self._ends_s = time.monotonic() + LIFE_S
        self._chunks = self._all_chunks()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Let the listener go."""
        hub.leave(self._listener)
        self._chunks.close()

    def _all_chunks(self) -> Generator[bytes, None, None]:
        _let_go_of_database()
        yield b"retry: 3000\n" + self._id()
        if self._reset:
            told = {"reason": self._reset, "message": RESETS[self._reset]}
            yield _event("reset", json.dumps(told).encode(), self._id())
        entry = hub.enter(self._listener, HEARTBEAT_EVERY_S)
        if entry is not None:
            yield from self._told(entry.standing)
            yield from self._missed(entry.upto)
        while entry is not None and not self._listener.ended and time.monotonic() < self._ends_s:
            left_s = max(0.0, self._ends_s - time.monotonic())
            news = hub.news_for(self._listener, NEWS_PER_CHUNK, min(HEARTBEAT_EVERY_S, left_s))
            yield b"".join(self._told(news)) or b": heartbeat\n" + self._id()
        why = self._listener.ended or (NO_DATABASE if entry is None else OVER)
        yield _event("bye", json.dumps({"reason": why}).encode())

    def _missed(self, upto: Place) -> Iterator[bytes]:
        """Yield what came between the client's last event and the moment at which the hub's news begin for it."""
        try:
            yield from self._told(order_news(self._listener.place, upto))
        except Error:
            self._listener.ended = self._listener.ended or NO_DATABASE
        finally:
            _let_go_of_database()

    def _told(self, news: Iterable[News]) -> Iterator[bytes]:
        for one in news:
            if one.kind == ORDER:
                # Twice the same, from the past and from the hub, is told once.
                if self._listener.place.has(one):
                    continue
                self._listener.place = self._listener.place.after(one)
            if self._filters.keep(one):
                yield _event(one.kind, one.data, self._id() if one.kind == ORDER else b"\n")

    def _id(self) -> bytes:
        return f"id: {self._listener.place.text}\n\n".encode()


def _event(kind: str, data: bytes, end: bytes = b"\n") -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n" + end


def _let_go_of_database() -> None:
    """Give this thread's connection back: a stream would hold it for an hour and hardly use it."""
    if not connection.in_atomic_block:
        connection.close()
