"""What a sound Kraken does with our orders: they rest, fill and are cancelled, and the reports say exactly that."""

from decimal import Decimal

import pytest

from bots.brokers.factory import broker_for
from bots.order_states import OrderStatus
from safety.intents import Side
from tests.bots.brokers.kraken_builders import filled, live_order, send
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.django_db


def test_market_order_fills_at_the_book_with_its_fee(kraken: KrakenLoopback) -> None:
    order = live_order(quantity="0.001")
    report = send(order)
    assert report.status == OrderStatus.FILLED
    (execution,) = report.executions
    (trade_id,) = kraken.trades()
    assert (execution.trade_id, execution.quantity, execution.price) == (trade_id, Decimal("0.001"), Decimal(60006))
    assert execution.fee == Decimal("0.24002")
    assert not execution.is_maker
    (sent,) = kraken.log("AddOrder")
    assert sent.fields["volume"] == "0.001"
    assert sent.fields["cl_ord_id"] == order.client_order_id


def test_limit_order_rests_then_fills_as_maker(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    report = send(order)
    assert (report.status, report.executions) == (OrderStatus.ACCEPTED, ())
    kraken.set_price("58990", "58995")
    answer = broker_for("kraken", is_live=True).look_up(order, report.venue_order_id)
    assert answer.is_complete
    assert answer.found is not None
    assert answer.found.status == OrderStatus.FILLED
    assert answer.found.executions[0].is_maker
    assert answer.found.executions[0].price == 59000


def test_cancelled_order_keeps_what_was_filled(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    report = send(order)
    kraken.fill(report.venue_order_id, "0.0004")
    ended = broker_for("kraken", is_live=True).cancel(order, report.venue_order_id)
    assert ended.status == OrderStatus.CANCELED
    assert filled(ended) == Decimal("0.0004")


def test_sale_is_sent_as_a_sale(kraken: KrakenLoopback) -> None:
    report = send(live_order(Side.SELL, "0.002"))
    assert report.status == OrderStatus.FILLED
    assert report.executions[0].price == 59994
