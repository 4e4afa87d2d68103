"""Reconciliation against a loopback Kraken: what is found, what it moves, and when a symbol closes to entries and opens again."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from audit.models import OperatorEvent
from bots.models import Account, AccountMovement, AccountSync, AssetBaseline, Bot, Order, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation import turns
from bots.reconciliation.engine import TurnTaken, reconcile, watch_orders
from safety.intents import Side
from tests.bots.builders import events_of, position_of
from tests.bots.live import live_intent, send, stored
from tests.bots.reconciliation.desk import account, alarms, assert_agrees, baseline, entry, open_differences, round_at
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


def test_first_round_takes_what_the_account_holds_as_the_owner_s(armed: Bot, kraken: KrakenLoopback) -> None:
    assert (baseline("USD"), baseline("BTC"), baseline("USDT")) == (10_000, Decimal("0.5"), 1_000)
    assert not AssetBaseline.objects.filter(asset__contains=".F").exists()
    assert OperatorEvent.objects.filter(action="baseline_taken").count() == 1
    assert_agrees(kraken, armed)


def test_bots_that_trade_before_the_first_round_keep_their_own(bot: Bot, kraken: KrakenLoopback) -> None:
    send(live_intent(bot))
    assert round_at().state == "agrees"
    assert (baseline("USD"), baseline("BTC")) == (10_000, Decimal("0.5"))
    assert_agrees(kraken, bot)


def test_own_trades_agree_to_the_last_digit(armed: Bot, kraken: KrakenLoopback) -> None:
    for quantity, side in (("0.123", Side.BUY), ("0.1", Side.BUY), ("0.07", Side.SELL)):
        assert send(live_intent(armed, side, quantity)).order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    assert_agrees(kraken, armed)
    assert (baseline("USD"), baseline("BTC")) == (10_000, Decimal("0.5"))


def test_fill_of_a_resting_order_is_found_by_the_one_list(armed: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(armed, limit="98")).order
    kraken.fill(order.venue_order_id, "0.1")
    with time_machine.travel(timezone.now() + timedelta(seconds=10), tick=True):
        watch_orders("kraken", is_live=True)
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.1"))
    kraken.fill(order.venue_order_id, "0.2")
    with time_machine.travel(timezone.now() + timedelta(seconds=20), tick=True):
        watch_orders("kraken", is_live=True)
    order.refresh_from_db()
    assert order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    assert_agrees(kraken, armed)


def test_order_that_the_venue_cancelled_is_recorded_and_told_of(armed: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(armed, limit="98")).order
    kraken.cancel(order.venue_order_id)
    round_at(10)
    order.refresh_from_db()
    assert order.status == OrderStatus.CANCELED
    assert alarms("risk_alert") == [f"order:{order.client_order_id}"]


def test_quiet_round_asks_two_questions(holding: Bot, kraken: KrakenLoopback) -> None:
    after = kraken.last_id()
    assert round_at().state == "agrees"
    assert sorted(one.path for one in kraken.log(after_id=after) if one.method == "POST") == ["BalanceEx", "OpenOrders"]


def test_measurement_comes_with_the_round(holding: Bot) -> None:
    before = Account.objects.get(name="kraken").measured_at
    round_at()
    after = Account.objects.get(name="kraken")
    assert before is not None
    assert after.measured_at is not None
    assert after.measured_at > before


# Others at the venue: FAULTS 29.


def test_trade_by_hand_is_external_and_moves_the_owner_s_part(holding: Bot, kraken: KrakenLoopback) -> None:
    order_id = kraken.place("buy", "0.1")
    round_at(61)
    assert_agrees(kraken, holding)
    assert baseline("BTC") == Decimal("0.6")
    order = Order.objects.get(venue_order_id=order_id)
    assert (order.status, order.bot_id, order.filled_quantity) == (OrderStatus.EXTERNAL, None, Decimal("0.1"))
    assert events_of(order) == ["external"]
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    assert entry(holding) == []


def test_order_by_hand_counts_toward_exposure_and_is_never_touched(armed: Bot, kraken: KrakenLoopback) -> None:
    order_id = kraken.place("buy", "4.9", price="97")
    round_at()
    assert [one.venue_order_id for one in account().external_open] == [order_id]
    assert entry(armed, "0.4") == []
    kraken.place("buy", "5.5", price="97")
    round_at()
    assert entry(armed, "0.41") == ["POSITION_MAX"]
    assert not kraken.log("CancelOrder")
    kraken.cancel(order_id)
    round_at()
    assert Order.objects.get(venue_order_id=order_id).external_ended_at is not None


def test_deposit_and_withdrawal_move_the_baselines_and_count_once(holding: Bot, kraken: KrakenLoopback) -> None:
    before = Account.objects.get(name="kraken")
    kraken.deposit("ZUSD", "500")
    kraken.withdraw("ZUSD", "120")
    for _ in range(3):
        assert round_at(trigger="command").state == "agrees"
    assert baseline("USD") == 10_380
    assert_agrees(kraken, holding)
    after = Account.objects.get(name="kraken")
    assert after.peak_equity_usd is not None
    assert before.peak_equity_usd is not None
    assert after.peak_equity_usd - before.peak_equity_usd == 380
    assert AccountMovement.objects.filter(counts=True).count() == 2


def test_deposit_that_is_not_listed_yet_is_no_gain(holding: Bot, kraken: KrakenLoopback) -> None:
    """The balance shows it before the list of transfers does."""
    before = Account.objects.get(name="kraken").peak_equity_usd
    kraken.fault(faults.venue_error("Ledgers", "EGeneral:Internal error", count=1))
    kraken.deposit("ZUSD", "500")
    assert round_at().state == "failed"
    assert Account.objects.get(name="kraken").peak_equity_usd == before
    assert round_at().state == "agrees"
    after = Account.objects.get(name="kraken")
    assert before is not None
    assert after.peak_equity_usd == before + 500


def test_what_is_staked_is_not_there_to_be_traded(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_balance("XBT.F", "7")
    assert round_at().state == "agrees"
    assert baseline("BTC") == Decimal("0.5")


# Differences: FAULTS 30.


def test_shortage_closes_the_symbol_once_it_is_confirmed_and_opens_it_again(
    holding: Bot, kraken: KrakenLoopback
) -> None:
    kraken.set_balance("XXBT", "0.2")
    assert round_at().state == "waits"
    assert open_differences() == []
    assert round_at(12).state == "differs"
    (found,) = open_differences()
    assert (found.kind, found.asset, found.venue, found.held) == ("shortage", "BTC", Decimal("0.2"), Decimal("0.3"))
    assert "0.1 BTC are missing" in found.text
    assert alarms("reconciliation_mismatch") == ["account:kraken BTC"]
    assert entry(holding) == ["RECONCILIATION_OPEN"]
    assert send(live_intent(holding, Side.SELL, "0.1")).order.status == OrderStatus.FILLED
    kraken.set_balance("XXBT", "0.7")
    assert round_at(40).state == "agrees"
    assert open_differences() == []
    assert OperatorEvent.objects.filter(action="difference_agrees").count() == 1
    assert entry(holding) == []


def test_surplus_without_an_explanation_closes_the_symbol_too(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_balance("ZUSD", "12345.67")
    round_at()
    assert round_at(12).state == "differs"
    (found,) = open_differences()
    assert (found.kind, found.asset) == ("surplus", "USD")
    assert entry(holding) == ["RECONCILIATION_OPEN"]


def test_sale_by_hand_of_what_a_bot_holds_is_a_shortage_though_it_is_explained(
    holding: Bot, kraken: KrakenLoopback
) -> None:
    kraken.place("sell", "0.7")
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=True):
        round_at()
    round_at(75)
    (found,) = open_differences()
    assert (found.kind, found.venue, found.held) == ("shortage", Decimal("0.1"), Decimal("0.3"))
    assert baseline("BTC") == Decimal("-0.2")


def test_asset_that_no_bot_trades_raises_no_difference(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_balance("XETH", "3")
    round_at()
    round_at(12)
    assert open_differences() == []
    assert baseline("ETH") == 3


def test_what_changes_between_two_rounds_is_not_confirmed(holding: Bot, kraken: KrakenLoopback) -> None:
    for number, amount in enumerate(("0.21", "0.22", "0.23")):
        kraken.set_balance("XXBT", amount)
        assert round_at(12 * number).state == "waits"
    assert open_differences() == []


# Answers that fail or are unsound: FAULTS 31.


@pytest.mark.parametrize("path", ["OpenOrders", "BalanceEx", "TradesHistory", "ClosedOrders", "Ledgers"])
@pytest.mark.parametrize("fault", ["page", "half", "empty", "http"])
def test_unsound_answer_fails_the_round_and_changes_nothing(
    holding: Bot, kraken: KrakenLoopback, path: str, fault: str
) -> None:
    order = send(live_intent(holding, limit="98")).order
    ordered = {
        "page": faults.page(path, count=9),
        "half": faults.half(path, count=9),
        "empty": faults.Fault(path, faults.Reply.EMPTY, 9),
        "http": faults.http_status(path, 503, count=9),
    }[fault]
    kraken.fault(ordered)
    before = list(AssetBaseline.objects.values_list("asset", "quantity"))
    for seconds in (0, 12, 24):
        run = round_at(seconds, trigger="command")
        assert (run.state, bool(run.reason)) == ("failed", True)
    assert list(AssetBaseline.objects.values_list("asset", "quantity")) == before
    assert open_differences() == []
    assert position_of(holding, is_live=True).quantity == Decimal("0.3")
    order.refresh_from_db()
    assert order.status == OrderStatus.ACCEPTED
    kraken.clear_faults()
    assert round_at(36).state == "agrees"


def test_empty_balance_is_not_taken_for_flat(holding: Bot, kraken: KrakenLoopback) -> None:
    kraken.control("clear_balances")
    assert round_at().state == "failed"
    assert round_at(12).state == "failed"
    assert open_differences() == []


# Orders that come back, or were lost: FAULTS 24, 42.


def test_order_that_was_called_not_sent_and_appears_is_adopted(armed: Bot, kraken: KrakenLoopback) -> None:
    kraken.fault(faults.Fault("AddOrder", faults.Reply.HANG, hang_s=8, invisible_s=0))
    intent = live_intent(armed)
    assert send(intent).order.status == OrderStatus.UNKNOWN
    Order.objects.filter(client_order_id=intent.client_order_id).update(status=OrderStatus.NOT_SENT)
    round_at(61, trigger="command")
    order = stored(intent)
    assert order.status == OrderStatus.FILLED
    assert events_of(order)[-2:] == ["adopted", "filled"]
    armed.refresh_from_db()
    assert "not sent" in armed.entries_held
    assert alarms("order_unknown") == [f"order:{order.client_order_id}"]
    round_at(61)
    assert_agrees(kraken, armed)
    assert baseline("BTC") == Decimal("0.5")


def test_one_run_at_a_time(armed: Bot) -> None:
    turn = turns.take("kraken", is_live=True)
    with pytest.raises(TurnTaken):
        reconcile("kraken", is_live=True, trigger="test")
    turn.give_back()
    assert round_at().state == "agrees"


def test_run_that_froze_beyond_its_turn_writes_nothing(armed: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ReconciliationRun.objects.count()

    def frozen(*args: object) -> None:
        AccountSync.objects.update(holder="another")

    monkeypatch.setattr("bots.reconciliation.engine._Round._measure", frozen)
    run = reconcile("kraken", is_live=True, trigger="test")
    assert (run.state, ReconciliationRun.objects.count()) == ("failed", before + 1)
