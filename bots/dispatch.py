"""The lines to the venues: a few threads that carry what ticks decided, so that a slow venue delays nobody's tick.

A bot has one errand under way at a time; one that finds no line free is not kept: the bot's next tick decides anew.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections

from bots.workers.leases import LeaseLost

log = logging.getLogger(__name__)

LINES_MAX = 8
Errand = Callable[[], object]


class Lines:
    """Threads of this process that talk to venues, one for each errand."""

    def __init__(self, lines_max: int = LINES_MAX) -> None:
        self._lines_max = lines_max
        self._lock = threading.Lock()
        self._under_way: dict[int, threading.Thread] = {}

    def send(self, bot_id: int, errand: Errand) -> bool:
        """Carry out ``errand`` for a bot, or return False when it has one under way, or no line is free."""
        with self._lock:
            if bot_id in self._under_way or len(self._under_way) >= self._lines_max:
                return False
            line = threading.Thread(target=self._carry_out, args=(bot_id, errand), name=f"venue of bot {bot_id}")
            # Under the lock: the thread takes itself out, and one that could not start must not stay in for ever.
            line.start()
            self._under_way[bot_id] = line
        return True

    def is_busy(self, bot_id: int) -> bool:
        """Return whether the bot has an errand under way."""
        with self._lock:
            return bot_id in self._under_way

    def settle(self, timeout_s: float) -> bool:
        """Wait until nothing is under way, at most ``timeout_s``; return whether that was reached."""
        until_s = time.monotonic() + timeout_s
        with self._lock:
            waiting = list(self._under_way.values())
        for line in waiting:
            line.join(max(0.0, until_s - time.monotonic()))
        return not any(line.is_alive() for line in waiting)

    def _carry_out(self, bot_id: int, errand: Errand) -> None:
        try:
            errand()
        except LeaseLost as lost:
            log.warning("bot %s: nothing sent: %s", bot_id, lost)
        except (DatabaseError, InterfaceError) as error:
            # What was sent before is SUBMITTING in the database, and the sweep asks the venue for it.
            log.warning("bot %s: database: %s", bot_id, error)
        except Exception:  # whatever it was, the thread ends here, and the bot's next tick decides anew
            log.exception("bot %s: its errand to the venue failed", bot_id)
        finally:
            connections.close_all()
            with self._lock:
                self._under_way.pop(bot_id, None)


#: This process's lines.
lines = Lines()
