"""Orders that rest at a venue, under kill -9 and under what a venue does to them: what it says in the end is what is booked.

Real processes and the loopback venue's own ledger. FAULTS.md rows 9, 11 to 13 and 25 to 28.
"""

import sys
from decimal import Decimal

import pytest

from bots.models import Fill, Order, Position
from safety import kill_runs
from safety.intents import Level, OrderIntent, Side
from safety.kill_switch import read_state
from tests.faults.desk import SWEEP, Desk
from tests.faults.nursery import SIGKILLED
from tests.loopback import faults

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

GO_ON = "bots.safety_chores.go_on_with_kill_runs"
IN_A_BATCH = {
    "first of two fills booked": "-bots.executor.steps.fill_event",
    "both booked, before their audit rows": "-bots.ledger.record_executions",
    "read at the venue, nothing written": "-bots.brokers.kraken.KrakenBroker.look_up",
    "all written, before the commit": "-audit.log.append_rows",
}
CANCELLING = {
    "wish not committed": "-bots.executor.steps.request_cancel",
    "wish committed, not sent": "+bots.executor.venue.carry_out_cancel",
    "before the turn of the key": "+bots.brokers.signer.Signer.turn",
    "cancelled there, not asked what was filled": "+bots.brokers.kraken.KrakenBroker._look_up",
    "answered, not written": "-bots.brokers.kraken.KrakenBroker.cancel",
    "written, not committed": "-audit.log.append_rows:2",
}
ENGAGING = {
    "committed, nobody told": "+safety.kill_switch.tell_engaged",
    "first cancel on its way": "+bots.brokers.kraken.KrakenBroker.cancel",
    "first cancelled there, not written": "-bots.brokers.kraken.KrakenBroker.cancel",
    "second on its way": "+bots.brokers.kraken.KrakenBroker.cancel:2",
    "all cancelled, not noted": "+bots.clean_up._note",
}
FLATTENING = {
    "begun, nobody told": "+safety.kill_switch.tell_engaged",
    "sale claimed, not sent": "+bots.brokers.kraken.KrakenBroker.submit",
    "sold there, not booked": "-bots.brokers.kraken.KrakenBroker.submit",
    "sold and booked, not ended": "+bots.flatten._end",
    "ended, not cleaned up": "-bots.flatten._end",
}


def rest(desk: Desk, quantity: str = "0.3", limit: str = "98") -> tuple[OrderIntent, Order]:
    """Let an order rest at the venue."""
    intent = desk.intent(quantity=quantity, limit=limit)
    assert desk.send(intent) == 0
    order = desk.order(intent)
    assert order.status == "accepted"
    return intent, order


@pytest.mark.fault(9)
@pytest.mark.parametrize("point", IN_A_BATCH)
def test_killed_in_the_middle_of_a_batch_of_fills_counts_each_once(kraken_desk: Desk, point: str) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    for part in ("0.1", "0.05"):
        desk.venue.fill(order.venue_order_id, part)
    desk.later(31)
    assert desk.chores(point=IN_A_BATCH[point]) == SIGKILLED
    assert not Fill.objects.exists()
    desk.later(31)
    assert desk.chores() == 0
    assert Fill.objects.count() == 2
    assert Position.objects.get(bot=desk.bot, is_live=True).quantity == Decimal("0.15")
    desk.check(intent, struck=point)


@pytest.mark.fault(11)
@pytest.mark.parametrize("point", CANCELLING)
def test_killed_during_a_cancel_the_venue_s_final_state_wins(kraken_desk: Desk, point: str) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    desk.venue.fill(order.venue_order_id, "0.1")
    assert desk.do("cancel", order=order.pk, point=CANCELLING[point]) == SIGKILLED
    if point == "wish not committed":
        assert desk.order(intent).cancel_requested_at is None
        assert desk.do("cancel", order=order.pk) == 0
    desk.settle()
    done = desk.order(intent)
    assert (done.status, done.filled_quantity) == ("canceled", Decimal("0.1"))
    assert desk.story(intent).count("cancel_requested") == 1
    desk.check(intent, struck=point)


@pytest.mark.fault(11)
def test_killed_while_the_venue_cancels_and_fills_first_books_the_fill(kraken_desk: Desk) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    desk.venue.loopback.fault(faults.request_lost(desk.venue.cancel))
    pid = desk.nursery.spawn("cancel", [], order=order.pk)
    desk.venue.loopback.wait_for(desk.venue.cancel, timeout_s=30)
    desk.venue.fill(order.venue_order_id, "0.3")
    desk.nursery.kill(pid)
    desk.settle()
    assert desk.order(intent).status == "filled"
    desk.check(intent, struck="the cancel had left, no answer yet; the order filled meanwhile")


