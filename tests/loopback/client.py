"""What a test or a person holds of a loopback venue: how to point a process at it, read its log, and order faults."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.loopback.faults import Fault
from tests.loopback.server import CONTROL, Logged

BTC = "BTC/USD"


class Loopback:
    """A venue at ``url``, in this process or another one. Raises ValueError for an order that the venue does not know."""

    def __init__(self, url: str) -> None:
        self.url = url

    def control(self, name: str, **params: Any) -> Any:
        """Order something of the venue, and return what it says."""
        request = urllib.request.Request(f"{self.url}{CONTROL}{name}", json.dumps(params).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def log(self, path: str | None = None, *, after_id: int = 0) -> list[Logged]:
        """Return the requests so far, in the order of arrival; only those to ``path`` if it is given."""
        entries = [Logged(**raw) for raw in self.control("log", after_id=after_id)]
        return [entry for entry in entries if path in (None, entry.path)]

    def last_id(self) -> int:
        """Return the id of the latest request, for ``log(after_id=…)``."""
        entries = self.log()
        return entries[-1].id if entries else 0

    def wait_for(self, path: str, count: int = 1, timeout_s: float = 10.0) -> list[Logged]:
        """Return the requests to ``path`` once there are ``count`` of them. Raises TimeoutError."""
        found: list[Logged] = self.wait_until(lambda: self.log(path), lambda found: len(found) >= count, timeout_s)
        return found

    @staticmethod
    def wait_until(ask: Callable[[], Any], is_there: Callable[[Any], bool], timeout_s: float = 10.0) -> Any:
        """Return what ``ask`` gives once ``is_there`` likes it. Raises TimeoutError."""
        give_up_at = time.monotonic() + timeout_s
        while not is_there(found := ask()):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not within {timeout_s} s; the last was {found}")
            time.sleep(0.02)
        return found

    def fault(self, *faults: Fault) -> None:
        """Order faults for requests to come, in this order."""
        for fault in faults:
            self.control("fault", **fault.as_dict())

    def clear_faults(self) -> None:
        """Forget every fault that has not come yet."""
        self.control("clear_faults")


class KrakenLoopback(Loopback):
    """A loopback Kraken. Symbols may be written as ours (BTC/USD) or as Kraken's own; figures are texts."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        key = self.control("key")
        self.key, self.secret = str(key["key"]), str(key["secret"])

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at this venue."""
        return {"KRAKEN_BASE_URL": self.url, "KRAKEN_API_KEY": self.key, "KRAKEN_API_SECRET": self.secret}

    def set_price(self, bid: str, ask: str, *, symbol: str = BTC, volume: str = "1") -> None:
        """Move the market; what rests and is met now is filled. ``volume`` base units are traded on the way."""
        self.control("set_price", pair=symbol, bid=bid, ask=ask, volume=volume)

    def set_depth(self, depth: str | None, *, symbol: str = BTC) -> None:
        """Let a taker find only so much; what is left of a limit order rests, of a market order is cancelled."""
        self.control("set_depth", pair=symbol, depth=depth)

    def set_balance(self, asset: str, amount: str) -> None:
        """Set what the account has of an asset, by Kraken's name (ZUSD, XXBT, XBT.F): a deposit or a withdrawal."""
        self.control("set_balance", asset=asset, amount=amount)

    def set_rights(self, *rights: str, ip_allowlist: tuple[str, ...] = ()) -> None:
        """Set what the key may do."""
        self.control("set_rights", rights=rights, ip_allowlist=ip_allowlist)

    def set_status(self, status: str) -> None:
        """Set the whole venue to online, maintenance, cancel_only or post_only."""
        self.control("set_status", status=status)

    def set_pair_status(self, status: str, *, symbol: str = BTC) -> None:
        """Set one symbol's status, as AssetPairs gives it."""
        self.control("set_pair_status", pair=symbol, status=status)

    def revoke_key(self) -> None:
        """Let the venue refuse the key from now on."""
        self.control("revoke_key")

    def orders(self) -> dict[str, dict[str, Any]]:
        """Return every order of the ledger by Kraken's id, in Kraken's shape, invisible ones too."""
        found: dict[str, dict[str, Any]] = self.control("orders")
        return found

    def orders_with(self, client_order_id: str) -> list[dict[str, Any]]:
        """Return the orders with one of our ids; more than one is a double submission."""
        return [order for order in self.orders().values() if order["cl_ord_id"] == client_order_id]

    def trades(self) -> dict[str, dict[str, Any]]:
        """Return every trade of the ledger by id."""
        found: dict[str, dict[str, Any]] = self.control("trades")
        return found

    def balances(self) -> dict[str, str]:
        """Return the account's totals by Kraken's name of the asset."""
        found: dict[str, str] = self.control("balances")
        return found

    def fill(self, order_id: str, volume: str, price: str | None = None) -> str:
        """Let a resting order trade so much; return the trade's id."""
        return str(self.control("fill", order_id=order_id, volume=volume, price=price))

    def place(self, side: str, volume: str, *, symbol: str = "XBTUSD", price: str | None = None) -> str:
        """Place an order by hand, as a person at the venue does; return its id."""
        limit = {"ordertype": "market"} if price is None else {"ordertype": "limit", "price": price}
        return str(self.control("place", pair=symbol, type=side, volume=volume, **limit))

    def unlist(self, order_id: str) -> None:
        """Leave an order out of the lists of open and closed orders; its trades and its id still lead to it."""
        self.control("unlist", order_id=order_id)

    def cancel(self, order_id: str, reason: str = "User requested") -> None:
        """Let the venue cancel an open order."""
        self.control("cancel", order_id=order_id, reason=reason)
