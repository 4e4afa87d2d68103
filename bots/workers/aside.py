"""Work that may wait for a network, beside the chores, so that it delays none of them: one thread for each name."""

import logging
import threading
from collections.abc import Callable

from django.db import connections

log = logging.getLogger(__name__)


class Aside:
    """Threads of this process, one for each name. They end with the process: what they do must survive that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Thread] = {}

    def start(self, name: str, work: Callable[[], object]) -> bool:
        """Do ``work`` in a thread, or return False while the last one of this name is still at it."""
        with self._lock:
            if name in self._under_way:
                return False
            thread = threading.Thread(target=self._do, args=(name, work), name=f"aside: {name}", daemon=True)
            # Under the lock: the thread takes itself out, and one that could not start must not stay in for ever.
            thread.start()
            self._under_way[name] = thread
        return True

    def settle(self, timeout_s: float) -> bool:
        """Wait until nothing is under way, at most ``timeout_s`` for each; return whether that was reached."""
        with self._lock:
            waiting = list(self._under_way.values())
        for thread in waiting:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in waiting)

    def _do(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:  # a thread has nobody to raise to; the work is tried again when it is due
            log.exception("%s failed", name)
        finally:
            connections.close_all()
            with self._lock:
                self._under_way.pop(name, None)


#: This process's threads.
aside = Aside()
