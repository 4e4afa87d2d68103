"""Carries a latch of this host to the database, so that the other hosts follow."""

import logging
import socket
import time

from django.db import Error, connection

from audit.log import current_unit
from safety import outage
from safety.intents import Level
from safety.kill_switch import engage_rows, tell_engaged
from safety.scopes import GLOBAL
from safety.states import local_latches, read_rows

log = logging.getLogger(__name__)

COPY_EVERY_S = 1.0
ACTORS = {"file": "file latch on {host}", "environment": "KILL_SWITCH on {host}"}


class _Clock:
    """When this process looked last, on the monotonic clock."""

    looked_s = float("-inf")


def copy_to_row() -> bool:
    """Halt in the database what the file or the variable halts on this host; return whether that was done now.

    Costs nothing to call often: it looks once a second, and reads the database only while a latch holds. It writes, with one
    audit row, when the row does not halt already: once for each time that somebody releases it over a latch that still holds.
    What goes wrong is logged: the latch halts this host in any case. Inside a transaction it does nothing.
    """
    if time.monotonic() - _Clock.looked_s < COPY_EVERY_S or current_unit() is not None:
        return False
    _Clock.looked_s = time.monotonic()
    latches = local_latches()
    if not latches:
        return False
    try:
        rows, _ = read_rows()
        if rows[GLOBAL].level == Level.HALTED:
            return False
        actor = ACTORS[latches[0].source].format(host=socket.gethostname())
        run = engage_rows(Level.HALTED, "; ".join(latch.reason for latch in latches), actor=actor)
    except Error as error:
        outage.note_failure(error)
        log.warning("the latch of this host is not in the database yet: %s", error)
        if not connection.in_atomic_block:
            connection.close()
        return False
    tell_engaged(run)
    return True


def look_again() -> None:
    """Let the next ``copy_to_row`` look at once."""
    _Clock.looked_s = float("-inf")
