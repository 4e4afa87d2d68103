"""One HTTP request, sent once: no redirect, no proxy of the environment, and an end to the whole exchange.

``timeout`` of requests holds for a single wait. A server that sends a byte now and then, of its headers or of its answer, could
keep a request for ever; so here every read ends at the same moment, and nothing is sent once that has come.
"""

import http.client
import socket
import time
from contextvars import ContextVar
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bots.instant import Instant

#: How long the connection itself may take. A request that never connected was surely not sent.
CONNECT_MS_MAX = 2_000
ANSWER_BYTES_MAX = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
#: When this thread's request has to be over, on the monotonic clock; and when it began, and how long it may take.
_give_up_at: ContextVar[float] = ContextVar("give_up_at")
_may_take: ContextVar[tuple[Instant, float]] = ContextVar("may_take")


class OneShotSession(requests.Session):
    """A session that sends each request once: it follows no redirect, and gives up on an answer that trickles in."""

    def __init__(self) -> None:
        super().__init__()
        # No proxy and no password file of this machine may come between a key and its venue.
        self.trust_env = False
        self.mount("http://", _BoundedAdapter())
        self.mount("https://", _BoundedAdapter())

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request. ``timeout``, in seconds, holds for the whole exchange, from the connection to the last byte."""
        timeout_s = kwargs.pop("timeout")
        began = Instant()
        give_up_at = began.monotonic_s + timeout_s
        connect_s = min(timeout_s, CONNECT_MS_MAX / 1000)
        kwargs |= {"allow_redirects": False, "stream": True, "timeout": (connect_s, timeout_s)}
        tokens = _give_up_at.set(give_up_at), _may_take.set((began, timeout_s))
        try:
            response = super().request(method, url, *args, **kwargs)
        finally:
            _give_up_at.reset(tokens[0])
            _may_take.reset(tokens[1])
        try:
            response._content = _read(response.raw, give_up_at)
        except urllib3.exceptions.HTTPError as error:
            response.close()
            raise requests.exceptions.ConnectionError(str(error)) from error
        return response


class _BoundedSocket(socket.SocketIO):
    """A connection as one answer reads it: however many waits that takes, the last of them ends at ``give_up_at``."""

    give_up_at: float

    def readinto(self, buffer: Any) -> int | None:
        left_s = self.give_up_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left_s)  # type: ignore[attr-defined]
        return super().readinto(buffer)


class _BoundedResponse(http.client.HTTPResponse):
    """An answer whose headers and body are read by a bounded connection."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # What sock.makefile() made, with its count of who still reads: only how long it waits is ours.
        reads = cast("_BoundedSocket", cast("Any", self.fp).raw)
        reads.__class__ = _BoundedSocket
        reads.give_up_at = _give_up_at.get()


def _check_connected_in_time() -> None:
    """Return quietly while a request may still be sent. Raises ConnectTimeoutError: names and addresses may take longer.

    By both clocks: a machine that slept meanwhile must not send the order of hours ago.
    """
    began, timeout_s = _may_take.get()
    if began.elapsed_s() > timeout_s:
        raise urllib3.exceptions.ConnectTimeoutError("the connection came too late: nothing was sent")


class _Connection(HTTPConnection):
    response_class = _BoundedResponse

    def connect(self) -> None:
        super().connect()
        _check_connected_in_time()


class _SecureConnection(HTTPSConnection):
    response_class = _BoundedResponse

    def connect(self) -> None:
        super().connect()
        _check_connected_in_time()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def _read(raw: Any, give_up_at: float) -> bytes:
    """Return a whole body. ``read1`` gives what has come: anything else would wait for a full buffer, byte by byte."""
    body = bytearray()
    while chunk := raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if time.monotonic() > give_up_at or len(body) > ANSWER_BYTES_MAX:
            raise urllib3.exceptions.HTTPError("the answer took too long or was too large")
    return bytes(body)
