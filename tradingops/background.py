"""Work that a page starts and does not wait for: in a thread of the web process, with a database connection of its own."""

import logging
import threading
from collections.abc import Callable

from django.db import connection

log = logging.getLogger(__name__)


def in_background(name: str, work: Callable[[], object]) -> threading.Thread:
    """Do ``work`` in a thread that ends with the process, and return it. What goes wrong is logged."""
    thread = threading.Thread(target=_run, args=(name, work), name=f"page: {name}", daemon=True)
    thread.start()
    return thread


def _run(name: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:  # a thread has nobody to raise to; the page shows what was done by then
        log.exception("%s failed", name)
    finally:
        connection.close()
