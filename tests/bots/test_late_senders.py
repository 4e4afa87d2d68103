"""Orders whose sender, or whose clock, was out of step: what reached the venue is booked, and a person is told."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots.brokers.factory import broker_for
from bots.executor import venue
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from bots.sweep import look_up
from tests.bots.builders import events_of, position_of
from tests.bots.live import live_desk, live_intent, send, stored
from tests.bots.reconciliation.desk import alarms, assert_agrees, open_differences, round_at
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def test_order_that_its_frozen_sender_sent_after_all_holds_entries_and_is_told_of(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process froze between its last look and the socket, for so long that the order was called NOT_SENT."""
    broker, intent = broker_for("kraken", is_live=True), live_intent(bot)
    submit = broker.submit

    def late(order: object, permit: object, deadline: object) -> object:
        venue.to_unknown(stored(intent).pk, "nobody said what became of it")
        venue.to_not_sent(stored(intent).pk, "3 whole look-ups did not find it at the venue")
        return submit(order, permit, deadline)  # type: ignore[arg-type]

    monkeypatch.setattr(broker, "submit", late)
    assert send(intent).order.status == OrderStatus.FILLED
    assert events_of(stored(intent)) == ["intent", "submitting", "unknown", "not_sent", "adopted", "filled"]
    assert alarms("order_unknown") == [f"order:{intent.client_order_id}"]
    bot.refresh_from_db()
    assert "called not sent" in bot.entries_held
    assert position_of(bot, is_live=True).quantity == Decimal("0.3")


def test_refusal_of_an_order_that_was_called_not_sent_alarms_nobody(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, intent = broker_for("kraken", is_live=True), live_intent(bot)
    submit = broker.submit

    def late(order: object, permit: object, deadline: object) -> object:
        venue.to_unknown(stored(intent).pk, "nobody said what became of it")
        venue.to_not_sent(stored(intent).pk, "3 whole look-ups did not find it at the venue")
        return submit(order, permit, deadline)  # type: ignore[arg-type]

    monkeypatch.setattr(broker, "submit", late)
    kraken.fault(faults.venue_error("AddOrder", "EOrder:Insufficient funds"))
    assert send(intent).order.status == OrderStatus.REJECTED
    assert alarms("order_unknown") == []
    bot.refresh_from_db()
    assert bot.entries_held == ""


def test_fills_of_an_order_are_booked_however_far_the_clocks_are_apart(bot: Bot, kraken: KrakenLoopback) -> None:
    """Our clock was ahead when the order was made. The venue gave it its id, so that nobody else's can be meant."""
    assert round_at().state == "agrees"
    order = send(live_intent(bot, limit="98")).order
    assert order.status == OrderStatus.ACCEPTED
    Order.objects.filter(pk=order.pk).update(created_at=timezone.now() + timedelta(minutes=1))
    order.refresh_from_db()
    kraken.fill(order.venue_order_id, "0.1")
    assert look_up(order, timezone.now()).filled_quantity == Decimal("0.1")
    kraken.fill(order.venue_order_id, "0.2")
    round_at(40, trigger="command")
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, Decimal("0.3"))
    assert open_differences() == []
    assert_agrees(kraken, bot)
