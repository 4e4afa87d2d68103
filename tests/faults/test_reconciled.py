"""What only a comparison with the venue can find: late orders, other people's, money that moved, figures that do not add up.

Real processes and the loopback venue's own ledger. FAULTS.md rows 9, 24, 29 to 31 and 42.
"""

import sys
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OperatorEvent, OrderEvent
from bots.models import AssetBaseline, Bot, Difference, Fill, Order, Position, ReconciliationRun
from bots.reconciliation.queries import view
from bots.workers.schedule import latest_due
from safety.intents import Side
from tests.conftest import CommittedDatabase
from tests.faults.desk import RECONCILE, SWEEP, Desk
from tests.faults.lost_seconds import Replica
from tests.faults.nursery import SIGKILLED
from tests.faults.venues import KrakenSide
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

IN_A_ROUND = {
    "open orders listed, nothing carried out": "+bots.reconciliation.orders.carry_out",
    "look-up answered, not written": "-bots.brokers.kraken.KrakenBroker.look_up",
    "fills booked, not committed": "-bots.ledger.record_executions",
    "fills committed, balances not asked": "-bots.reconciliation.orders.carry_out",
    "balances read, nothing compared": "-bots.brokers.kraken.KrakenBroker.account",
    "compared, not kept": "+bots.reconciliation.judging.keep",
}
BALANCE = "BalanceEx"
UNSOUND = {
    "page of HTML": faults.page(BALANCE, count=9),
    "half a JSON": faults.half(BALANCE, count=9),
    "empty body": Fault(BALANCE, Reply.EMPTY, 9),
    "HTTP 503": faults.http_status(BALANCE, 503, count=9),
    "EService:Unavailable": faults.venue_error(BALANCE, "EService:Unavailable", count=9),
}


@pytest.fixture
def desk(kraken_desk: Desk) -> Desk:
    """Return a desk that holds something, and whose account was compared once."""
    assert kraken_desk.send(kraken_desk.intent()) == 0
    compare(kraken_desk)
    assert view("kraken", is_live=True).baseline_at is not None
    return kraken_desk


def compare(desk: Desk, rounds: int = 1) -> None:
    """Let so many whole rounds of the reconciliation be due, and done by a fresh process each."""
    for _ in range(rounds):
        # So long that Kraken's smallest rate limit has room for whatever a round may have to ask.
        desk.later(61)
        assert desk.chores(RECONCILE) == 0


def agree(desk: Desk) -> None:
    """Fail unless both sides agree to the last digit, by their own account of it."""
    # What a round had no room for under Kraken's smallest limit is left to the next, and is looked at once more after that.
    for _ in range(5):
        compare(desk)
        if ReconciliationRun.objects.latest("id").state != "waits":
            break
    assert ReconciliationRun.objects.latest("id").state == "agrees"
    found = view("kraken", is_live=True)
    assert not found.differences
    assert {line.delta for line in found.lines} == {0}


@pytest.mark.fault(9)
@pytest.mark.parametrize("point", IN_A_ROUND)
def test_reconciliation_that_is_killed_counts_each_fill_once(desk: Desk, point: str) -> None:
    intent = desk.intent(quantity="0.2", limit="98")
    assert desk.send(intent) == 0
    for part in ("0.1", "0.05"):
        desk.venue.fill(desk.order(intent).venue_order_id, part)
    desk.later(31)
    assert desk.chores(RECONCILE, point=IN_A_ROUND[point]) == SIGKILLED
    compare(desk, 2)
    assert Fill.objects.filter(order__client_order_id=intent.client_order_id).count() == 2
    assert Position.objects.get(bot=desk.bot, is_live=True).quantity == Decimal("0.45")
    agree(desk)
    desk.check(intent, struck=point)


@pytest.mark.fault(24)
@pytest.mark.parametrize("limit", [None, "98"], ids=["filled", "rests"])
def test_order_that_appears_after_it_was_called_not_sent_is_adopted_and_entries_are_held(
    desk: Desk, kraken: KrakenLoopback, limit: str | None
) -> None:
    intent = desk.intent(quantity="0.2", limit=limit)
    kraken.fault(Fault(desk.venue.add, Reply.HANG, invisible_s=36_000))
    assert desk.send(intent) == 0
    desk.settle(SWEEP, RECONCILE)
    assert desk.order(intent).status == "not_sent"
    kraken.reveal()
    desk.settle(SWEEP, RECONCILE, are_settled=lambda: desk.order(intent).status != "not_sent")
    assert desk.order(intent).status == ("filled" if limit is None else "accepted")
    assert desk.story(intent)[:5] == ["intent", "submitting", "unknown", "not_sent", "adopted"]
    assert Bot.objects.get(pk=desk.bot.pk).entries_held
    alarms = OperatorEvent.objects.filter(object=f"order:{intent.client_order_id}")
    assert alarms.exists()
    entry = desk.intent(quantity="0.21")
    assert desk.send(entry) == 0
    assert "ENTRIES_HELD" in _codes(entry.client_order_id)
    agree(desk)
    desk.check(intent, struck="invisible at the venue until it had been called NOT_SENT")


@pytest.mark.fault(29)
def test_trade_by_hand_is_external_and_never_touched(desk: Desk, kraken: KrakenLoopback) -> None:
    bought = kraken.place("buy", "0.05")
    offered = kraken.place("sell", "0.2", price="120")
    compare(desk, 2)
    rows = Order.objects.filter(status="external")
    assert set(rows.values_list("venue_order_id", flat=True)) == {bought, offered}
    assert desk.do("engage") == 0
    assert kraken.orders()[offered]["status"] == "open"
    assert Position.objects.get(bot=desk.bot, is_live=True).quantity == Decimal("0.3")
    agree(desk)
    desk.check(struck="somebody bought, and offered, by hand at the venue")
    desk.note("somebody bought, and offered, by hand at the venue", "two EXTERNAL orders; no difference; not cancelled")


