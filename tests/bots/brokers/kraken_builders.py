"""Orders of Kraken for the tests of its broker."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from bots.brokers.base import OrderReport
from bots.brokers.factory import broker_for
from bots.brokers.kraken import KrakenBroker
from safety.intents import OrderIntent, Side
from tests.bots.brokers.builders import order_of, permit_of
from tests.loopback.client import KrakenLoopback

SYMBOL = "BTC/USD"
_count = iter(range(10**9))


def live_order(side: Side = Side.BUY, quantity: str = "0.001", limit: str | None = None, **changes: Any) -> OrderIntent:
    """Return a live order for BTC/USD with an id of its own; the loopback's market stands at 59994 to 60006."""
    usual = {
        "client_order_id": f"t-{next(_count)}",
        "venue": "kraken",
        "symbol": SYMBOL,
        "is_live": True,
        "created_at": timezone.now(),
    }
    return order_of(side, quantity, limit, **(usual | changes))


def broker_at(venue: KrakenLoopback) -> KrakenBroker:
    """Return a broker at the loopback, as a process of its own would have it."""
    return KrakenBroker(venue.url, venue.key, venue.secret)


def send(order: OrderIntent, *, within_s: float = 4) -> OrderReport:
    """Submit an order through this process's broker."""
    deadline = timezone.now() + timedelta(seconds=within_s)
    return broker_for("kraken", is_live=True).submit(order, permit_of(order), deadline)


def filled(report: OrderReport) -> Decimal:
    """Return the quantity of a report's executions."""
    return sum((one.quantity for one in report.executions), Decimal(0))
