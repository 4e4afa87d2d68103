"""The page's server: shows the venues, and carries out what is pressed. It answers this page's own forms only."""

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.loopback.rehearsal.acts import ActError, Acts
from tests.loopback.rehearsal.drift import Drift
from tests.loopback.rehearsal.page import render
from tests.loopback.rehearsal.venues import Venues

log = logging.getLogger(__name__)
NOT_HERE = b"Open this page by the address that the rehearsal printed."
BODY_BYTES_MAX = 10_000
TOLD_CHARS_MAX = 1_000


class Desk:
    """The page on a port of its own. Raises OSError when the port is in use."""

    def __init__(self, venues: Venues, drift: Drift, address: tuple[str, int], console_url: str) -> None:
        self.venues, self.drift, self.console_url = venues, drift, console_url
        self.acts = Acts(venues, drift)
        self._http = _Http(address, _Handler)
        self._http.desk = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="desk", daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    desk: Desk


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Http

    def do_GET(self) -> None:
        if not self._is_meant():
            self._send(403, NOT_HERE, "text/plain")
            return
        url = urlsplit(self.path)
        if url.path != "/":
            self._send(404, b"There is no such page.", "text/plain")
            return
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        desk = self.server.desk
        text = render(
            desk.venues,
            desk.drift,
            desk.console_url,
            told=query.get("told", "")[:TOLD_CHARS_MAX],
            is_bad="bad" in query,
            follow="follow" in query,
        )
        self._send(200, text.encode(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            self._send(413, b"Too long.", "text/plain")
            return
        body = self.rfile.read(length).decode()
        # A page of somebody else must not press buttons here.
        is_own = self.headers.get("Origin") in (None, f"http://{self.headers.get('Host')}")
        if not (is_own and self._is_meant()):
            self._send(403, b"This form belongs to another page.", "text/plain")
            return
        form = {name: values[-1] for name, values in parse_qs(body).items()}
        bad = ""
        try:
            told = self.server.desk.acts.do(urlsplit(self.path).path.removeprefix("/"), form)
        except ActError as error:
            told, bad = str(error), "&bad=1"
        self.send_response(303)
        self.send_header("Location", f"/?told={quote(told[:TOLD_CHARS_MAX])}{bad}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_meant(self) -> bool:
        """Return whether the page was asked for by an address: a name may be another site's that was made to lead here."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        try:
            return name == "localhost" or bool(ip_address(name))
        except ValueError:
            return False

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
        self.end_headers()
        self.wfile.write(body)
