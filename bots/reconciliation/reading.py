"""Reading an account's history: each list part after part, carried out, counted and kept, over as many rounds as it takes."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from bots.brokers.base import VenueBroker
from bots.brokers.parts import Stretch
from bots.models import Account, AccountSync
from bots.reconciliation import history, orders, passes
from bots.reconciliation.passes import Pass, Step
from bots.reconciliation.turns import Turn

#: One round reads so many parts at most; its time and the venue's limit end it long before.
PARTS_MAX = 100


@dataclass(slots=True)
class Reader:
    """What one round reads of one account's history, with what it has found."""

    account: Account
    broker: VenueBroker
    turn: Turn
    found: Counter[str] = field(default_factory=Counter)

    def read(self) -> bool:
        """Go on with the pass that earlier rounds left, or read what came since. Return whether all was read until now.

        Raises VenueError, MarketDataError and TurnLost; what was read before stands.
        """
        sync = self._sync()
        left, is_long = passes.under_way(sync), sync.reading_since is not None
        if left is not None:
            if not self._go_through(left, is_first=True):
                return False
            if is_long:
                # What came in meanwhile has to be read within one round before a figure is judged. What is left of the limit now
                # would read a part of that only, in each round anew, for ever: the next round has room for all of it.
                return False
        return self._go_through(passes.begin(self._sync(), timezone.now()), is_first=left is None and not is_long)

    def _go_through(self, read: Pass, *, is_first: bool) -> bool:
        """Read on in a pass as far as time and the venue's limit go, and return whether its end was reached."""
        for _ in range(PARTS_MAX):
            stretch = Stretch(read.since, read.until, read.place, self._has_time, is_first=is_first and read.is_new)
            after = self._read_part(read, stretch)
            if after is None or after == read:
                return False
            self.found["movements"] += history.keep(self.turn, after)
            if after.step == Step.DONE:
                return True
            read = after
        return False

    def _orders(self, read: Pass, stretch: Stretch) -> Pass | None:
        part = self.broker.ended_orders(stretch)
        self.found += orders.carry_out(self.account, part.rows, self.broker, self.turn, asked_at=timezone.now())
        if history.waits_for_orders(self.account, part.rows, _tried_since(read)):
            return None
        return read.after(part)

    def _fills(self, read: Pass, stretch: Stretch) -> Pass | None:
        part = self.broker.fills(stretch)
        now = timezone.now()
        found = history.sort(self.account, part.rows, now)
        self.found += orders.look_up_all(found.look_up, self.broker, self.turn)
        if history.waits_for_fills(self.account, part.rows, now, _tried_since(read)):
            return None
        moved = history.valued(self.account, found.external, (), now)
        self.found["movements"] += history.count(self.turn, moved)
        return history.left_open(self.account, read, part.rows, now).after(part)

    def _transfers(self, read: Pass, stretch: Stretch) -> Pass | None:
        part = self.broker.transfers(stretch)
        moved = history.valued(self.account, (), part.rows, timezone.now())
        self.found["movements"] += history.count(self.turn, moved)
        return read.after(part)

    def _read_part(self, read: Pass, stretch: Stretch) -> Pass | None:
        """Read and carry out the next part, and return the pass after it; None when it has to wait for the next round."""
        if read.step == Step.ORDERS:
            return self._orders(read, stretch)
        return self._fills(read, stretch) if read.step == Step.FILLS else self._transfers(read, stretch)

    def _has_time(self) -> bool:
        return self.turn.has_time

    def _sync(self) -> AccountSync:
        return AccountSync.objects.get(account=self.account)


def _tried_since(read: Pass) -> datetime:
    """Return since when a look-up of an order counts as made for this pass: it is not repeated at once."""
    return read.until - orders.LOOK_UP_EVERY
