"""What Alpaca counts: 200 requests in a minute, of each account; its answers say how many are left."""

import logging
import os
import threading
import time
from collections import deque

from django.db import DatabaseError

from bots.brokers import budget
from bots.brokers.back_off import held_back, monotonic_ms, not_sent, waits_until
from bots.brokers.budget import Limit, Purpose

log = logging.getLogger(__name__)

#: In any minute a full counter and what falls off it meanwhile come to 200 together, wherever Alpaca's own minute begins.
LIMIT = Limit(100, 600)
#: What Alpaca says is left is written down from here on; until then our own count is as good.
LEFT_NOTED = 50
MINUTE_S = 60
#: What this process's market data asked of an account's own host, and nobody counted yet: when each left, on the monotonic clock.
_uncounted: dict[str, deque[float]] = {}
_lock = threading.Lock()


def note_asked(account: str) -> None:
    """Remember a question of the market data at the account's host (the clock, the list of stocks), which Alpaca counts, too.

    It is counted with the next request of this process to the account: market data must never wait for the database.
    """
    with _lock:
        _uncounted.setdefault(account, deque(maxlen=LIMIT.size)).append(time.monotonic())


def forget_asked() -> None:
    """Forget what was asked and not counted: a process that was forked leaves it to the one that asked. Tests use it, too."""
    global _lock
    _lock = threading.Lock()
    _uncounted.clear()


def _asked_lately(account: str) -> int:
    """Return how many such questions of the last minute were not counted yet; from now on they are."""
    with _lock:
        asked = _uncounted.pop(account, deque())
    return sum(1 for one in asked if time.monotonic() - one < MINUTE_S)


class AlpacaBudget:
    """The budget of one account at Alpaca."""

    def __init__(self, account: str) -> None:
        self.account = account

    def wait_for_room(self, purpose: Purpose, *, is_order: bool, urgent: bool = False) -> None:
        """Count a request that is about to leave, once there is room for it. Raises CallFailed when that takes too long."""
        until_ms = waits_until(purpose, is_order=is_order, urgent=urgent)
        try:
            self._count_market_data()
            while wait_ms := budget.take(self.account, "", LIMIT, 1, purpose):
                if monotonic_ms() + wait_ms > until_ms:
                    budget.note_held_back(self.account, "")
                    raise held_back("Alpaca's limit on requests", wait_ms)
                time.sleep(wait_ms / 1000)
        except DatabaseError as error:
            why = f"the database could not say whether Alpaca's limit has room ({type(error).__name__})"
            raise not_sent(why) from error

    def has_room(self, *, share_pct: int) -> bool:
        """Return whether one more request fits now into so much of the limit. Raises CallFailed."""
        try:
            return budget.has_room(self.account, "", LIMIT, 1, share_pct=share_pct)
        except DatabaseError as error:
            why = f"the database could not say whether Alpaca's limit has room ({type(error).__name__})"
            raise not_sent(why) from error

    def count(self) -> None:
        """Count a request that leaves whatever is left, such as a cancel. A database that is away holds none of them up."""
        try:
            self._count_market_data()
            budget.take(self.account, "", LIMIT, 1, Purpose.CANCELS, always=True)
        except DatabaseError:
            log.exception("a cancel at Alpaca could not be counted")

    def _count_market_data(self) -> None:
        asked = _asked_lately(self.account)
        if asked:
            budget.take(self.account, "", LIMIT, asked, Purpose.BACKGROUND, always=True)

    def answered(self, left: int | None) -> None:
        """Note how many requests the venue says are left, when that is little."""
        if left is None or left >= LEFT_NOTED:
            return
        try:
            budget.correct(self.account, "", LIMIT, left)
        except DatabaseError:
            log.exception("how much is left of Alpaca's limit could not be kept")


os.register_at_fork(after_in_child=forget_asked)
