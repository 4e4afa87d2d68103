"""A key that Kraken locked out: every process leaves it alone, exits and cancels knock now and then, and an answer ends it."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots import executor, key_watch
from bots.blocks import blocked_by
from bots.brokers import access
from bots.brokers.base import VenueError
from bots.brokers.factory import broker_for, forget_brokers
from bots.models import Bot, Order, VenueAccess
from bots.order_states import OrderStatus
from bots.workers.database_time import database_time
from safety.intents import Side
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
SAID = "EGeneral:Temporary lockout"


@pytest.fixture
def bot(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot that holds 0.3 BTC and has an order resting, whose key was locked out just now."""
    made = live_desk(kraken, settings)
    assert send(live_intent(made)).order.status == OrderStatus.FILLED
    assert send(live_intent(made, quantity="0.2", limit="98")).order.status == OrderStatus.ACCEPTED
    kraken.fault(faults.venue_error("BalanceEx", SAID))
    assert not asked(kraken)
    # As another process has it, which was told nothing itself.
    forget_brokers()
    return made


def asked(kraken: KrakenLoopback) -> bool:
    """Ask for the balances, and return whether they came."""
    try:
        broker_for("kraken", is_live=True).account()
    except VenueError:
        return False
    return True


def requests(kraken: KrakenLoopback) -> int:
    return len([one for one in kraken.log() if one.nonce is not None])


def let_pass(minutes: float) -> None:
    """Let a lockout be so much older, for every process."""
    shift = timedelta(minutes=minutes)
    one = VenueAccess.objects.get(account="kraken")
    assert one.rate_refused_at is not None
    assert one.locked_out_until is not None
    one.rate_refused_at -= shift
    one.locked_out_until -= shift
    one.save()
    forget_brokers()


def test_no_process_asks_anything_with_a_key_that_is_locked_out(bot: Bot, kraken: KrakenLoopback) -> None:
    before = requests(kraken)
    for minutes in (0, 5, 5, 4.9):
        let_pass(minutes)
        assert not asked(kraken)
        denied = send(live_intent(bot, quantity="0.21"))
        assert [(one.code, one.actual) for one in denied.denials] == [("RATE_LIMIT", "locked out")]
        Order.objects.filter(pk=denied.order.pk).update(quantity="0.5")
    assert requests(kraken) == before
    let_pass(0.2)
    assert asked(kraken)


@pytest.mark.parametrize(("minutes", "leaves"), [(1.9, False), (2.1, True)])
def test_exit_is_tried_every_two_minutes_and_its_answer_ends_the_lockout(
    bot: Bot, kraken: KrakenLoopback, minutes: float, leaves: bool
) -> None:
    let_pass(minutes)
    exit_ = send(live_intent(bot, Side.SELL))
    assert exit_.order.status == (OrderStatus.FILLED if leaves else OrderStatus.DENIED)
    assert (access.lockout_of("kraken") is None) == leaves
    assert asked(kraken) == leaves


@pytest.mark.parametrize("urgent", [False, True])
def test_cancel_is_tried_once_and_then_waits_while_the_lockout_lasts(
    bot: Bot, kraken: KrakenLoopback, urgent: bool
) -> None:
    order = Order.objects.get(status=OrderStatus.ACCEPTED)
    let_pass(2.1)
    kraken.fault(faults.venue_error("CancelOrder", SAID, count=99))
    before = requests(kraken)
    executor.ask_to_cancel(order.pk, actor="anna", reason="a test", urgent=urgent)
    for _ in range(3):
        executor.venue.carry_out_cancel(Order.objects.get(pk=order.pk), urgent=urgent)
    assert requests(kraken) == before + 1
    lockout = access.lockout_of("kraken")
    assert lockout is not None
    # It began with the first refusal, and lasts as long again from the last.
    assert abs(lockout.until - lockout.told_at - access.LOCKED_OUT_FOR) < timedelta(seconds=5)
    assert lockout.since <= lockout.told_at


def test_pressing_request_that_is_not_answered_opens_no_door(bot: Bot, kraken: KrakenLoopback) -> None:
    let_pass(2.1)
    kraken.fault(faults.reset("AddOrder", is_carried_out=False), faults.reset("AddOrder", is_carried_out=False))
    assert send(live_intent(bot, Side.SELL, "0.1")).order.status == OrderStatus.UNKNOWN
    before = requests(kraken)
    assert send(live_intent(bot, Side.SELL, "0.05")).order.status == OrderStatus.DENIED
    assert requests(kraken) == before


def test_lockout_is_shown_and_told_of_once(bot: Bot, kraken: KrakenLoopback) -> None:
    (block,) = [one for one in blocked_by(bot) if one.code == "VENUE_LOCKOUT"]
    assert "locked the API key out" in block.message
    assert block.remedy
    for _ in range(2):
        key_watch.tell_of_lockouts(timezone.now())
    (event,) = OperatorEvent.objects.filter(action="risk_alert")
    assert event.object.startswith("account:kraken locked out")
    let_pass(15)
    assert [one for one in blocked_by(bot) if one.code == "VENUE_LOCKOUT"] == []


def test_lockout_from_before_the_clock_was_set_back_is_none(bot: Bot) -> None:
    VenueAccess.objects.update(locked_out_until=database_time(3600))
    assert access.lockout_of("kraken") is None
