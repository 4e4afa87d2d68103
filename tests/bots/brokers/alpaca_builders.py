"""Orders of Alpaca for the tests of its broker."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.base import OrderReport
from safety.intents import OrderIntent, Side
from tests.bots.brokers.builders import order_of, permit_of
from tests.loopback.client import AAPL, AlpacaAccount

POST, CANCEL = "POST /v2/orders", "DELETE /v2/orders/{id}"
BY_ID, BY_OUR_ID, LIST = "GET /v2/orders/{id}", "GET /v2/orders:by_client_order_id", "GET /v2/orders"
FILLS = "GET /v2/account/activities/{type}"
ACCOUNT, POSITIONS, CLOCK = "GET /v2/account", "GET /v2/positions", "GET /v2/clock"
_count = iter(range(10**9))


def stock_order(side: Side = Side.BUY, quantity: str = "1", limit: str | None = None, **changes: Any) -> OrderIntent:
    """Return an order for AAPL with an id of its own, on paper unless told otherwise; the loopback's market stands near 230."""
    usual = {
        "client_order_id": f"t-{next(_count)}",
        "venue": "alpaca",
        "symbol": AAPL,
        "is_live": False,
        "created_at": timezone.now(),
    }
    return order_of(side, quantity, limit, **(usual | changes))


def broker_at(account: AlpacaAccount) -> AlpacaBroker:
    """Return a broker at one account of the loopback, as a process of its own would have it."""
    return AlpacaBroker(account.url, account.key, account.secret, is_live=account.is_live)


def send(account: AlpacaAccount, order: OrderIntent, *, within_s: float = 30) -> OrderReport:
    """Submit an order through a new broker. The time is ample: a busy machine is not what is tested."""
    deadline = timezone.now() + timedelta(seconds=within_s)
    return broker_at(account).submit(order, permit_of(order), deadline)


def filled(report: OrderReport) -> Decimal:
    """Return the quantity of a report's executions."""
    return sum((one.quantity for one in report.executions), Decimal(0))
