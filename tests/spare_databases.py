"""Databases on the test server that are ready before a test wants one, and dropped while the next test runs.

PostgreSQL writes out all that it holds when a database is dropped. Nothing of that needs a test to wait for it.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

#: So many may wait to be dropped. Each takes about 12 MB of disk.
DROPPED_LATER_MAX = 10


def on_server(statement: str, *names: str) -> None:
    """Run one statement outside any transaction, on the server's maintenance database."""
    with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
        server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def server_url(database: str) -> str:
    """Return the URL of another database on the test server."""
    return urlunsplit(urlsplit(os.environ["TEST_POSTGRES_URL"])._replace(path=f"/{database}"))


class SpareDatabases:
    """Copies of one template, to which nobody else may be connected. One is always being made ahead."""

    def __init__(self, template: str) -> None:
        self._template = template
        # One of each: two copies of one template at a time would stand in each other's way.
        self._makers, self._droppers = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._may_drop_later = BoundedSemaphore(DROPPED_LATER_MAX)
        self._dropped: list[Future[None]] = []
        self._next: Future[str] | None = None

    def take(self) -> str:
        """Return the name of a database that nobody has used. Raises psycopg.Error."""
        ready = self._next or self._makers.submit(self._make)
        self._next = self._makers.submit(self._make)
        return ready.result()

    def give_back(self, name: str) -> None:
        """Have a database dropped soon. Waits where too many are left to be dropped. Raises what an earlier drop raised."""
        self._look_at_dropped()
        self._may_drop_later.acquire()
        self._dropped.append(self._droppers.submit(self._drop, name))

    def close(self) -> None:
        """Drop whatever is left. Raises psycopg.Error."""
        ahead, self._next = self._next, None
        if ahead is not None:
            self.give_back(ahead.result())
        self._makers.shutdown()
        self._droppers.shutdown()
        self._look_at_dropped()

    def _make(self) -> str:
        name = f"committed_{uuid4().hex}"
        on_server("CREATE DATABASE {} TEMPLATE {}", name, self._template)
        return name

    def _drop(self, name: str) -> None:
        try:
            on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        finally:
            self._may_drop_later.release()

    def _look_at_dropped(self) -> None:
        """Raise what a drop that has ended raised, and forget those that did as they should."""
        ended = [one for one in self._dropped if one.done()]
        self._dropped = [one for one in self._dropped if not one.done()]
        for one in ended:
            one.result()
