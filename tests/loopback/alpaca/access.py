"""API keys and the limit on requests in a minute, which every answer tells of."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.loopback.alpaca.ledger import Refused
from tests.loopback.server import Request

WINDOW_S = 60.0
SHOWN_LIMIT = 200


@dataclass
class ApiKey:
    """One key of one account."""

    key: str = field(default_factory=lambda: f"PK{secrets.token_hex(9).upper()}")
    secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    is_revoked: bool = False

    def fits(self, request: Request) -> bool:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return (headers.get("apca-api-key-id"), headers.get("apca-api-secret-key")) == (self.key, self.secret)


def check(request: Request, keys: tuple[ApiKey, ...]) -> None:
    """Raise Refused unless the request carries one of the keys, and that key still holds."""
    mine = next((one for one in keys if one.fits(request)), None)
    if mine is None:
        raise Refused(401, None, "unauthorized.")
    if mine.is_revoked:
        raise Refused(403, None, "forbidden.")


class Limiter:
    """So many requests in a minute (None: as many as come)."""

    def __init__(self) -> None:
        self.per_minute: int | None = None
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()

    def take(self) -> None:
        """Count a request. Raises Refused when there were too many; those that were refused do not count."""
        now = time.monotonic()
        with self._lock:
            while self._taken and self._taken[0] <= now - WINDOW_S:
                self._taken.popleft()
            if self.per_minute is not None and len(self._taken) >= self.per_minute:
                raise Refused(429, 42910000, "rate limit exceeded")
            if self.per_minute is not None:
                self._taken.append(now)

    def headers(self) -> Mapping[str, str]:
        """Return what an answer tells of the limit."""
        with self._lock:
            limit = SHOWN_LIMIT if self.per_minute is None else self.per_minute
            first_s = WINDOW_S - (time.monotonic() - self._taken[0]) if self._taken else 0.0
            return {
                "X-RateLimit-Limit": str(limit),
                "X-RateLimit-Remaining": str(max(0, limit - len(self._taken))),
                "X-RateLimit-Reset": str(int(time.time() + first_s) + 1),
            }
