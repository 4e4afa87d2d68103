"""Standing back: nothing is asked for a while after a venue wanted fewer requests, or did not accept the key."""

import time

from bots.brokers import access
from bots.brokers.budget import Purpose
from bots.brokers.outcomes import CallFailed, Failure, Kind

#: How long nothing is asked after such an answer, in seconds. A kill switch's cancel is tried sooner.
BACK_OFF_S = {Kind.RATE: 5, Kind.KEY: 30}
#: A key that is refused takes no cancel either: to try each second would only be noise at the venue.
URGENT_BACK_OFF_S = {Kind.RATE: 0, Kind.KEY: 5}
#: How long a request waits for room under the limit, in seconds. A new entry does not: the next tick judges the market anew.
WAIT_S_MAX = {
    Purpose.CANCELS: 3.0,
    Purpose.EXITS: 3.0,
    Purpose.ORDERS: 1.0,
    Purpose.LOOK_UPS: 1.0,
    Purpose.BACKGROUND: 0.5,
}
#: What one round of background questions counts at most: open orders, balances, and the three histories.
ROUND_UNITS = 7


class BackOff:
    """What one process remembers of an account's refusals. Threads may share one."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._since_ns = 0
        self._failure = Failure(Kind.NOT_SENT, "")
        self._rests_until_s = 0.0

    def check(self, purpose: Purpose, *, urgent: bool = False) -> None:
        """Return quietly when the venue may be asked. Raises CallFailed."""
        rests_s = self._rests_until_s - time.monotonic()
        if purpose == Purpose.BACKGROUND and rests_s > 0:
            raise held_back("the venue's limit on requests", rests_s)
        failure = self._failure
        waits_s = (URGENT_BACK_OFF_S if urgent else BACK_OFF_S).get(failure.kind, 0)
        if self._since_ns and time.monotonic_ns() < self._since_ns + waits_s * 10**9:
            raise CallFailed(
                Failure(failure.kind, f"{failure.reason}; it is not asked again for a while", is_local=True)
            )

    def rest(self, purpose: Purpose, wait_s: float, per_s: float) -> None:
        """Let background questions rest once there was no room for one of them, until there is room for a whole round.

        A round that is cut off is begun anew: without this, what it asked before would use up all the room, again and again.
        """
        if purpose == Purpose.BACKGROUND:
            self._rests_until_s = time.monotonic() + wait_s + ROUND_UNITS / per_s

    def note(self, failure: Failure, *, is_narrow: bool = False) -> None:
        """Keep what a refusal means for what follows. One that ``is_narrow`` holds for a symbol only: the rest goes on."""
        if failure.is_local:
            return
        access.note(self._account, failure)
        if failure.kind in BACK_OFF_S and not is_narrow:
            self._since_ns, self._failure = time.monotonic_ns(), failure


def waits_until(purpose: Purpose, *, is_order: bool) -> float:
    """Return until when a request waits for room, on the monotonic clock in seconds."""
    is_entry = is_order and purpose == Purpose.ORDERS
    return time.monotonic() + (0.0 if is_entry else WAIT_S_MAX[purpose])


def held_back(whose: str, wait_s: float) -> CallFailed:
    """Return the error for what is not asked, since the venue would soon refuse it and everything after it."""
    reason = f"we hold back: {whose} has no room for this for {wait_s:.0f} s"
    return CallFailed(Failure(Kind.RATE, reason, is_local=True))


def not_sent(reason: str) -> CallFailed:
    """Return the error for what did not leave for a reason of ours."""
    return CallFailed(Failure(Kind.NOT_SENT, reason, is_local=True))
