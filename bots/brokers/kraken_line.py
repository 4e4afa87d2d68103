"""Private questions to Kraken: each takes a turn of the key's signer and is counted against the rate limit before it leaves.

What can't be asked now fails as our own "no", with nothing sent; what Kraken refuses is kept for the people and for the watch
that stops the venue when its key is refused.
"""

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError
from django.utils import timezone

from bots.brokers import access
from bots.brokers.budget import Purpose, purpose_now
from bots.brokers.kraken_budget import EngineCall, KrakenBudget
from bots.brokers.kraken_client import KrakenClient, check_secret
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.brokers.signer import Signer, SignerBusy

log = logging.getLogger(__name__)

#: How long nothing is asked after such an answer, in seconds. A kill switch's cancel is tried sooner, see URGENT_BACK_OFF_S.
BACK_OFF_S = {Kind.RATE: 5, Kind.KEY: 30}
#: A key that is refused takes no cancel either: trying each second would only be noise at the venue.
URGENT_BACK_OFF_S = {Kind.RATE: 0, Kind.KEY: 5}
#: How long a request waits for room under the limit, in seconds. A new entry does not: the next tick judges the market anew.
WAIT_S_MAX = {
    Purpose.CANCELS: 3.0,
    Purpose.EXITS: 3.0,
    Purpose.ORDERS: 1.0,
    Purpose.LOOK_UPS: 1.0,
    Purpose.BACKGROUND: 0.5,
}
#: What Kraken's engine, which counts for one symbol, calls its own refusals.
ENGINES = "EOrder:"


class KrakenLine:
    """The private line of one key. Threads may share one."""

    def __init__(self, client: KrakenClient, account: str, key: str, secret: str) -> None:
        self._client = client
        self._account = account
        self._secret = secret
        self._signer = Signer(key)
        self._budget = KrakenBudget(account)
        self._back_off = (0, Failure(Kind.NOT_SENT, ""))

    def ask(
        self,
        method: str,
        params: Mapping[str, str],
        deadline: datetime,
        *,
        urgent: bool = False,
        last_call: datetime | None = None,
        engine: EngineCall | None = None,
    ) -> dict[str, Any]:
        """Ask a private endpoint, such as ``post_balanceex``; nothing leaves after ``last_call``. Raises CallFailed.

        ``engine`` says what an order or a cancel counts at Kraken's engine. What the request is for says ``budget.spending``.
        """
        check_secret(self._secret)
        self._refuse_in_back_off(urgent=urgent)
        purpose = Purpose.CANCELS if urgent else purpose_now()
        waits_until_s = time.monotonic() + (0.0 if _is_entry(engine, purpose) else WAIT_S_MAX[purpose])
        try:
            while True:
                with self._signer.turn(deadline, urgent=urgent) as nonce:
                    left_ms = _left_ms(deadline, last_call)
                    wait_s = self._budget.take(method, purpose, engine)
                    if not wait_s:
                        return self._client.private(method, params, nonce=nonce, timeout_ms=left_ms)
                if time.monotonic() + wait_s > waits_until_s:
                    raise self._held_back(wait_s, engine)
                time.sleep(wait_s)
        except CallFailed as failed:
            self._note(failed.failure, engine)
            raise
        except SignerBusy as busy:
            raise _not_sent(f"it got no turn to use the key ({busy}): nothing was sent") from busy
        except DatabaseError as error:
            # The request itself asks no database: it has not left.
            reason = f"the database could not say whether the venue's limit has room ({type(error).__name__})"
            raise _not_sent(reason) from error

    def _refuse_in_back_off(self, *, urgent: bool) -> None:
        """Ask nothing for a while after Kraken wanted fewer requests or refused the key."""
        since_ns, failure = self._back_off
        waits_s = (URGENT_BACK_OFF_S if urgent else BACK_OFF_S).get(failure.kind, 0)
        if since_ns and time.monotonic_ns() < since_ns + waits_s * 10**9:
            raise CallFailed(
                Failure(failure.kind, f"{failure.reason}; it is not asked again for a while", is_local=True)
            )

    def _held_back(self, wait_s: float, engine: EngineCall | None) -> CallFailed:
        """Return the error for what is not asked, since Kraken would soon refuse it and everything after it."""
        self._budget.note_held_back(engine)
        what = "requests" if engine is None else f"orders in {engine.symbol}"
        reason = f"we hold back: Kraken's limit on {what} has no room for this for {wait_s:.0f} s"
        return CallFailed(Failure(Kind.RATE, reason, is_local=True))

    def _note(self, failure: Failure, engine: EngineCall | None) -> None:
        """Keep what a refusal means for the requests that follow. Our own "no" means nothing new."""
        if failure.is_local:
            return
        access.note(self._account, failure)
        is_engines = engine is not None and ENGINES in failure.reason
        if failure.kind in BACK_OFF_S and not (failure.kind == Kind.RATE and is_engines):
            self._back_off = (time.monotonic_ns(), failure)
        if failure.kind == Kind.RATE:
            try:
                self._budget.refused(engine if is_engines else None)
            except DatabaseError:
                log.exception("that Kraken's limit is reached could not be kept")


def _is_entry(engine: EngineCall | None, purpose: Purpose) -> bool:
    return engine is not None and purpose == Purpose.ORDERS


def _left_ms(deadline: datetime, last_call: datetime | None) -> int:
    """Return how long the answer may take. Raises CallFailed when it is too late to ask."""
    now = timezone.now()
    left_ms = (deadline - now) // timedelta(milliseconds=1)
    if left_ms <= 0 or (last_call is not None and now > last_call):
        raise _not_sent("its turn came too late: nothing was sent")
    return left_ms


def _not_sent(reason: str) -> CallFailed:
    return CallFailed(Failure(Kind.NOT_SENT, reason, is_local=True))
