"""CancelAllOrdersAfter: every order of the account is cancelled unless somebody asks again in time. Seconds on the wire."""

import time
from datetime import UTC, datetime
from typing import Any

from tests.loopback.kraken.ledger import Ledger, Refused

TIMEOUT_S_MAX = 86_400
REASON = "Cancelled by CancelAllOrdersAfter"


class DeadMan:
    """The switch of one account: off until it is asked for, and off again once it fired."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fires_at: float | None = None

    def set(self, fields: dict[str, str]) -> Any:
        """Wind the switch up, or switch it off by a timeout of 0. Raises Refused."""
        text = fields.get("timeout", "")
        if not text.isdigit() or int(text) > TIMEOUT_S_MAX:
            raise Refused("EGeneral:Invalid arguments:timeout")
        now = time.time()
        with self._ledger.lock:
            self._fires_at = now + int(text) if int(text) else None
            return {"currentTime": _shown(now), "triggerTime": _shown(self._fires_at) if self._fires_at else "0"}

    def settle(self) -> None:
        """Let the switch fire if it is time: the venue does this before whatever it does next."""
        with self._ledger.lock:
            fires_at = self._fires_at
            if fires_at is None or time.time() < fires_at:
                return
            self._fires_at = None
            for order in list(self._ledger.open_orders()):
                self._ledger.cancel(order, REASON)
                order.closed_at = fires_at

    def left_s(self) -> float | None:
        """Return how many seconds are left until it fires, or None while it is off."""
        with self._ledger.lock:
            return None if self._fires_at is None else self._fires_at - time.time()

    def hurry(self, left_s: float) -> None:
        """Let the switch, if it is on, fire in so many seconds: a test need not wait for a minute."""
        with self._ledger.lock:
            if self._fires_at is not None:
                self._fires_at = time.time() + left_s


def _shown(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
