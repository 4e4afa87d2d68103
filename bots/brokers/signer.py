"""One signer per venue key: requests that need a nonce go one at a time, across threads, processes and hosts.

A row per key says whose turn it is and until when, and holds the last nonce. The turn is taken by a conditional update, whose row
count decides, and no transaction is open while the request is under way. A turn outlives its request's deadline; a process that
froze beyond it finds its nonce refused by the venue, since the next turn's is higher. A kill switch's cancels go first. The turn
of a process of this host that was killed is taken over: what it had sent was there before, or is refused by the venue.

A clock that jumps holds nobody up: a turn that was given back is free whatever the time, and one that would last longer than any
can was written before the clock was set back.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import DatabaseError, connection
from django.db.models import F, Q, Value
from django.db.models.fields import BigIntegerField
from django.db.models.functions import Greatest
from django.utils import timezone

from bots.brokers.turn_holder import is_gone, new_holder
from bots.models import NonceKey
from bots.models.rate_budget import LONG_AGO
from bots.workers.database_time import database_time

log = logging.getLogger(__name__)

#: How much longer a turn lasts than its request has time for.
GRACE_S = 2
POLL_MS = 10
#: How long a process leaves the key alone after its own turn, so that those which poll for it get theirs too.
COURTESY_MS = 25
#: How long others stand back after an urgent request last asked for its turn.
URGENT_FOR_S = 1
#: No turn lasts longer, whatever the deadline.
TURN_S_MAX = 60
#: How often somebody who waits looks whether the process that holds the turn is gone.
LOOK_EVERY_MS = 250
#: Hosts' clocks and the database's differ by less, in seconds.
CLOCK_JUMP_S = 5


class SignerBusy(Exception):
    """There was no turn in time: others are using the key, or the database cannot say. Nothing was sent."""


class OpenTransactionError(RuntimeError):
    """A venue was to be asked inside a transaction, whose locks would be held over the network. Nothing was sent."""


class Signer:
    """The turns of one key. Threads of a process queue up here, so that only one of them at a time asks the database."""

    def __init__(self, key: str) -> None:
        self.name = hashlib.sha256(f"tradingops nonce {key}".encode()).hexdigest()
        self._changed = threading.Condition()
        self._is_taken = False
        self._urgent_waiting = 0
        self._given_back_ns = 0

    @contextmanager
    def turn(self, deadline: datetime, *, urgent: bool = False) -> Iterator[int]:
        """Wait for the turn and give the nonce of one request, which must end by ``deadline`` or soon after.

        Raises SignerBusy when the turn does not come by then, OpenTransactionError inside a transaction.
        """
        # The transaction that Django's own test case rolls back is not one that anybody waits for.
        if not all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
            raise OpenTransactionError("a venue can't be asked inside a transaction")
        holder = new_holder()
        if urgent:
            # Before it queues up here, so that no other process takes the turn that ends meanwhile.
            self._ask_others_to_wait()
        while True:
            with self._at_the_head(deadline, urgent):
                nonce = self._claim(holder, deadline, urgent)
                if nonce is not None:
                    try:
                        yield nonce
                    finally:
                        self._give_back(holder)
                        self._given_back_ns = time.monotonic_ns()
                    return

    @contextmanager
    def _at_the_head(self, deadline: datetime, urgent: bool) -> Iterator[None]:
        with self._changed:
            self._urgent_waiting += urgent
            try:
                if not self._changed.wait_for(lambda: self._may_go(urgent), _seconds_until(deadline)):
                    raise SignerBusy("other requests of this process were first")
            finally:
                self._urgent_waiting -= urgent
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def _may_go(self, urgent: bool) -> bool:
        return not self._is_taken and (urgent or not self._urgent_waiting)

    def _claim(self, holder: str, deadline: datetime, urgent: bool) -> int | None:
        """Return the nonce of the turn, once the row says that it is ours; None to let an urgent request go first."""
        since_ms = (time.monotonic_ns() - self._given_back_ns) // 10**6
        if not urgent and since_ms < COURTESY_MS:
            time.sleep((COURTESY_MS - since_ms) / 1000)
        looked_at_ns = time.monotonic_ns()
        while urgent or not self._urgent_waiting:
            left_s = _seconds_until(deadline)
            if left_s <= 0:
                raise SignerBusy("other requests with this key were first")
            try:
                if time.monotonic_ns() - looked_at_ns > LOOK_EVERY_MS * 10**6:
                    looked_at_ns = time.monotonic_ns()
                    self._free_if_gone()
                nonce = self._try_claim(holder, left_s, urgent)
            except DatabaseError as error:
                raise SignerBusy(f"the database could not give a turn ({type(error).__name__})") from error
            if nonce is not None:
                return nonce
            time.sleep(POLL_MS / 1000)
        return None

    def _try_claim(self, holder: str, left_s: float, urgent: bool) -> int | None:
        rows = NonceKey.objects.filter(name=self.name)
        free = rows.filter(_is_over("expires_at", TURN_S_MAX + GRACE_S))
        if urgent:
            # Whether the turn comes at once or not: more cancels may follow, and none should wait for a question in between.
            rows.update(urgent_until=database_time(URGENT_FOR_S))
        else:
            free = free.filter(Q(urgent_until__isnull=True) | _is_over("urgent_until", URGENT_FOR_S))
        now_us = Value(time.time_ns() // 1000, output_field=BigIntegerField())
        taken = free.update(
            holder=holder,
            expires_at=database_time(min(left_s, TURN_S_MAX) + GRACE_S),
            # A clock that was set back must not bring back a nonce that was used.
            nonce=Greatest(F("nonce") + 1, now_us),
        )
        if taken:
            return rows.filter(holder=holder).values_list("nonce", flat=True).first()
        if not rows.exists():
            NonceKey.objects.bulk_create([NonceKey(name=self.name, expires_at=LONG_AGO)], ignore_conflicts=True)
        return None

    def _free_if_gone(self) -> None:
        """End the turn of a process of this host that runs no more."""
        holder = NonceKey.objects.filter(name=self.name).values_list("holder", flat=True).first()
        if holder and is_gone(holder):
            self._end_turn(holder)

    def _ask_others_to_wait(self) -> None:
        try:
            NonceKey.objects.filter(name=self.name).update(urgent_until=database_time(URGENT_FOR_S))
        except DatabaseError as error:
            raise SignerBusy(f"the database could not give a turn ({type(error).__name__})") from error

    def _give_back(self, holder: str) -> None:
        try:
            self._end_turn(holder)
        except DatabaseError:
            # The answer that was fetched in this turn counts for more; the turn ends by itself.
            log.warning("the turn of a venue key could not be given back; it ends by itself", exc_info=True)

    def _end_turn(self, holder: str) -> None:
        NonceKey.objects.filter(name=self.name, holder=holder).update(holder="", expires_at=LONG_AGO)


def _is_over(name: str, lasts_s_max: float) -> Q:
    """Return whether the moment in a column has passed. One further ahead than any can be: the clock was set back since."""
    return Q(**{f"{name}__lte": database_time()}) | Q(**{f"{name}__gt": database_time(lasts_s_max + CLOCK_JUMP_S)})


def _seconds_until(moment: datetime) -> float:
    return (moment - timezone.now()).total_seconds()
