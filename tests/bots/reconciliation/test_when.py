"""When an account is reconciled, by whom, and what bots and accounts that change mean for what it held."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from bots import going_live, manager
from bots.market_data.feeds import forget_feeds
from bots.models import Account, AccountMovement, AccountSync, Bot, Position, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation import chores, turns
from bots.reconciliation.queries import overview
from bots.workers.chores import load_chores
from safety.intents import Level, Side
from safety.kill_switch import read_state
from tests.bots.live import live_bot, live_intent, measured, send, wait_for_price
from tests.bots.reconciliation.desk import assert_agrees, baseline, open_differences, round_at
from tests.conftest import CommittedDatabase
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

NOW = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


def sync(**changes: Any) -> AccountSync:
    """Return the row of an account whose last round was sound, 20 s ago."""
    at = NOW - timedelta(seconds=20)
    return AccountSync(**{"started_at": at, "sound_at": at, "listed_at": at, **changes})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"started_at": None, "sound_at": None}, "start"),
        ({"sound_at": None}, "start"),
        ({"sound_at": NOW - timedelta(seconds=30)}, "schedule"),
        ({"sound_at": NOW + timedelta(seconds=60), "started_at": NOW + timedelta(seconds=60)}, "schedule"),
        ({"doubts": {"BTC": {}}}, "confirm"),
        ({"doubts": {"BTC": {}}, "sound_at": NOW - timedelta(seconds=9)}, ""),
        ({"wanted_at": NOW, "wanted_by": "unknown"}, "unknown"),
        ({"wanted_at": NOW, "started_at": NOW - timedelta(seconds=2)}, ""),
        ({"sound_at": None, "failing_since": NOW, "started_at": NOW - timedelta(seconds=9)}, ""),
        ({"sound_at": None, "failing_since": NOW, "started_at": NOW - timedelta(seconds=10)}, "start"),
    ],
)
def test_round_is_due(changes: dict[str, Any], why: str) -> None:
    assert chores.due(sync(**changes), NOW) == why


def test_account_that_was_never_looked_at_is_due() -> None:
    assert chores.due(None, NOW) == "start"


def test_chore_is_registered() -> None:
    names = [one.name for one in load_chores()]
    assert "bots.reconciliation.chores.reconcile_accounts" in names


def test_chore_reconciles_at_start_then_waits_and_watches_what_rests(armed: Bot, kraken: KrakenLoopback) -> None:
    AccountSync.objects.all().update(started_at=None, sound_at=None)
    chores.reconcile_accounts(timezone.now())
    assert ReconciliationRun.objects.first().trigger == "start"  # type: ignore[union-attr]
    count = ReconciliationRun.objects.count()
    order = send(live_intent(armed, limit="98")).order
    kraken.fill(order.venue_order_id, "0.1")
    later = timezone.now() + chores.WATCH_EVERY + timedelta(seconds=1)
    with time_machine.travel(later, tick=True):
        after = kraken.last_id()
        chores.reconcile_accounts(later)
        assert "BalanceEx" not in [one.path for one in kraken.log(after_id=after)]
    order.refresh_from_db()
    assert order.filled_quantity == Decimal("0.1")
    assert ReconciliationRun.objects.count() == count


def test_venue_that_does_not_answer_fails_the_round_and_no_other_chore(armed: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.http_status("OpenOrders", 503, count=5))
    AccountSync.objects.update(wanted_at=timezone.now(), started_at=timezone.now() - timedelta(seconds=60))
    chores.reconcile_accounts(timezone.now())
    run = ReconciliationRun.objects.latest("id")
    assert run.state == "failed"
    (view,) = overview()
    assert view.failure == run.reason
    assert view.failing_since is not None
    kraken.clear_faults()
    round_at()
    (view,) = overview()
    assert (view.failure, view.failing_since, view.agrees) == ("", None, True)


def test_resolved_outcome_asks_for_a_round(armed: Bot) -> None:
    turns.want("kraken", is_live=True, by="unknown")
    first = AccountSync.objects.get().wanted_at
    turns.want("kraken", is_live=True, by="command")
    row = AccountSync.objects.get()
    assert (row.wanted_at, row.wanted_by) == (first, "unknown")
    round_at()
    assert AccountSync.objects.get().wanted_at is None


def test_old_runs_are_forgotten(armed: Bot) -> None:
    ReconciliationRun.objects.update(finished_at=timezone.now() - timedelta(days=3))
    round_at()
    chores.forget_old_runs(timezone.now())
    assert ReconciliationRun.objects.count() == 1


def test_turn_of_a_process_that_died_ends_by_itself(armed: Bot) -> None:
    turns.take("kraken", is_live=True)
    assert chores.reconcile_when_due("kraken", is_live=True, now=timezone.now() + timedelta(minutes=1)) is None
    AccountSync.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert round_at().state == "agrees"


def test_turn_from_before_the_clock_was_set_back_holds_nobody_up(armed: Bot) -> None:
    turns.take("kraken", is_live=True)
    AccountSync.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert round_at().state == "agrees"


# Arming, and bots that change.


def test_first_bot_that_is_set_live_again_has_the_baseline_taken_anew(
    armed: Bot, kraken: KrakenLoopback, committed_db: CommittedDatabase
) -> None:
    going_live.set_paper(armed.pk, actor="anna")
    AccountSync.objects.update(baseline_at=timezone.now() - timedelta(hours=1))
    kraken.set_balance("ZUSD", "700")
    going_live.set_live(armed.pk, actor="anna", confirm=armed.name, reason="again", has_more=True)
    assert AccountSync.objects.get().baseline_at is None
    assert round_at().state == "agrees"
    assert baseline("USD") == 700


@pytest.mark.parametrize(("moved", "days"), [("-5000", 2), ("5000", 2), ("-5000", 0), ("5000", 0)])
def test_what_came_or_went_while_no_bot_was_live_is_neither_loss_nor_gain(
    armed: Bot, kraken: KrakenLoopback, moved: str, days: int
) -> None:
    away = timedelta(days=days, minutes=10)
    before = Account.objects.get(pk="kraken")
    assert before.equity_usd is not None
    assert before.day is not None
    day = before.day - timedelta(days=days)
    # What was lost before stays lost.
    lost = {"day_start_equity_usd": before.equity_usd + 50, "peak_equity_usd": before.equity_usd + 80}
    Account.objects.update(measured_at=timezone.now() - away, day=day, **lost)
    then = timezone.now() - away
    AccountSync.objects.update(baseline_at=then, started_at=then, sound_at=then, history_at=then, history_since=then)
    going_live.set_paper(armed.pk, actor="anna")
    # With no word of it in what the venue still lists.
    kraken.set_balance("ZUSD", str(Decimal(kraken.balances()["ZUSD"]) + Decimal(moved)))
    going_live.set_live(armed.pk, actor="anna", confirm=armed.name, reason="again", has_more=True)
    run = chores.reconcile_when_due("kraken", is_live=True, now=timezone.now() + timedelta(minutes=1))
    assert run is not None
    assert run.found == {"baseline": 1}
    after = Account.objects.get(pk="kraken")
    now_usd = before.equity_usd + Decimal(moved)
    assert (after.equity_usd, after.peak_equity_usd) == (now_usd, now_usd + 80)
    # A new day begins with what was there at its first look.
    assert after.day_start_equity_usd == now_usd + (50 if after.day == day else 0)
    assert read_state("kraken").level == Level.ACTIVE
    kraken.withdraw("ZUSD", "100")
    with time_machine.travel(timezone.now() + timedelta(seconds=40), tick=True):
        chores.reconcile_when_due("kraken", is_live=True, now=timezone.now())
    later = Account.objects.get(pk="kraken")
    assert (later.equity_usd, later.peak_equity_usd) == (now_usd - 100, now_usd - 20)


def test_deposit_that_is_counted_while_nothing_can_be_valued_is_no_loss(armed: Bot, kraken: KrakenLoopback) -> None:
    assert round_at().state == "agrees"
    before = Account.objects.get(pk="kraken")
    kraken.deposit("ZUSD", "5000")
    kraken.fault(faults.page("Ticker", count=99))
    forget_feeds()
    with time_machine.travel(timezone.now() + timedelta(seconds=40), tick=True):
        run = chores.reconcile_when_due("kraken", is_live=True, now=timezone.now())
    assert run is not None
    assert (run.state, run.found["movements"], "measured" in run.found) == ("agrees", 1, False)
    after = Account.objects.get(pk="kraken")
    assert after.equity_usd == before.equity_usd
    assert read_state("kraken").level == Level.ACTIVE
    kraken.clear_faults()
    with time_machine.travel(timezone.now() + timedelta(seconds=80), tick=True):
        forget_feeds()
        wait_for_price()
        chores.reconcile_when_due("kraken", is_live=True, now=timezone.now())
    assert Account.objects.get(pk="kraken").equity_usd != before.equity_usd
    assert read_state("kraken").level == Level.ACTIVE


def test_second_bot_that_is_set_live_leaves_the_baseline(armed: Bot, kraken: KrakenLoopback) -> None:
    other = live_bot("other", running=False)
    Bot.objects.filter(pk=other.pk).update(dry_run=True)
    going_live.set_live(other.pk, actor="anna", confirm="other", reason="too", has_more=True)
    assert AccountSync.objects.get().baseline_at is not None


def test_bot_that_goes_on_in_another_money_keeps_the_account_right(holding: Bot, kraken: KrakenLoopback) -> None:
    assert send(live_intent(holding, Side.SELL)).order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    brought = Position.objects.get(bot=holding, is_live=True).cash_flow
    holding.refresh_from_db()
    holding.symbol = "BTC/USDT"
    manager.update(holding, actor="anna")
    assert (baseline("USD"), baseline("USDT")) == (10_000 + brought, 1_000 - brought)
    assert AccountMovement.objects.filter(kind="carried").count() == 2
    assert round_at().state == "agrees"
    assert_agrees(kraken, holding)


def test_two_bots_of_one_symbol_share_the_account(holding: Bot, kraken: KrakenLoopback) -> None:
    other = live_bot("other")
    measured()
    for bot, side, quantity in ((other, Side.BUY, "0.111"), (holding, Side.SELL, "0.2"), (other, Side.SELL, "0.05")):
        assert send(live_intent(bot, side, quantity)).order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    assert_agrees(kraken, holding, other)
    assert open_differences() == []
    assert Account.objects.get(name="kraken").equity_usd is not None
