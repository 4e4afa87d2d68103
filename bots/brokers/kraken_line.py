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

from bots.brokers.back_off import BackOff, held_back, monotonic_ms, not_sent, waits_until
from bots.brokers.budget import Purpose, purpose_now
from bots.brokers.kraken_budget import EngineCall, KrakenBudget
from bots.brokers.kraken_client import KrakenClient, check_secret
from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.brokers.signer import Signer, SignerBusy

log = logging.getLogger(__name__)

#: How Kraken's engine, which counts for one symbol, begins its own refusals.
ENGINES = "EOrder:"


class KrakenLine:
    """The private line of one key. Threads may share one."""

    def __init__(self, client: KrakenClient, account: str, key: str, secret: str) -> None:
        self._client = client
        self._secret = secret
        self._signer = Signer(key)
        self._budget = KrakenBudget(account)
        self._back_off = BackOff(account, locks_out=True)

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
        purpose = Purpose.CANCELS if urgent else purpose_now()
        self._back_off.check(purpose, urgent=urgent)
        waits_until_ms = waits_until(purpose, is_order=engine is not None, urgent=urgent)
        try:
            while True:
                with self._signer.turn(deadline, urgent=urgent) as nonce:
                    _left_ms(deadline, last_call)
                    wait_ms = self._budget.take(method, purpose, engine)
                    if not wait_ms:
                        # Once more: the database may have kept us waiting.
                        left_ms = _left_ms(deadline, last_call)
                        answer = self._client.private(method, params, nonce=nonce, timeout_ms=left_ms)
                        self._back_off.answered()
                        return answer
                if monotonic_ms() + wait_ms > waits_until_ms:
                    self._budget.note_held_back(engine)
                    self._back_off.rest(purpose, wait_ms, self._budget.tier().requests.ms_per_unit)
                    what = "requests" if engine is None else f"orders in {engine.symbol}"
                    raise held_back(f"Kraken's limit on {what}", wait_ms)
                time.sleep(wait_ms / 1000)
        except CallFailed as failed:
            self._note(failed.failure, engine)
            raise
        except SignerBusy as busy:
            raise not_sent(f"it got no turn to use the key ({busy}): nothing was sent") from busy
        except DatabaseError as error:
            # The request itself asks no database: it has not left.
            why = f"the database could not say whether Kraken's limit has room ({type(error).__name__})"
            raise not_sent(why) from error

    def has_room(self, method: str, *, share_pct: int) -> bool:
        """Return whether a request fits now into so much of the key's limit. Raises CallFailed."""
        try:
            return self._budget.has_room(method, share_pct=share_pct)
        except DatabaseError as error:
            why = f"the database could not say whether Kraken's limit has room ({type(error).__name__})"
            raise not_sent(why) from error

    def _note(self, failure: Failure, engine: EngineCall | None) -> None:
        """Keep what a refusal means for the requests that follow. Our own "no" means nothing new."""
        is_engines = failure.kind == Kind.RATE and engine is not None and ENGINES in failure.reason
        self._back_off.note(failure, is_narrow=is_engines)
        if failure.kind == Kind.RATE and not failure.is_local:
            try:
                self._budget.refused(engine if is_engines else None)
            except DatabaseError:
                log.exception("that Kraken's limit is reached could not be kept")


def _left_ms(deadline: datetime, last_call: datetime | None) -> int:
    """Return how long the answer may take. Raises CallFailed when it is too late to ask."""
    now = timezone.now()
    left_ms = (deadline - now) // timedelta(milliseconds=1)
    if left_ms <= 0 or (last_call is not None and now > last_call):
        raise not_sent("its turn came too late: nothing was sent")
    return left_ms
