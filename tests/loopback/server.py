"""The HTTP side of a loopback venue: requests come in, are logged, meet their faults, and are answered."""

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.loopback.faults import Fault, FaultPlan, Reply

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
CONTROL = "/_control/"
LOG_MAX = 200_000
PAGE = b"<html><body><h1>Something is being looked into</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """A request as it came in; ``path`` is without its query, ``body`` the raw text of the form or JSON."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Answer:
    """What the venue itself answers; ``outcome`` says it in a word for the log. A body of None is an empty one."""

    body: Any
    outcome: str = "ok"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Logged:
    """One line of the request log. Times are those of this machine's monotonic clock, which all processes share.

    ``performed`` is when the venue carried it out, ``answered`` when an answer had been written; None: it was not.
    ``body`` is the raw text of a JSON request, to tell a number from a text; ``status`` the HTTP status the venue meant.
    """

    id: int
    method: str
    path: str
    received: float
    fields: dict[str, str] = field(default_factory=dict)
    nonce: int | None = None
    performed: float | None = None
    answered: float | None = None
    outcome: str = ""
    fault: str = ""
    body: str = ""
    status: int | None = None


class Venue(Protocol):
    """What stands behind the server."""

    def endpoint(self, request: Request) -> str:
        """Return the short name that faults and the log know this request by."""
        ...

    def admit(self, request: Request, entry: Logged) -> Answer | None:
        """Look at a request as it arrives: signature, number, rights. Return a refusal, or None."""
        ...

    def perform(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        """Carry a request out that was admitted."""
        ...

    def control(self, name: str, params: dict[str, Any]) -> Any:
        """Do what a test orders. Raises LookupError for an unknown order, ValueError or TypeError for a wrong one."""
        ...

    def error(self, text: str) -> Answer:
        """Return the answer that tells of ``text`` as this venue tells of errors."""
        ...


class RequestLog:
    """What was asked, in the order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Logged] = []
        self._count = 0

    def begin(self, method: str, path: str) -> Logged:
        with self._lock:
            self._count += 1
            entry = Logged(self._count, method, path, time.monotonic())
            if len(self._entries) >= LOG_MAX:
                del self._entries[: LOG_MAX // 2]
            self._entries.append(entry)
            return entry

    def since(self, after_id: int) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(entry) for entry in self._entries if entry.id > after_id]


class LoopbackServer:
    """A venue on a port of this machine. Start it; as a context manager it closes itself."""

    def __init__(self, venue: Venue, port: int = 0) -> None:
        self.venue = venue
        self.faults = FaultPlan()
        self.log = RequestLog()
        self.closing = threading.Event()
        self._http = _Http((HOST, port), _Handler)
        self._http.loopback = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="loopback", daemon=True)

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://{HOST}:{self._http.server_address[1]}"

    def start(self) -> "LoopbackServer":
        self._thread.start()
        return self

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def __enter__(self) -> "LoopbackServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def control(self, name: str, params: dict[str, Any]) -> Any:
        """Do what a test orders: of the server itself, or of its venue."""
        own: dict[str, Callable[..., Any]] = {
            "log": lambda after_id=0: self.log.since(after_id),
            "fault": lambda **raw: self.faults.add(Fault.from_dict(raw)),
            "clear_faults": self.faults.clear,
        }
        return own[name](**params) if name in own else self.venue.control(name, params)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    # server_close() must not wait for connections that hang on purpose.
    block_on_close = False
    request_queue_size = 128
    loopback: LoopbackServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is what many tests are about; anything else is logged."""
        log.debug("loopback: a connection ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write per answer; without this the second packet of an answer would wait for 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120
    server: _Http

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _serve(self) -> None:
        loopback = self.server.loopback
        length = int(self.headers.get("Content-Length") or 0)
        url = urlsplit(self.path)
        body = self.rfile.read(length).decode()
        request = Request(self.command, url.path, url.query, dict(self.headers.items()), body)
        if url.path.startswith(CONTROL):
            self._control(url.path.removeprefix(CONTROL), body)
            return
        endpoint = loopback.venue.endpoint(request)
        entry = loopback.log.begin(self.command, endpoint)
        fault = loopback.faults.take(endpoint) or Fault()
        entry.fault = "" if fault == Fault() else fault.reply.value
        answer = loopback.venue.admit(request, entry)
        if answer is None and fault.delay_s:
            loopback.closing.wait(fault.delay_s)
        if answer is None and fault.is_carried_out:
            answer = loopback.venue.perform(request, entry, fault.invisible_s)
            entry.performed = time.monotonic()
        entry.outcome = "not carried out" if answer is None else answer.outcome
        entry.status = None if answer is None else answer.status
        self._answer(answer or Answer({}), fault)
        entry.answered = time.monotonic()

    def _control(self, name: str, body: str) -> None:
        if self.command != "POST" or self.headers.get("Origin") is not None:
            # Tests have no origin; a browser that sends one shows somebody else's page.
            self._send(b'"A page orders nothing of a venue."', 403)
            return
        try:
            result, status = self.server.loopback.control(name, json.loads(body or "{}")), 200
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            result, status = f"{type(error).__name__}: {error}", 400
        self._send(json.dumps(result, default=str).encode(), status)

    def _answer(self, answer: Answer, fault: Fault) -> None:
        body = _text(answer)
        if fault.reply == Reply.HANG:
            self.server.loopback.closing.wait(fault.hang_s)
            self._cut_off()
        elif fault.reply == Reply.RESET:
            self._head(len(body) + 100, 200, "application/json")
            self.wfile.write(body[: len(body) // 2])
            self._cut_off()
        elif fault.reply == Reply.TRICKLE:
            self._head(len(body), 200, "application/json")
            self._trickle(body)
        elif fault.reply == Reply.TRICKLE_HEAD:
            self._trickle(b"HTTP/1.1 200 OK\r\nX-Patience: " + b"z" * 200)
            self._cut_off()
        elif fault.reply == Reply.HALF:
            self._send(body[: len(body) // 2], 200)
        elif fault.reply == Reply.EMPTY:
            self._send(b"", 200)
        elif fault.reply == Reply.HTML:
            self._send(PAGE, 200, "text/html")
        elif fault.reply == Reply.STATUS:
            self._send(PAGE, fault.status, "text/html")
        elif fault.reply == Reply.ERROR:
            told = self.server.loopback.venue.error(fault.error)
            self._send(_text(told), told.status, headers=told.headers)
        else:
            self._send(body, answer.status, headers=answer.headers)

    def _trickle(self, text: bytes) -> None:
        for byte in text:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.loopback.closing.wait(0.5):
                return

    def _head(self, length: int, status: int, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(
        self, body: bytes, status: int, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(len(body), status, kind, headers)
        self.wfile.write(body)
        self.wfile.flush()

    def _cut_off(self) -> None:
        """End the connection by a reset, as a broken network does."""
        with suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


def _text(answer: Answer) -> bytes:
    return b"" if answer.body is None else json.dumps(answer.body).encode()