@pytest.mark.fault(12)
@pytest.mark.parametrize("point", ENGAGING)
def test_kill_switch_that_is_killed_holds_and_its_cancels_at_the_venue_go_on(kraken_desk: Desk, point: str) -> None:
    desk = kraken_desk
    intents = [rest(desk, quantity)[0] for quantity in ("0.3", "0.31")]
    assert desk.do("engage", point=ENGAGING[point]) == SIGKILLED
    assert read_state().level == Level.HALTED
    late = desk.intent(quantity="0.32")
    assert desk.send(late) == 0
    assert desk.order(late).status == "denied"
    desk.settle(GO_ON, SWEEP, are_settled=lambda: not kill_runs.unfinished())
    assert [desk.order(one).status for one in intents] == ["canceled", "canceled"]
    told = kill_runs.progress()
    assert told is not None
    assert (told.is_drained, told.is_done, len(told.canceled)) == (True, True, 2)
    assert desk.sent() == 2
    desk.check(*intents, struck=point)


@pytest.mark.fault(13)
@pytest.mark.parametrize("point", FLATTENING)
def test_flatten_that_is_killed_is_carried_on_and_sells_what_is_held_once(kraken_desk: Desk, point: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent) == 0
    offered = desk.intent(Side.SELL, "0.3", "101")
    assert desk.send(offered) == 0
    assert desk.do("flatten", point=FLATTENING[point]) in (SIGKILLED, 0)
    desk.settle(GO_ON, SWEEP, are_settled=lambda: not kill_runs.unfinished() and not desk.unsettled())
    assert read_state().level == Level.HALTED
    assert Position.objects.get(bot=desk.bot, is_live=True).quantity == 0
    sold = sum(one.filled_quantity for one in desk.venue.orders() if one.side == "sell")
    assert sold == Decimal("0.3")
    sales = Order.objects.filter(is_flatten=True)
    assert sum(one.filled_quantity for one in sales) == Decimal("0.3")
    desk.check(intent, offered, struck=point)


@pytest.mark.fault(25)
def test_partial_fill_and_then_a_cancel_gives_the_exact_quantity_and_cost(kraken_desk: Desk) -> None:
    desk = kraken_desk
    intent, order = rest(desk, "0.30000001", "98.7")
    for part in ("0.10000001", "0.00000003"):
        desk.venue.fill(order.venue_order_id, part)
    for _ in range(3):
        # Asked again and again: what is known already is not told again.
        desk.later(31)
        assert desk.chores() == 0
    assert desk.story(intent)[3:] == ["partially_filled", "partially_filled"]
    assert desk.do("cancel", order=order.pk) == 0
    done = desk.order(intent)
    assert (done.status, done.filled_quantity) == ("canceled", Decimal("0.10000004"))
    assert done.filled_notional == Decimal("0.10000004") * Decimal("98.7")
    desk.check(intent, struck="two parts filled, then cancelled")


@pytest.mark.fault(26)
@pytest.mark.parametrize("rest_of_it", ["0.1", "0.3"], ids=["a part", "all of it"])
def test_fill_after_the_cancel_is_booked_and_told(kraken_desk: Desk, rest_of_it: str) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    assert desk.do("cancel", order=order.pk) == 0
    assert desk.order(intent).status == "canceled"
    desk.venue.fill(order.venue_order_id, rest_of_it)
    desk.later(31)
    assert desk.chores() == 0
    done = desk.order(intent)
    assert done.filled_quantity == Decimal(rest_of_it)
    assert desk.story(intent)[3:5] == ["cancel_requested", "canceled"]
    assert desk.story(intent)[5:] in (["filled"], ["partially_filled", "canceled"])
    desk.check(intent, struck="acknowledged as cancelled, then filled")


@pytest.mark.fault(27)
def test_fills_that_come_twice_and_out_of_order_count_once(kraken_desk: Desk) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    desk.venue.fill(order.venue_order_id, "0.1")
    desk.later(31)
    # One process has read the first fill and freezes; another reads both and books them; then the first one goes on.
    old = desk.nursery.freeze("chores", [], names=[SWEEP], point="-bots.brokers.kraken.KrakenBroker.look_up")
    desk.venue.fill(order.venue_order_id, "0.2")
    desk.later(31)
    assert desk.chores() == 0
    assert desk.order(intent).status == "filled"
    assert desk.nursery.thaw(old) == 0
    for _ in range(2):
        desk.later(31)
        assert desk.chores() == 0
    assert desk.story(intent) == ["intent", "submitting", "accepted", "filled", "filled"]
    assert Fill.objects.count() == 2
    desk.check(intent, struck="an older report was written after a newer one")


@pytest.mark.fault(28)
@pytest.mark.parametrize("filled", [None, "0.1"], ids=["untouched", "filled in part"])
def test_order_that_the_venue_cancels_is_recorded_with_its_reason(kraken_desk: Desk, filled: str | None) -> None:
    desk = kraken_desk
    intent, order = rest(desk)
    if filled:
        desk.venue.fill(order.venue_order_id, filled)
    desk.venue.end(order.venue_order_id)
    desk.later(31)
    assert desk.chores() == 0
    done = desk.order(intent)
    assert (done.status, done.filled_quantity) == ("canceled", Decimal(filled or 0))
    assert "cancel_requested" not in desk.story(intent)
    desk.check(intent, struck="the venue cancelled it by itself")
