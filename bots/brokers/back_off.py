"""Standing back: nothing is asked for a while after a venue wanted fewer requests, or did not accept the key."""

import logging
import time
from datetime import timedelta

from django.db import Error

from bots.brokers import access
from bots.brokers.budget import Purpose
from bots.brokers.outcomes import CallFailed, Failure, Kind

log = logging.getLogger(__name__)

#: How long nothing is asked after such an answer, in seconds. A kill switch's cancel is tried sooner.
BACK_OFF_S = {Kind.RATE: 5, Kind.KEY: 30}
#: A key that is refused takes no cancel either: to try each second would only be noise at the venue.
URGENT_BACK_OFF_S = {Kind.RATE: 0, Kind.KEY: 5}
#: How long a request waits for room under the limit, in ms. A new entry does not: the next tick judges the market anew.
WAIT_MS_MAX = {
    Purpose.CANCELS: 3_000,
    Purpose.EXITS: 3_000,
    Purpose.ORDERS: 1_000,
    Purpose.LOOK_UPS: 1_000,
    Purpose.BACKGROUND: 500,
}
#: Whether a key is locked out is read so often, in seconds; and so often one request that can't wait is tried all the same.
LOCKOUT_READ_S = 5
PRESSING_EVERY = timedelta(minutes=2)
PRESSING = (Purpose.CANCELS, Purpose.EXITS)
#: What one round of background questions counts at most: open orders, balances, and the three histories.
ROUND_UNITS = 7


class BackOff:
    """What one process remembers of an account's refusals. Threads may share one."""

    def __init__(self, account: str, *, locks_out: bool = False) -> None:
        self._account = account
        #: Whether the venue locks keys out: then what other processes were told is read, too.
        self._locks_out = locks_out
        self._since_ns = 0
        self._failure = Failure(Kind.NOT_SENT, "")
        self._rests_until_ms = 0
        self._lockout: access.Lockout | None = None
        self._lockout_read_ns = self._pressed_ns = 0

    def check(self, purpose: Purpose, *, urgent: bool = False) -> None:
        """Return quietly when the venue may be asked. Raises CallFailed."""
        rests_ms = self._rests_until_ms - monotonic_ms()
        if purpose == Purpose.BACKGROUND and rests_ms > 0:
            raise held_back("the venue's limit on requests", rests_ms)
        self._check_lockout(purpose)
        failure = self._failure
        waits_s = (URGENT_BACK_OFF_S if urgent else BACK_OFF_S).get(failure.kind, 0)
        if self._since_ns and time.monotonic_ns() < self._since_ns + waits_s * 10**9:
            raise CallFailed(
                Failure(failure.kind, f"{failure.reason}; it is not asked again for a while", is_local=True)
            )

    def answered(self) -> None:
        """Note that the venue has answered with what was asked: a key that was locked out is not any more."""
        if self._lockout is not None:
            self._lockout, self._lockout_read_ns = None, 0
            access.end_lockout(self._account)

    def _check_lockout(self, purpose: Purpose) -> None:
        """Return quietly unless the key is locked out, as any process was told. Raises CallFailed."""
        if not self._locks_out:
            return
        now_ns, every_ns = time.monotonic_ns(), PRESSING_EVERY // timedelta(microseconds=1) * 1_000
        if not self._lockout_read_ns or now_ns - self._lockout_read_ns > LOCKOUT_READ_S * 10**9:
            try:
                self._lockout, self._lockout_read_ns = access.lockout_of(self._account), now_ns
            except Error:
                # The budget asks the database, too, and lets nothing out while it is away.
                log.exception("whether %s is locked out could not be read", self._account)
        lockout = self._lockout
        if lockout is None:
            return
        # One of them, also when it comes to no answer at all.
        was_pressed = bool(self._pressed_ns) and now_ns - self._pressed_ns < every_ns
        if purpose in PRESSING and not was_pressed and lockout.at - lockout.told_at >= PRESSING_EVERY:
            self._pressed_ns = now_ns
            return
        reason = f"the venue locked the API key out; nothing is asked before about {lockout.until:%H:%M} UTC"
        raise CallFailed(Failure(Kind.LOCKOUT, reason, is_local=True))

    def rest(self, purpose: Purpose, wait_ms: int, ms_per_unit: int) -> None:
        """Let background questions rest once there was no room for one of them, until there is room for a whole round.

        A round that is cut off is begun anew: without this, what it asked before would use up all the room, again and again.
        """
        if purpose == Purpose.BACKGROUND:
            self._rests_until_ms = monotonic_ms() + wait_ms + ROUND_UNITS * ms_per_unit

    def note(self, failure: Failure, *, is_narrow: bool = False) -> None:
        """Keep what a refusal means for what follows. One that ``is_narrow`` holds for a symbol only: the rest goes on."""
        if failure.is_local:
            return
        access.note(self._account, failure)
        if failure.kind == Kind.LOCKOUT:
            self._lockout_read_ns = 0
        if failure.kind in BACK_OFF_S and not is_narrow:
            self._since_ns, self._failure = time.monotonic_ns(), failure


def monotonic_ms() -> int:
    """Return the monotonic clock's time."""
    return time.monotonic_ns() // 1_000_000


def waits_until(purpose: Purpose, *, is_order: bool, urgent: bool = False) -> int:
    """Return until when a request waits for room, on the monotonic clock in ms.

    An ``urgent`` one never does: a cancel leaves in any case, and while its look-up waited the next cancel would wait, too.
    """
    is_entry = is_order and purpose == Purpose.ORDERS
    return monotonic_ms() + (0 if is_entry or urgent else WAIT_MS_MAX[purpose])


def held_back(whose: str, wait_ms: int) -> CallFailed:
    """Return the error for what is not asked, since the venue would soon refuse it and everything after it."""
    reason = f"we hold back: {whose} has no room for this for {-(-wait_ms // 1000)} s"
    return CallFailed(Failure(Kind.RATE, reason, is_local=True))


def not_sent(reason: str) -> CallFailed:
    """Return the error for what did not leave for a reason of ours."""
    return CallFailed(Failure(Kind.NOT_SENT, reason, is_local=True))
