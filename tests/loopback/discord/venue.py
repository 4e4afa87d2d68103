"""Discord's webhook as far as this project speaks to it: messages with their bounds, the limit on them, and what was said."""

import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from tests.loopback.server import Answer, Logged, Request

PATH = re.compile(r"/api/(?:v\d+/)?webhooks/(\d+)/([\w-]+)")
#: The name of every request to the webhook, for faults and the log; its secret is not in it.
ENDPOINT = "{method} /api/webhooks/{{id}}/{{token}}"
CONTENT_MAX, EMBEDS_MAX, ALL_MAX = 2_000, 10, 6_000
TITLE_MAX, DESCRIPTION_MAX, FIELDS_MAX, NAME_MAX, VALUE_MAX = 256, 4_096, 25, 256, 1_024
#: So many messages in so many seconds.
MESSAGES_MAX, WINDOW_S = 5, 2.0


class Wrong(Exception):
    """Discord says no: an HTTP status, its code and its words."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"message": message, "code": code}


class DiscordVenue:
    """One webhook with its messages."""

    def __init__(self) -> None:
        self.id = str(10**17 + secrets.randbelow(10**17))
        self.token = secrets.token_urlsafe(48)
        self.messages: list[dict[str, Any]] = []
        self.is_gone = False
        self.loses_messages = False
        self._limit: tuple[int, float] | None = None
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()

    @property
    def path(self) -> str:
        """Return the webhook's path, which is a secret as a real one is."""
        return f"/api/webhooks/{self.id}/{self.token}"

    def endpoint(self, request: Request) -> str:
        return ENDPOINT.format(method=request.method) if PATH.fullmatch(request.path) else f"{request.method} other"

    def admit(self, request: Request, entry: Logged) -> Answer | None:
        entry.body = request.body
        entry.fields = {name: values[-1] for name, values in parse_qs(request.query).items()}
        found = PATH.fullmatch(request.path)
        if found is None:
            return _refusal(Wrong(404, 0, "404: Not Found"))
        if self.is_gone or found[1] != self.id:
            return _refusal(Wrong(404, 10015, "Unknown Webhook"))
        if found[2] != self.token:
            return _refusal(Wrong(401, 50027, "Invalid Webhook Token"))
        return None

    def perform(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        if request.method == "GET":
            return Answer({"id": self.id, "type": 1, "name": "loopback", "channel_id": "1", "token": self.token})
        with self._lock:
            wait_s = self._take()
            if wait_s > 0:
                return self._too_many(wait_s)
            try:
                said = read(request.body)
            except Wrong as wrong:
                return _refusal(wrong)
            message = {"id": str(10**18 + len(self.messages)), "timestamp": datetime.now(UTC).isoformat(), **said}
            is_waited_for = entry.fields.get("wait") == "true"
            if self.loses_messages:
                return (
                    Answer({"message": "Internal Server Error", "code": 0}, "lost", 500) if is_waited_for else _done()
                )
            self.messages.append(message)
            return Answer(message, headers=self._headers()) if is_waited_for else _done(self._headers())

    def control(self, name: str, params: dict[str, Any]) -> Any:
        orders: dict[str, Callable[..., Any]] = {
            "url_path": lambda: self.path,
            "messages": lambda: list(self.messages),
            "set_limit": self._set_limit,
            "set_gone": lambda is_gone: setattr(self, "is_gone", bool(is_gone)),
            "set_loses_messages": lambda value: setattr(self, "loses_messages", bool(value)),
        }
        return orders[name](**params)

    def error(self, text: str) -> Answer:
        """Return the answer for ``STATUS MESSAGE``; 429 with a second to wait."""
        status, _, message = text.partition(" ")
        return self._too_many(1.0) if status == "429" else _refusal(Wrong(int(status), 0, message))

    def _set_limit(self, messages: int | None, window_s: float = WINDOW_S) -> None:
        self._limit = None if messages is None else (messages, float(window_s))

    def _take(self) -> float:
        """Count a message; return how long to wait where there were too many."""
        if self._limit is None:
            return 0.0
        count, window_s = self._limit
        now = time.monotonic()
        while self._taken and self._taken[0] <= now - window_s:
            self._taken.popleft()
        if len(self._taken) >= count:
            return window_s - (now - self._taken[0])
        self._taken.append(now)
        return 0.0

    def _headers(self) -> dict[str, str]:
        count, window_s = self._limit or (MESSAGES_MAX, WINDOW_S)
        return {
            "X-RateLimit-Limit": str(count),
            "X-RateLimit-Remaining": str(max(0, count - len(self._taken))),
            "X-RateLimit-Reset-After": f"{window_s:.3f}",
            "X-RateLimit-Bucket": "loopback",
        }

    def _too_many(self, wait_s: float) -> Answer:
        body = {"message": "You are being rate limited.", "retry_after": round(wait_s, 3), "global": False}
        headers = {**self._headers(), "Retry-After": str(int(wait_s) + 1), "X-RateLimit-Scope": "user"}
        return Answer(body, "refused: 429", 429, {**headers, "X-RateLimit-Remaining": "0"})


def read(body: str) -> dict[str, Any]:
    """Return what a message says. Raises Wrong for what Discord would not take."""
    try:
        raw = json.loads(body)
    except ValueError:
        raise Wrong(400, 50109, "The request body contains invalid JSON.") from None
    content, embeds = raw.get("content") or "", raw.get("embeds") or []
    if not content and not embeds:
        raise Wrong(400, 50006, "Cannot send an empty message")
    if len(content) > CONTENT_MAX or len(embeds) > EMBEDS_MAX or any(_is_too_long(one) for one in embeds):
        raise Wrong(400, 50035, "Invalid Form Body")
    if sum(len(text) for one in embeds for text in _texts(one)) > ALL_MAX:
        raise Wrong(400, 50035, "Invalid Form Body")
    return {"content": content, "embeds": embeds, "allowed_mentions": raw.get("allowed_mentions")}


def _is_too_long(embed: dict[str, Any]) -> bool:
    fields = embed.get("fields") or []
    return (
        len(embed.get("title") or "") > TITLE_MAX
        or len(embed.get("description") or "") > DESCRIPTION_MAX
        or len(fields) > FIELDS_MAX
        or any(len(one.get("name") or "") > NAME_MAX or len(one.get("value") or "") > VALUE_MAX for one in fields)
    )


def _texts(embed: dict[str, Any]) -> list[str]:
    parts = [embed.get("title"), embed.get("description"), (embed.get("footer") or {}).get("text")]
    for one in embed.get("fields") or []:
        parts += [one.get("name"), one.get("value")]
    return [part for part in parts if part]


def _done(headers: dict[str, str] | None = None) -> Answer:
    return Answer(None, status=204, headers=headers or {})


def _refusal(wrong: Wrong) -> Answer:
    return Answer(wrong.body, f"refused: {wrong.status} {wrong}", wrong.status)
