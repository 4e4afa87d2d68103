"""The sweep over time: what has ended is left alone, one order that cannot be settled holds up no other, and a round ends."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots import executor, sweep
from bots.executor import venue
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot with nothing in its way."""
    return live_desk(kraken, settings)


def resting(bot: Bot, quantity: str = "0.3") -> Order:
    order = send(live_intent(bot, quantity=quantity, limit="98")).order
    assert order.status == OrderStatus.ACCEPTED
    return order


def sweep_in(seconds: float) -> None:
    moment = timezone.now() + timedelta(seconds=seconds)
    with time_machine.travel(moment, tick=False):
        sweep.sweep(moment)


def test_cancelled_order_is_looked_up_for_a_while_and_then_left_alone(bot: Bot, kraken: KrakenLoopback) -> None:
    order = resting(bot)
    executor.cancel_at_venue(order.pk, actor="anna", reason="a test")
    before = len(kraken.log("QueryOrders"))
    for seconds in range(31, 400, 31):
        sweep_in(seconds)
    assert len(kraken.log("QueryOrders")) - before == 2


def test_order_that_cannot_be_settled_holds_up_no_other(
    bot: Bot, kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = resting(bot), resting(bot, "0.25")
    for order in (bad, good):
        kraken.cancel(order.venue_order_id)

    def apply(order_id: int, *args: Any, **kwargs: Any) -> Order:
        if order_id == bad.pk:
            raise ValueError("it sells more than is held")
        return venue.apply(order_id, *args, **kwargs)

    monkeypatch.setattr("bots.sweep.apply", apply)
    sweep_in(31)
    assert Order.objects.get(pk=good.pk).status == OrderStatus.CANCELED
