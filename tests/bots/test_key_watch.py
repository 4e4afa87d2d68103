"""A key that the venue refuses: its venue is halted, once, and the venue is not asked again and again."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots import account_chores, key_watch, safety_chores, sweep
from bots.brokers.factory import forget_brokers
from bots.models import Order, VenueAccess
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.intents import Level, Side
from safety.kill_switch import read_state
from safety.models import KillRun, TradingState
from tests.bots.live import live_desk, live_intent, measured, send
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def watch() -> None:
    """Do one round of the watch."""
    key_watch.halt_where_the_key_is_refused(timezone.now())


def private(kraken: KrakenLoopback) -> int:
    """Return how many signed requests reached the venue."""
    return len([entry for entry in kraken.log() if entry.nonce or "Invalid key" in entry.outcome])


def test_revoked_key_halts_its_venue_and_no_other(kraken: KrakenLoopback, settings: Settings) -> None:
    bot = live_desk(kraken, settings)
    kraken.revoke_key()
    order = send(live_intent(bot)).order
    assert order.status == OrderStatus.REJECTED
    watch()
    assert read_state("kraken", bot.pk).level == Level.HALTED
    assert "Invalid key" in TradingState.objects.get(scope="venue:kraken").reason
    assert read_state("alpaca").level == Level.ACTIVE
    assert read_state("replay").level == Level.ACTIVE
    # The next intent does not even get to the venue.
    before = private(kraken)
    assert [denial.code for denial in send(live_intent(bot)).denials][:1] == ["KILL_SWITCH"]
    assert private(kraken) == before


def test_question_that_is_refused_is_enough(kraken: KrakenLoopback, settings: Settings) -> None:
    bot = live_desk(kraken, settings)
    kraken.revoke_key()
    account_chores.measure_venue_accounts(timezone.now())
    watch()
    assert read_state("kraken", bot.pk).level == Level.HALTED


def test_it_halts_once_and_again_only_on_a_new_refusal(kraken: KrakenLoopback, settings: Settings) -> None:
    live_desk(kraken, settings)
    kraken.fault(faults.venue_error("BalanceEx", "EAPI:Invalid key"))
    account_chores.measure_venue_accounts(timezone.now())
    for _ in range(3):
        watch()
    assert KillRun.objects.count() == 1
    kill_switch.release("a new key is there", actor="test", scope="venue:kraken")
    watch()
    assert read_state("kraken").level == Level.ACTIVE
    forget_brokers()
    kraken.fault(faults.venue_error("BalanceEx", "EAPI:Invalid key"))
    account_chores.measure_venue_accounts(timezone.now())
    watch()
    assert read_state("kraken").level == Level.HALTED
    assert KillRun.objects.filter(actor="automatic").count() == 2


def test_stricter_state_stays_and_a_milder_one_is_raised(kraken: KrakenLoopback, settings: Settings) -> None:
    live_desk(kraken, settings)
    kill_switch.engage(Level.REDUCING, "a loss", actor="test", scope="venue:kraken")
    VenueAccess.objects.filter(account="kraken").update(key_refused_at=timezone.now() + timedelta(seconds=1))
    watch()
    assert read_state("kraken").level == Level.HALTED


def test_key_of_an_account_that_nothing_live_uses_stops_no_paper(
    kraken: KrakenLoopback, committed_db: CommittedDatabase
) -> None:
    VenueAccess.objects.filter(account="kraken").update(key_refused_at=timezone.now())
    watch()
    assert read_state("kraken").level == Level.ACTIVE
    assert KillRun.objects.count() == 0


def test_no_storm_of_retries(kraken: KrakenLoopback, settings: Settings) -> None:
    """Everything that asks the venue goes on for rounds on end; the venue hears of it a few times."""
    bot = live_desk(kraken, settings)
    resting = send(live_intent(bot, limit="99", quantity="0.1")).order
    assert resting.status == OrderStatus.ACCEPTED
    measured()
    kraken.revoke_key()
    before, began_s = private(kraken), time.monotonic()
    for index in range(20):
        now = timezone.now() + timedelta(minutes=index)
        account_chores.measure_venue_accounts(now)
        sweep.sweep(now)
        send(live_intent(bot))
        send(live_intent(bot, side=Side.SELL, quantity="0.1"))
        watch()
        safety_chores.go_on_with_kill_runs(now)
        Order.objects.filter(pk=resting.pk).update(cancel_requested_at=now - timedelta(minutes=1))
    # One found out; a kill switch's cancel may try again after five seconds, and the rest stands back for thirty.
    assert private(kraken) - before <= 2 + (time.monotonic() - began_s) / 5
    assert read_state("kraken").level == Level.HALTED
    assert Order.objects.get(pk=resting.pk).status == OrderStatus.ACCEPTED
    assert Order.objects.filter(status=OrderStatus.UNKNOWN).count() == 0
    assert Order.objects.get(pk=resting.pk).remaining_quantity == Decimal("0.1")
