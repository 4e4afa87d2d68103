"""The web server's worker: gunicorn's with threads, but no client holds one of them by sending slowly.

A request that has begun to arrive occupies a thread until it is there. Somebody who needs no token to send half of one, in as
many connections as there are threads, would keep the kill switch waiting for ever.
"""

import socket
import threading
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: From a connection's turn until its whole request is here. The largest that the console takes is some 64 KiB.
READ_WITHIN_S = 10.0


class BoundedWorker(ThreadWorker):  # type: ignore[misc]
    """Stops reading from a connection whose request has not come in time; what was sent so far then ends there.

    A request that is here by then is not touched, however long its answer takes: there is nothing more to read from it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()
        self._ends_s: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """Answer one request; called in a thread of the pool."""
        with self._lock:
            self._ends_s[conn] = time.monotonic() + READ_WITHIN_S
        try:
            return super().handle(conn)
        finally:
            # Under the lock: a connection that is done is closed afterwards, and its number may be another's then.
            with self._lock:
                self._ends_s.pop(conn, None)

    def murder_pending(self) -> None:
        """Close what waits too long; gunicorn's main loop calls this at least once a second."""
        super().murder_pending()
        now_s = time.monotonic()
        with self._lock:
            for conn in [one for one, ends_s in self._ends_s.items() if ends_s <= now_s]:
                del self._ends_s[conn]
                # It may have gone by itself.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)
