"""The kill switch and the venue's limit: every cancel leaves at once, whether or not there is room to see what it did."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots import clean_up
from bots.brokers import kraken_budget
from bots.brokers.budget import Limit
from bots.brokers.factory import forget_brokers
from bots.brokers.kraken_budget import Tier
from bots.models import KrakenTier, Order
from bots.order_ids import random_order_id
from bots.order_states import RESTING_STATES
from bots.sweep import sweep
from safety import kill_runs
from safety.intents import Level
from safety.kill_switch import engage
from tests.bots.live import live_desk
from tests.loopback import limits
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
ORDERS = 6
#: One question every 2.9 s, which is just within what a look-up of a cancel waits for.
NARROW = Tier(Limit(1, 2_900), Limit(1_000, 1))


@pytest.fixture
def resting(kraken: KrakenLoopback, settings: Settings) -> list[Order]:
    """Return orders of a live bot that rest at the venue, made a while ago."""
    bot, made_at = live_desk(kraken, settings), timezone.now() - timedelta(minutes=10)
    found = []
    for index in range(ORDERS):
        price, client_order_id = f"8{index}", random_order_id("x")
        there = kraken.place("buy", "0.01", price=price, cl_ord_id=client_order_id)
        found.append(
            Order.objects.create(
                client_order_id=client_order_id,
                bot=bot,
                venue="kraken",
                symbol=bot.symbol,
                side="buy",
                type="limit",
                status="accepted",
                quantity=Decimal("0.01"),
                limit_price=Decimal(price),
                is_live=True,
                leg=f"leg {index}",
                venue_order_id=there,
                submitting_at=made_at,
                deadline_at=made_at,
                created_at=made_at,
                updated_at=made_at,
            )
        )
    return found


def test_cancels_of_the_kill_switch_wait_for_no_look_up(
    resting: list[Order], kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kraken_budget.TIERS, KrakenTier.STARTER, NARROW)
    forget_brokers()
    run = engage(Level.HALTED, "a drill", actor="anna")
    clean_up.work_on(run, until_s=time.monotonic() + 60)
    assert len(kraken.log("CancelOrder")) == ORDERS
    assert [one["status"] for one in kraken.orders().values()] == ["canceled"] * ORDERS
    # Had each cancel waited for its look-up, there would be one for each.
    assert len(kraken.log("QueryOrders")) < ORDERS
    found = kill_runs.progress(run)
    assert found is not None
    # The venue took them all: nobody has to cancel them by hand. What is not seen yet is still called in flight.
    assert (found.cancel_failed, found.is_done) == ((), False)
    unseen = {one.client_order_id for one in Order.objects.filter(status__in=RESTING_STATES)}
    assert set(found.in_flight) == unseen

    limits.widen(monkeypatch)
    with time_machine.travel(timezone.now() + timedelta(seconds=10), tick=True):
        forget_brokers()
        sweep(timezone.now())
        sweep(timezone.now() + timedelta(seconds=4))
        clean_up.work_on(run, until_s=time.monotonic() + 60)
        found = kill_runs.progress(run)
    assert found is not None
    assert (found.is_done, found.in_flight, len(found.canceled)) == (True, (), ORDERS)
