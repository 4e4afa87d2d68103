"""A line to a loopback venue that mangles its answers, by a seed: schema drift, wrong types, huge figures, pages, bombs."""

import gzip
import http.client
import json
import math
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
#: What stands where something else belongs. A zero is left out: it is a figure like any other, and nobody could tell.
JUNK: tuple[Any, ...] = (
    None, True, False, -1, "-1", 1e308, "1e308", "1e999999999", "-1e999999999", "1e-999999999", "NaN", "-NaN", "sNaN", "nan",
    "Infinity", "-inf", math.nan, math.inf, "9" * 500, 10**30, -(10**30), "", " ", "abc", "0x10", "1_000", "１２", "1,5",
    "2026-13-45T99:99:99Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "\x00", "\ud83d",
    [], {}, [[]], [None], {"a": 1}, {"": {}}, [1, "2", None], "<html>", "null", "e" * 100_000,
)  # fmt: skip
PAGE = b"<html><body><h1>Just a moment...</h1></body></html>"
#: Statuses under which no venue has done what it was asked: the request is then not handed on.
REFUSING = (400, 401, 403, 404, 405, 418, 422, 429)
FAILING = (201, 202, 204, 206, 301, 302, 304, 408, 500, 501, 502, 503, 504, 520, 530)
BOMB_BYTES = 48 * 1024 * 1024


@dataclass(frozen=True)
class Mangled:
    """What goes out instead of an answer. ``cut`` leaves that many bytes of the promised ones out."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0


@dataclass
class Passed:
    """One request that came along, and what went back."""

    method: str
    path: str
    sent: str
    answered: bytes = b""
    kind: str = ""


class Mangler:
    """Mangles one answer in a way that the dice choose."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def status_first(self) -> Mangled | None:
        """Return a refusal by status alone, for a request that the venue then never gets; mostly None."""
        if self.dice.random() >= 0.04:
            return None
        status = self.dice.choice(REFUSING)
        return Mangled(self.dice.choice((PAGE, b"", b"{}", b"[]", b'{"message": 7}', b"null")), status)

    def mangle(self, body: bytes) -> tuple[str, Mangled]:
        """Return how it was mangled, in a word, and the outcome."""
        if self.dice.random() < 0.65:
            return self._drift(body)
        ways: tuple[Callable[[bytes], Mangled], ...] = (
            self._truncated, self._page, self._encoded, self._huge_number, self._deep, self._status, self._wrong_length,
            self._odd_whole, self._bomb,
        )  # fmt: skip
        weights = (4, 2, 4, 2, 2, 5, 2, 4, 0.4)
        way = self.dice.choices(ways, weights)[0]
        return way.__name__, way(body)

    def _drift(self, body: bytes) -> tuple[str, Mangled]:
        try:
            tree = json.loads(body)
        except ValueError:
            return "page", self._page(body)
        root = [tree]
        for _ in range(self.dice.choice((1, 1, 1, 2, 3))):
            self._change_one(root)
        return "drift", Mangled(json.dumps(root[0]).encode("utf-8", "surrogatepass"))

    def _change_one(self, root: list[Any]) -> None:
        holder, key = self.dice.choice(list(_places(root)))
        way = self.dice.randrange(7)
        if way == 0 and isinstance(holder, dict):
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[f"{key}X"] = holder.pop(key)
        elif way == 2:
            holder[key] = [holder[key]]
        elif way == 3:
            holder[key] = {"value": holder[key]}
        elif way == 4 and isinstance(holder[key], str):
            holder[key] = holder[key] + self.dice.choice((" ", "0x", "%", "e5", "e400", "\n", "-"))
        else:
            holder[key] = self.dice.choice(JUNK)

    def _truncated(self, body: bytes) -> Mangled:
        return Mangled(body[: self.dice.randrange(len(body) or 1)])

    def _page(self, body: bytes) -> Mangled:
        return Mangled(PAGE, headers=(("Content-Type", "text/html"),))

    def _encoded(self, body: bytes) -> Mangled:
        text = body.decode("utf-8", "replace")
        return self.dice.choice(
            (
                Mangled(text.encode("utf-16")),
                Mangled(text.encode("utf-32")),
                Mangled(b"\xef\xbb\xbf" + body),
                Mangled(b"\xff\xfe\x00" + body),
                Mangled(body.replace(b'"', b"\x93")),
                Mangled(body, headers=(("Content-Encoding", "gzip"),)),
                Mangled(gzip.compress(body)[:-7], headers=(("Content-Encoding", "gzip"),)),
                Mangled(body, headers=(("Content-Encoding", "br"),)),
                Mangled(body, headers=(("Content-Type", "application/json; charset=no-such"),)),
            )
        )

    def _huge_number(self, body: bytes) -> Mangled:
        text = body.decode("utf-8", "replace")
        digits = [place for place, letter in enumerate(text) if letter.isdigit()]
        place = self.dice.choice(digits) if digits else 0
        return Mangled((text[:place] + "7" * self.dice.choice((400, 5_000)) + text[place:]).encode())

    def _deep(self, body: bytes) -> Mangled:
        depth = self.dice.choice((900, 5_000, 100_000))
        if self.dice.random() < 0.5:
            return Mangled(b'{"result":' * depth + b"1" + b"}" * depth)
        return Mangled(b"[" * depth + b"]" * depth)

    def _status(self, body: bytes) -> Mangled:
        return Mangled(
            self.dice.choice((body, PAGE, b"")), self.dice.choice(FAILING), (("Location", "http://127.0.0.1:9/"),)
        )

    def _wrong_length(self, body: bytes) -> Mangled:
        return Mangled(body, cut=self.dice.randrange(1, 200))

    def _odd_whole(self, body: bytes) -> Mangled:
        odd = (b"", b"null", b"true", b"7", b'"text"', b"[]", b"{}", b"NaN", b"\x00", b'{"error": []}', b'{"result": []}',
               b'{"error": null, "result": null}', b'{"error": ["EOdd:Whatever"]}', b'{"error": "text", "result": {}}',
               b'{"error": [], "result": {}}', b'{"code": 1}', b'{"code": "x", "message": []}')  # fmt: skip
        return Mangled(self.dice.choice(odd))

    def _bomb(self, body: bytes) -> Mangled:
        return Mangled(_bomb(), headers=(("Content-Encoding", "gzip"),))


