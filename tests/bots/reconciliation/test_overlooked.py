"""What must not hide a shortage, stay open for ever, or happen twice because two hosts do it at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

import pytest
from django.db import connections
from django.utils import timezone

from audit.models import OperatorEvent
from bots import going_live, manager
from bots.models import AccountMovement, AccountSync, AssetBaseline, Bot, Difference, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation import judging, turns
from bots.reconciliation.engine import TurnTaken, reconcile
from bots.reconciliation.facts import read_books
from bots.reconciliation.history import History, Sorted
from bots.reconciliation.settling import Seen, SettleError, settle
from safety.intents import Side
from tests.bots.builders import position_of
from tests.bots.live import live_bot, live_intent, send
from tests.bots.reconciliation.desk import alarms, baseline, entry, open_differences, round_at
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
HOSTS = 4
T = TypeVar("T")


def together(act: Callable[[], T]) -> list[T]:
    """Let as many threads do the same at the same moment, each on a connection of its own, and return what each came to."""
    barrier = threading.Barrier(HOSTS)

    def run(_: int) -> T:
        try:
            barrier.wait(30)
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(HOSTS) as pool:
        return list(pool.map(run, range(HOSTS)))


def test_order_that_stays_out_of_the_lists_hides_no_shortage(holding: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(holding, quantity="0.11", limit="98")).order
    kraken.unlist(order.venue_order_id)
    kraken.set_balance("XXBT", "0.2")
    for seconds in (0, 20, 40):
        round_at(seconds)
    order.refresh_from_db()
    assert order.status == OrderStatus.ACCEPTED
    assert [(one.kind, one.asset) for one in open_differences()] == [("shortage", "BTC")]
    assert alarms("reconciliation_mismatch") == ["account:kraken BTC"]


def test_difference_about_what_neither_side_has_any_more_closes(holding: Bot, kraken: KrakenLoopback) -> None:
    account = AccountSync.objects.get().account
    found = Difference.objects.create(
        account=account, kind="surplus", key="asset:ETH", asset="ETH", text="too much", venue=1, expected=0, held=0, flows=0,
        opened_at=timezone.now(), seen_at=timezone.now(),
    )  # fmt: skip
    assert not AssetBaseline.objects.filter(asset="ETH").exists()
    assert round_at().state == "agrees"
    found.refresh_from_db()
    assert (found.outcome, found.closed_by) == ("agrees", "automatic")


def test_archived_bot_keeps_no_baseline_from_before(armed: Bot, kraken: KrakenLoopback) -> None:
    manager.archive(armed.pk, actor="anna")
    old = timezone.now() - timedelta(days=30)
    AccountSync.objects.update(baseline_at=old)
    other = live_bot("other", running=False)
    Bot.objects.filter(pk=other.pk).update(dry_run=True)
    kraken.set_balance("ZUSD", "700")
    going_live.set_live(other.pk, actor="anna", confirm="other", reason="a new one", has_more=True)
    assert AccountSync.objects.get().baseline_at is None
    assert round_at().state == "agrees"
    assert baseline("USD") == 700


def test_baseline_waits_when_something_is_booked_while_it_is_written(bot: Bot, kraken: KrakenLoopback) -> None:
    turn = turns.take("kraken", is_live=True)
    books = read_books(AccountSync.objects.get().account)
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    nothing = History((), (), ()), Sorted((), (), ())
    run = judging.keep_baseline(turn, "test", {"USD": Decimal(10_000)}, books, *nothing, timezone.now())
    turn.give_back()
    assert run.state == "waits"
    assert AccountSync.objects.get().baseline_at is None
    assert round_at().state == "agrees"
    assert baseline("BTC") == Decimal("0.5")


def test_hosts_that_reconcile_at_the_same_moment_count_each_movement_once(holding: Bot, kraken: KrakenLoopback) -> None:
    before = baseline("USD")

    def run() -> ReconciliationRun | None:
        try:
            return reconcile("kraken", is_live=True, trigger="command")
        except TurnTaken:
            return None

    for _ in range(3):
        kraken.deposit("ZUSD", "100")
        ran = [one for one in together(run) if one is not None]
        assert ran
        assert {one.state for one in ran} <= {"agrees", "failed"}
    assert round_at(60, "command").state == "agrees"
    assert AccountMovement.objects.filter(kind="deposit", counts=True).count() == 3
    assert baseline("USD") == before + 300
    assert open_differences() == []


def test_difference_that_is_settled_at_the_same_moment_is_settled_once(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_balance("XXBT", "0.2")
    round_at()
    round_at(12)
    (found,) = open_differences()

    def accept() -> str:
        try:
            return settle(found.pk, actor="anna", reason="I sold it", seen=Seen.of(found)).outcome
        except SettleError as refused:
            return str(refused)

    assert together(accept) == ["accepted"] * HOSTS
    assert position_of(holding, is_live=True).quantity == Decimal("0.2")
    assert OperatorEvent.objects.filter(action="difference_accepted").count() == 1
    assert OperatorEvent.objects.filter(action="book_corrected").count() == 1
    assert round_at(24).state == "agrees"
    assert send(live_intent(holding, Side.SELL, "0.1")).order.status == OrderStatus.FILLED


def test_what_is_missing_from_our_positions_is_named_though_the_history_cannot_be_read(
    holding: Bot, kraken: KrakenLoopback
) -> None:
    kraken.set_balance("XXBT", "0.2")
    kraken.fault(faults.page("Ledgers", count=99))
    # Once it is named, the history is asked for no more on its account: then the rounds are sound.
    assert [round_at(seconds).state for seconds in (0, 12, 24)] == ["failed", "failed", "differs"]
    assert [(one.kind, one.asset, one.venue) for one in open_differences()] == [("shortage", "BTC", Decimal("0.2"))]
    assert alarms("reconciliation_mismatch") == ["account:kraken BTC"]
    assert "RECONCILIATION_OPEN" in entry(holding)
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    kraken.clear_faults()
    kraken.set_balance("XXBT", "0.8")
    assert round_at(60).state == "agrees"
    assert open_differences() == []


def test_what_only_the_history_may_explain_waits_for_it(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.deposit("ZUSD", "500")
    kraken.withdraw("XXBT", "0.1")
    kraken.fault(faults.page("Ledgers", count=99))
    assert [round_at(seconds).state for seconds in (0, 12, 24)] == ["failed"] * 3
    assert open_differences() == []
    kraken.clear_faults()
    assert round_at(60).state == "agrees"
