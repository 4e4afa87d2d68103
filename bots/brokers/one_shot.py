"""One HTTP request, sent once: no redirect, no proxy of the environment, and an end to the answer as a whole."""

import time
from typing import Any

import requests
import urllib3

#: How long the connection itself may take. A request that never connected was surely not sent.
CONNECT_MS_MAX = 2_000
ANSWER_BYTES_MAX = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


class OneShotSession(requests.Session):
    """A session that sends each request once: it follows no redirect, and gives up on an answer that trickles in."""

    def __init__(self) -> None:
        super().__init__()
        # No proxy and no password file of this machine may come between a key and its venue.
        self.trust_env = False

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request. ``timeout``, in seconds, holds for the whole answer."""
        timeout_s = kwargs.pop("timeout")
        give_up_at = time.monotonic() + timeout_s
        connect_s = min(timeout_s, CONNECT_MS_MAX / 1000)
        kwargs |= {"allow_redirects": False, "stream": True, "timeout": (connect_s, timeout_s)}
        response = super().request(method, url, *args, **kwargs)
        try:
            response._content = _read(response.raw, give_up_at)
        except urllib3.exceptions.HTTPError as error:
            response.close()
            raise requests.exceptions.ConnectionError(str(error)) from error
        return response


def _read(raw: Any, give_up_at: float) -> bytes:
    """Return a whole body. ``read1`` gives what has come: anything else would wait for a full buffer, byte by byte."""
    body = bytearray()
    while chunk := raw.read1(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if time.monotonic() > give_up_at or len(body) > ANSWER_BYTES_MAX:
            raise urllib3.exceptions.HTTPError("the answer took too long or was too large")
    return bytes(body)
