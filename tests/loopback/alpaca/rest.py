"""What both faces of the venue share: names of requests, keys, the limit, and how a no is written."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.loopback.alpaca.access import ApiKey, Limiter, check
from tests.loopback.alpaca.ledger import Refused
from tests.loopback.alpaca.market import Market
from tests.loopback.server import Answer, Logged, Request

#: Paths with something of their own in them, and the names that faults and the log know them by.
NAMED = (
    (re.compile(r"(/v2/orders/)[^/]+"), r"\1{id}"),
    (re.compile(r"(/v2/positions/)[^/]+"), r"\1{symbol}"),
    (re.compile(r"(/v2/assets/)[^/]+"), r"\1{symbol}"),
    (re.compile(r"(/v2/account/activities/)[^/]+"), r"\1{type}"),
)
Fields = dict[str, str]


class RestVenue(ABC):
    """One base URL of the venue: requests are looked through, carried out and answered."""

    def __init__(self, market: Market, keys: tuple[ApiKey, ...]) -> None:
        self.market = market
        self.keys = keys
        self.limiter = Limiter()

    @abstractmethod
    def answer(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        """Carry out a request that was admitted. Raises Refused."""

    @abstractmethod
    def orders_of_a_test(self) -> dict[str, Callable[..., Any]]:
        """Return what a test may order of this face alone."""

    def endpoint(self, request: Request) -> str:
        path = request.path
        for pattern, name in NAMED:
            path = pattern.sub(name, path) if pattern.fullmatch(path) else path
        return f"{request.method} {path}"

    def admit(self, request: Request, entry: Logged) -> Answer | None:
        entry.body, entry.fields = request.body, _fields(request)
        try:
            check(request, self.keys)
            self.limiter.take()
        except Refused as refused:
            return self._refusal(refused)
        return None

    def perform(self, request: Request, entry: Logged, invisible_s: float) -> Answer:
        try:
            found = self.answer(request, entry, invisible_s)
        except Refused as refused:
            return self._refusal(refused)
        return Answer(found.body, found.outcome, found.status, self.limiter.headers())

    def control(self, name: str, params: dict[str, Any]) -> Any:
        orders = {**self._orders_of_the_market(), **self.orders_of_a_test()}
        try:
            return orders[name](**params)
        except Refused as refused:
            raise ValueError(str(refused)) from refused

    def error(self, text: str) -> Answer:
        """Return the answer for ``STATUS CODE MESSAGE``, the code being left out or not."""
        status, _, rest = text.partition(" ")
        code, _, message = rest.partition(" ")
        found = Refused(int(status), int(code), message) if code.isdigit() else Refused(int(status), None, rest)
        return self._refusal(found)

    def _refusal(self, refused: Refused) -> Answer:
        headers = dict(self.limiter.headers())
        if refused.status == 429:
            headers["X-RateLimit-Remaining"] = "0"
        return Answer(refused.body, f"refused: {refused.status} {refused}", refused.status, headers)

    def _orders_of_the_market(self) -> dict[str, Callable[..., Any]]:
        hours = self.market.hours
        return {
            "set_price": lambda symbol, bid, ask, volume="100": self.market.move(
                symbol, Decimal(bid), Decimal(ask), Decimal(volume)
            ),
            "set_depth": self._set_depth,
            "freeze_quote": lambda symbol, age_s=0.0: self.market.freeze(symbol, age_s),
            "set_open": self.market.open_or_close,
            "set_round_the_clock": lambda value: setattr(hours, "is_round_the_clock", bool(value)),
            "set_clock_skew": lambda skew_s: setattr(hours, "skew_s", float(skew_s)),
            "set_asset": self._set_asset,
            "set_rate_limit": lambda per_minute: setattr(self.limiter, "per_minute", per_minute),
            "revoke_keys": lambda: self._set_revoked(True),
            "restore_keys": lambda: self._set_revoked(False),
        }

    def _set_depth(self, symbol: str, depth: str | None) -> None:
        self.market.asset(symbol)
        self.market.books[symbol].depth = None if depth is None else Decimal(depth)

    def _set_revoked(self, is_revoked: bool) -> None:
        for one in self.keys:
            one.is_revoked = is_revoked

    def _set_asset(self, symbol: str, **changes: Any) -> None:
        share = self.market.asset(symbol)
        unknown = changes.keys() - {"fractionable", "tradable", "shortable", "status", "has_bars"}
        if unknown:
            raise ValueError(f"an asset has no {', '.join(sorted(unknown))} to change")
        for name, value in changes.items():
            setattr(share, name, value)


def _fields(request: Request) -> Fields:
    """Return what a request asks for as texts: its query, or the members of its JSON as they were written."""
    if not request.body:
        return {name: values[-1] for name, values in parse_qs(request.query).items()}
    try:
        raw = json.loads(request.body, parse_float=str, parse_int=str)
    except ValueError:
        return {}
    if not isinstance(raw, dict):
        return {}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in raw.items()}


def last_part(request: Request) -> str:
    return unquote(request.path.rsplit("/", 1)[-1])
