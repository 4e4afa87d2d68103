"""Each thread of the web server keeps its connection to SQLite from one request to the next, for a minute:
to open one takes longer than a short answer does.

What is kept would go on answering out of a file that was deleted, or exchanged for a backup, behind it. So the file is looked
at before each request: an answer comes out of the one that is there.
"""

import os
import threading
import time

from django.core.signals import request_started
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

KEPT_S = 60.0

_opened = threading.local()


def keep_connections() -> None:
    """Begin to keep them, in a process that answers requests."""
    connection_created.connect(_keep, dispatch_uid="tradingops.kept_sqlite.keep")
    request_started.connect(_leave_what_is_gone, dispatch_uid="tradingops.kept_sqlite.leave")


def _keep(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "sqlite":
        # As CONN_MAX_AGE does, but for these threads alone: commands and workers have no requests before which to look.
        connection.close_at = time.monotonic() + KEPT_S
        # After an error Django asks whether it may be kept on, and believes of SQLite that it always may: of a broken disk, too.
        setattr(connection, "is_usable", _is_never_usable)  # noqa: B010  (a method of its own)
        _opened.file = _file_of(connection)


def _is_never_usable() -> bool:
    return False


def _leave_what_is_gone(**_: object) -> None:
    for connection in connections.all(initialized_only=True):
        is_open = connection.vendor == "sqlite" and connection.connection is not None
        if is_open and _file_of(connection) != getattr(_opened, "file", None):
            connection.close()


def _file_of(connection: BaseDatabaseWrapper) -> tuple[int, int] | None:
    """Return which file stands at the path of a database, None where none does."""
    try:
        found = os.stat(connection.settings_dict["NAME"])
    except OSError:
        return None
    return found.st_dev, found.st_ino