@cache
def _bomb() -> bytes:
    return gzip.compress(b'{"error": [], "result": {"a": "' + b"0" * BOMB_BYTES + b'"}}')


def _places(root: Any) -> list[tuple[Any, Any]]:
    """Return where something stands: each holder with the key or index. Great lists count by their first rows only."""
    found: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 20))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


@dataclass
class Plan:
    """Which answers are mangled now: the ``nth`` of those whose path has ``part`` in it (None: none), and all after it."""

    mangler: Mangler | None = None
    part: str = ""
    skip: int = 0


@dataclass
class MangledLine:
    """A server that hands requests on to ``target`` and mangles answers as its plan says."""

    target: str
    plan: Plan = field(default_factory=Plan)
    passed: list[Passed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._http = _Http((HOST, 0), _Handler)
        self._http.line = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="mangled", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._http.server_address[1]}"

    def __enter__(self) -> "MangledLine":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def begin(self, plan: Plan) -> None:
        """Forget what passed and follow this plan from now on."""
        with self._lock:
            self.plan, self.passed = plan, []

    def answer(self, method: str, path: str, headers: dict[str, str], sent: str) -> Mangled:
        """Return what goes back for one request."""
        passed = Passed(method, path, sent)
        with self._lock:
            self.passed.append(passed)
            mangler = self._mangler_for(path)
            early = mangler.status_first() if mangler else None
        if early is not None:
            passed.kind = f"status {early.status}"
            return early
        status, body = self._ask(method, path, headers, sent)
        if mangler is None:
            passed.answered = body
            return Mangled(body, status)
        with self._lock:
            passed.kind, out = mangler.mangle(body)
        passed.answered = out.body
        return out

    def _mangler_for(self, path: str) -> Mangler | None:
        if self.plan.mangler is None or self.plan.part not in path:
            return None
        if self.plan.skip:
            self.plan.skip -= 1
            return None
        return self.plan.mangler

    def _ask(self, method: str, path: str, headers: dict[str, str], sent: str) -> tuple[int, bytes]:
        url = urlsplit(self.target)
        connection = http.client.HTTPConnection(url.hostname or HOST, url.port, timeout=20)
        try:
            connection.request(method, path, sent.encode() or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    line: MangledLine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up on a bomb is right to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length).decode()
        kept = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "accept-encoding"}}
        out = self.server.line.answer(self.command, self.path, kept, sent)
        self.send_response(out.status)
        names = {name for name, _ in out.headers}
        for name, value in out.headers:
            self.send_header(name, value)
        if "Content-Type" not in names:
            self.send_header("Content-Type", "application/json")
        has_body = out.status not in {204, 304}
        self.send_header("Content-Length", str(len(out.body) + out.cut if has_body else 0))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(out.body if has_body else b"")
            self.wfile.flush()
        if out.cut:
            self.close_connection = True
