"""A loopback venue as the oracle sees it: its own orders, trades and balances as plain exact figures, whichever venue it is."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from tests.loopback.client import AAPL, BTC, AlpacaAccount, AlpacaLoopback, KrakenLoopback, Loopback


@dataclass(frozen=True, slots=True)
class SeenTrade:
    """One trade of the venue's own ledger; the fee is in the quote currency."""

    id: str
    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal

    @property
    def sign(self) -> int:
        return 1 if self.side == "buy" else -1


@dataclass(frozen=True, slots=True)
class SeenOrder:
    """One order of the venue's own ledger; ``client_order_id`` is empty where it has none."""

    id: str
    client_order_id: str
    side: str
    quantity: Decimal
    filled_quantity: Decimal
    is_open: bool


class VenueSide(Protocol):
    """What the tests need of a venue: its names for what is asked, and its ledger."""

    name: str
    is_live: bool
    symbol: str
    #: The names that the venue's log and its faults know the sending and the cancelling of an order by.
    add: str
    cancel: str
    #: What the account held when the desk was set up, and what a test has moved in and out since, by asset.
    opening: dict[str, Decimal]
    moved: dict[str, Decimal]

    @property
    def loopback(self) -> Loopback:
        """Return the venue itself: its log and its faults."""
        ...

    def orders(self) -> list[SeenOrder]: ...

    def trades(self) -> list[SeenTrade]: ...

    def balances(self) -> dict[str, Decimal]: ...

    def environ(self) -> dict[str, str]: ...

    def fill(self, order_id: str, quantity: str) -> str:
        """Let an order trade so much, also one that was cancelled; return the trade's id."""
        ...

    def end(self, order_id: str) -> None:
        """Let the venue cancel an open order."""
        ...


class KrakenSide:
    """The loopback Kraken."""

    name, is_live, symbol = "kraken", True, BTC
    add, cancel = "AddOrder", "CancelOrder"
    assets = {"ZUSD": "USD", "XXBT": "BTC", "XETH": "ETH", "SOL": "SOL", "XXDG": "DOGE"}
    symbols = {"XXBTZUSD": BTC, "XETHZUSD": "ETH/USD", "SOLUSD": "SOL/USD", "XDGUSD": "DOGE/USD"}

    def __init__(self, loopback: KrakenLoopback) -> None:
        self._loopback = loopback
        self.opening = self.balances()
        self.moved: dict[str, Decimal] = defaultdict(Decimal)

    @property
    def loopback(self) -> KrakenLoopback:
        return self._loopback

    def orders(self) -> list[SeenOrder]:
        return [
            SeenOrder(
                id_, raw["cl_ord_id"] or "", raw["descr"]["type"], Decimal(raw["vol"]), Decimal(raw["vol_exec"]),
                raw["status"] == "open",
            )
            for id_, raw in self.loopback.orders().items()
        ]  # fmt: skip

    def trades(self) -> list[SeenTrade]:
        return [
            SeenTrade(
                id_, raw["ordertxid"], self.symbols[raw["pair"]], raw["type"], Decimal(raw["vol"]), Decimal(raw["price"]),
                Decimal(raw["fee"]),
            )
            for id_, raw in self.loopback.trades().items()
        ]  # fmt: skip

    def balances(self) -> dict[str, Decimal]:
        """Return what can be traded with: what is staked or rewarded has other names, and is none of it."""
        found = self.loopback.balances()
        return {ours: Decimal(found[theirs]) for theirs, ours in self.assets.items() if theirs in found}

    def environ(self) -> dict[str, str]:
        return {"ALLOW_LIVE_TRADING": "1", **self.loopback.environ()}

    def fill(self, order_id: str, quantity: str) -> str:
        return self.loopback.fill(order_id, quantity)

    def end(self, order_id: str) -> None:
        self.loopback.cancel(order_id, "Cancelled by the venue")

    def deposit(self, amount_usd: str) -> None:
        """Let somebody pay dollars in."""
        self.loopback.deposit("ZUSD", amount_usd)
        self.moved["USD"] += Decimal(amount_usd)


class AlpacaSide:
    """One account of the loopback Alpaca, the live one or the paper one."""

    name, symbol = "alpaca", AAPL
    add, cancel = "POST /v2/orders", "DELETE /v2/orders/{id}"
    ended = frozenset({"filled", "canceled", "expired", "rejected", "suspended", "replaced", "done_for_day"})

    def __init__(self, venue: AlpacaLoopback, *, is_live: bool) -> None:
        self._venue, self.is_live = venue, is_live
        self._account = venue.live if is_live else venue.paper
        self.opening = self.balances()
        self.moved: dict[str, Decimal] = defaultdict(Decimal)

    @property
    def loopback(self) -> AlpacaAccount:
        return self._account

    def orders(self) -> list[SeenOrder]:
        return [
            SeenOrder(
                id_, raw["client_order_id"], raw["side"], Decimal(raw["qty"]), Decimal(raw["filled_qty"]),
                raw["status"] not in self.ended,
            )
            for id_, raw in self.loopback.orders().items()
        ]  # fmt: skip

    def trades(self) -> list[SeenTrade]:
        return [
            SeenTrade(
                id_, raw["order_id"], raw["symbol"], raw["side"], Decimal(raw["qty"]), Decimal(raw["price"]), Decimal(0)
            )
            for id_, raw in self.loopback.trades().items()
        ]

    def balances(self) -> dict[str, Decimal]:
        held = {symbol: Decimal(quantity) for symbol, quantity in self.loopback.positions().items()}
        return {"USD": Decimal(self.loopback.cash()), **held}

    def environ(self) -> dict[str, str]:
        return {"ALLOW_LIVE_TRADING": "1", "LIVE_TRADING_ENABLED": "1", **self._venue.environ()}

    def fill(self, order_id: str, quantity: str) -> str:
        return self.loopback.fill(order_id, quantity)

    def end(self, order_id: str) -> None:
        self.loopback.cancel(order_id)
