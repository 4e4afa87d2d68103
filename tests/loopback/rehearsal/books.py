"""What the page shows of the venues' books: balances, open orders and the last requests, as plain rows."""

import time
from dataclasses import dataclass
from decimal import Decimal

from tests.loopback.alpaca.rules import plain
from tests.loopback.rehearsal.venues import Venues
from tests.loopback.server import Logged

TITLES = {
    "kraken": "Kraken",
    "alpaca-live": "Alpaca, live account",
    "alpaca-paper": "Alpaca, paper account",
    "alpaca-data": "Alpaca, market data",
    "discord": "Discord",
}
ORDERS_SHOWN, REQUESTS_SHOWN = 30, 40
#: What is asked all the time and tells little.
CHATTER = frozenset({"Ticker", "OHLC", "Time", "SystemStatus"})


@dataclass(frozen=True)
class OrderRow:
    """One order at a venue."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    quantity: str
    filled: str
    left: Decimal
    price: str
    status: str
    is_open: bool
    at: float


@dataclass(frozen=True)
class RequestRow:
    """One request to a venue, ``age_s`` ago."""

    id: int
    age_s: float
    name: str
    outcome: str
    fault: str
    client_order_id: str


def balances(venues: Venues, name: str) -> list[tuple[str, str]]:
    """Return what an account holds: its cash, and its coins or shares."""
    if name == "kraken":
        kraken = venues.kraken_venue().ledger
        with kraken.lock:
            return [(asset, plain(amount)) for asset, amount in sorted(kraken.balances.items())]
    ledger = venues.account(name).ledger
    with ledger.lock:
        return [
            ("USD", plain(ledger.cash)),
            *((symbol, plain(one.qty)) for symbol, one in sorted(ledger.positions.items())),
        ]


def orders(venues: Venues, name: str) -> list[OrderRow]:
    """Return an account's last orders, the newest first."""
    found = _kraken_orders(venues) if name == "kraken" else _alpaca_orders(venues, name)
    return sorted(found, key=lambda one: (one.is_open, one.at), reverse=True)[:ORDERS_SHOWN]


def requests(venues: Venues, name: str) -> list[RequestRow]:
    """Return the last requests to a venue that are more than chatter, the newest first."""
    now = time.monotonic()
    entries = [Logged(**raw) for raw in venues.servers[name].log.since(0)]
    telling = [one for one in entries if one.path not in CHATTER][-REQUESTS_SHOWN:]
    return [
        RequestRow(
            one.id,
            now - one.received,
            one.path,
            one.outcome,
            one.fault,
            one.fields.get("cl_ord_id") or one.fields.get("client_order_id") or "",
        )
        for one in reversed(telling)
    ]


def _kraken_orders(venues: Venues) -> list[OrderRow]:
    ledger = venues.kraken_venue().ledger
    with ledger.lock:
        return [
            OrderRow(
                id=one.id,
                client_order_id=one.cl_ord_id or "placed by hand",
                symbol=ledger.market.instrument(one.pair).wsname,
                side=one.side,
                quantity=plain(one.volume),
                filled=plain(one.filled),
                left=one.remaining,
                price="market" if one.price is None else plain(one.price),
                status=one.status,
                is_open=one.is_open,
                at=one.opened_at,
            )
            for one in ledger.orders.values()
        ]


def _alpaca_orders(venues: Venues, name: str) -> list[OrderRow]:
    ledger = venues.account(name).ledger
    ledger.settle()
    with ledger.lock:
        return [
            OrderRow(
                id=one.id,
                client_order_id=one.client_order_id,
                symbol=one.symbol,
                side=one.side,
                quantity=plain(one.qty) if one.qty is not None else f"for {one.notional} USD",
                filled=plain(one.filled),
                left=one.remaining(one.limit_price or ledger.market.books[one.symbol].last),
                price="market" if one.limit_price is None else plain(one.limit_price),
                status=one.status,
                is_open=one.is_open,
                at=one.created_ns / 1e9,
            )
            for one in ledger.orders.values()
        ]