@pytest.mark.fault(29)
def test_deposit_and_withdrawal_move_the_baseline_and_are_no_difference(desk: Desk, kraken: KrakenLoopback) -> None:
    side = desk.venue
    assert isinstance(side, KrakenSide)
    before = AssetBaseline.objects.get(asset="USD").quantity
    side.deposit("250.1234")
    kraken.withdraw("XXBT", "0.01", fee="0.0001")
    side.moved["BTC"] -= Decimal("0.0101")
    compare(desk, 3)
    assert AssetBaseline.objects.get(asset="USD").quantity == before + Decimal("250.1234")
    assert not Difference.objects.exists()
    agree(desk)
    desk.check(struck="dollars were paid in and bitcoin was withdrawn")
    desk.note("dollars were paid in and bitcoin was withdrawn", "the baseline moved by both, once; no difference")


@pytest.mark.fault(30)
@pytest.mark.parametrize("there", ["0.1", "0.9"], ids=["less than the books say", "more than anything explains"])
def test_difference_without_explanation_lets_only_exits_out(desk: Desk, kraken: KrakenLoopback, there: str) -> None:
    right = kraken.balances()["XXBT"]
    kraken.set_balance("XXBT", there)
    compare(desk, 3)
    (found,) = Difference.objects.filter(closed_at__isnull=True)
    assert (found.asset, found.venue) == ("BTC", Decimal(there))
    assert OperatorEvent.objects.filter(action="reconciliation_mismatch").exists()
    entry, exit_ = desk.intent(quantity="0.21"), desk.intent(Side.SELL, "0.1")
    assert desk.send(entry) == 0
    assert "RECONCILIATION_OPEN" in _codes(entry.client_order_id)
    assert desk.send(exit_) == 0
    assert desk.order(exit_).status == "filled"
    # What was missing is there again, or what was too much is gone: it closes by itself.
    kraken.set_balance("XXBT", str(Decimal(right) - Decimal("0.1")))
    compare(desk, 2)
    assert not Difference.objects.filter(closed_at__isnull=True).exists()
    agree(desk)
    desk.check(entry, exit_, struck=f"the account had {there} BTC where {right} ought to be")


@pytest.mark.fault(31)
@pytest.mark.parametrize("kind", UNSOUND)
def test_balances_that_cannot_be_read_are_not_taken_for_flat(desk: Desk, kraken: KrakenLoopback, kind: str) -> None:
    kraken.fault(UNSOUND[kind])
    desk.later(31)
    assert desk.chores(RECONCILE) == 0
    assert ReconciliationRun.objects.latest("id").state == "failed"
    _nothing_changed(desk)
    kraken.clear_faults()
    desk.later(60)
    agree(desk)
    desk.check(struck=f"BalanceEx: {kind}")
    desk.note(f"BalanceEx: {kind}", "the round failed and changed nothing; the next one agreed")


@pytest.mark.fault(31)
def test_balances_that_are_empty_are_not_taken_for_flat(desk: Desk, kraken: KrakenLoopback) -> None:
    held = kraken.balances()
    kraken.control("clear_balances")
    for _ in range(3):
        desk.later(31)
        assert desk.chores(RECONCILE) == 0
        assert ReconciliationRun.objects.latest("id").state == "failed"
    _nothing_changed(desk)
    for asset, amount in held.items():
        kraken.set_balance(asset, str(amount))
    agree(desk)
    desk.check(struck="BalanceEx: nothing in it")
    desk.note("BalanceEx: nothing in it", "the rounds failed and changed nothing; not taken for flat")


def bought_by_a_tick(desk: Desk) -> Order:
    """Let the bot tick until it has bought: on a slow machine what is known of the account may be too old for one tick."""
    for _ in range(4):
        due_at = latest_due(desk.bot.pk, desk.bot.poll_seconds, timezone.now())
        assert desk.tick(due_at=due_at.isoformat()) == 0
        order = Order.objects.latest("id")
        if order.status == "filled":
            return order
        compare(desk)
    pytest.fail(f"no tick bought: {order.status}, {_codes(order.client_order_id)}")


@pytest.mark.fault(42)
def test_order_that_the_database_lost_is_adopted_with_an_alarm(desk: Desk, committed_db: CommittedDatabase) -> None:
    assert desk.send(desk.intent(Side.SELL)) == 0
    compare(desk)
    with Replica(committed_db) as replica:
        lost = bought_by_a_tick(desk)
        replica.take_over()
    assert not Order.objects.filter(client_order_id=lost.client_order_id).exists()
    desk.settle(RECONCILE, SWEEP, are_settled=lambda: Order.objects.filter(status="filled", side="buy").count() == 2)
    again = Order.objects.get(client_order_id=lost.client_order_id)
    assert (again.status, again.bot_id) == ("filled", desk.bot.pk)
    assert Bot.objects.get(pk=desk.bot.pk).entries_held
    assert OperatorEvent.objects.filter(object=f"order:{lost.client_order_id}").exists()
    compare(desk)
    agree(desk)
    struck = "the database lost its last seconds, an order among them"
    desk.check(struck=struck)
    desk.note(struck, "found at the venue, adopted, entries held, alarm")


def _nothing_changed(desk: Desk) -> None:
    assert not Difference.objects.exists()
    assert Position.objects.get(bot=desk.bot, is_live=True).quantity == Decimal("0.3")


def _codes(client_order_id: str) -> list[str]:
    """Return the codes that an order was denied with."""
    denied = OrderEvent.objects.get(client_order_id=client_order_id, event="denied")
    return [one["code"] for one in denied.details["reasons"]]
