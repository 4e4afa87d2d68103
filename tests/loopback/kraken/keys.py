"""API keys: signature, number and rights of a request, checked as Kraken checks them."""

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.loopback.kraken.ledger import Refused
from tests.loopback.server import Logged, Request

TRADING_RIGHTS = frozenset({"query-funds", "query-open-trades", "query-closed-trades", "query-ledger", "modify-trades"})
#: Which of its rights an endpoint needs; one is enough.
NEEDED: dict[str, frozenset[str]] = {
    "BalanceEx": frozenset({"query-funds"}),
    "OpenOrders": frozenset({"query-open-trades"}),
    "QueryOrders": frozenset({"query-open-trades", "query-closed-trades"}),
    "ClosedOrders": frozenset({"query-closed-trades"}),
    "TradesHistory": frozenset({"query-closed-trades"}),
    "QueryTrades": frozenset({"query-closed-trades"}),
    "Ledgers": frozenset({"query-ledger"}),
    "AddOrder": frozenset({"modify-trades"}),
    "CancelAllOrdersAfter": frozenset({"modify-trades", "close-trades"}),
    "CancelOrder": frozenset({"modify-trades", "close-trades"}),
}


@dataclass
class ApiKey:
    """One key with its secret and rights. ``nonce`` is the last that was used."""

    key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(24)).decode())
    secret: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode(), repr=False)
    rights: frozenset[str] = TRADING_RIGHTS
    ip_allowlist: tuple[str, ...] = ()
    created: int = 1_770_000_000
    is_revoked: bool = False
    nonce: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self, request: Request, endpoint: str, entry: Logged) -> dict[str, str]:
        """Return the fields of a signed request, without its nonce. Raises Refused."""
        fields = {name: values[-1] for name, values in parse_qs(request.body, keep_blank_values=True).items()}
        nonce = fields.pop("nonce", "")
        entry.fields = fields
        if self.is_revoked or request.headers.get("API-Key") != self.key:
            raise Refused("EAPI:Invalid key")
        if not nonce.isdigit():
            raise Refused("EAPI:Invalid nonce")
        entry.nonce = int(nonce)
        if not hmac.compare_digest(request.headers.get("API-Sign") or "", self.sign(request.path, nonce, request.body)):
            raise Refused("EAPI:Invalid signature")
        with self.lock:
            if int(nonce) <= self.nonce:
                raise Refused("EAPI:Invalid nonce")
            self.nonce = int(nonce)
        if endpoint in NEEDED and not NEEDED[endpoint] & self.rights:
            raise Refused("EGeneral:Permission denied")
        return fields

    def sign(self, path: str, nonce: str, body: str) -> str:
        """Return the signature that a request with this body has to carry."""
        digest = hashlib.sha256((nonce + body).encode()).digest()
        signed = hmac.new(base64.b64decode(self.secret), path.encode() + digest, hashlib.sha512)
        return base64.b64encode(signed.digest()).decode()
