"""What must keep an order from being sent: clocks that jump, quotes that are none, gates that shut, keys that are dead.

Real processes and the loopback venue's own ledger. FAULTS.md rows 44, 46, 52 and 53.
"""

import sys

import pytest

from audit.models import OrderEvent
from bots.models import Order
from safety.intents import Level, OrderIntent, Side
from safety.kill_switch import read_state
from tests.faults.desk import RECONCILE, SWEEP, Desk
from tests.faults.nursery import SIGKILLED
from tests.loopback.client import KrakenLoopback

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

WATCH = "bots.key_watch.halt_where_the_key_is_refused"
BAD_QUOTES = {
    "NaN": ("NaN", "100.1"),
    "infinite": ("99.9", "Infinity"),
    "zero": ("0", "100.1"),
    "negative": ("-99.9", "100.1"),
    "crossed": ("100.2", "100.1"),
    "no number": ("soon", "100.1"),
}


@pytest.mark.fault(44)
@pytest.mark.parametrize("shift_s", [600, -600], ids=["ten minutes ahead", "ten minutes behind"])
def test_clock_that_jumps_halts_entries_and_the_nonce_still_rises(kraken_desk: Desk, shift_s: int) -> None:
    desk, first = kraken_desk, kraken_desk.intent()
    assert desk.send(first) == 0
    resting = desk.intent(quantity="0.2", limit="97")
    assert desk.send(resting) == 0
    entry = desk.intent(quantity="0.31")
    assert desk.send(entry, shift_s=shift_s) == 0
    assert desk.order(entry).status == "denied"
    assert desk.there(entry) == 0
    # An exit is let out by the gate, and the venue refuses its deadline; a cancel has none, and works.
    exit_ = desk.intent(Side.SELL)
    assert desk.send(exit_, shift_s=shift_s) == 0
    assert desk.order(exit_).status in {"rejected", "denied"}
    assert desk.there(exit_) == 0
    assert desk.do("cancel", order=desk.order(resting).pk, shift_s=shift_s) == 0
    assert not [one for one in desk.venue.orders() if one.is_open]
    desk.settle()
    assert desk.order(resting).status == "canceled"
    # The clock is right again: what was asked meanwhile must not have used up the numbers.
    # What was asked of the venue is not known any more at first, so that the very next order may be held back.
    tried: list[OrderIntent] = []
    while not tried or (desk.order(tried[-1]).status == "denied" and len(tried) < 3):
        desk.later(60)
        tried.append(desk.intent(Side.SELL))
        assert desk.send(tried[-1]) == 0
    again = tried[-1]
    desk.settle(are_settled=lambda: desk.order(again).status == "filled")
    nonces = [one.nonce for one in desk.venue.loopback.log() if one.nonce is not None]
    assert nonces == sorted(set(nonces))
    assert not [one for one in desk.venue.loopback.log() if "nonce" in one.outcome]
    desk.check(entry, exit_, resting, again, struck=f"the process's clock was {shift_s:+d} s off")


@pytest.mark.fault(46)
@pytest.mark.parametrize("kind", BAD_QUOTES)
def test_quote_that_is_none_lets_no_entry_out(kraken_desk: Desk, kraken: KrakenLoopback, kind: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    kraken.show_quote(*BAD_QUOTES[kind])
    desk.send(intent, patience=0)
    assert set(Order.objects.values_list("status", flat=True)) <= {"denied"}
    assert desk.sent() == 0
    assert desk.tick() == 0
    assert desk.sent() == 0
    desk.check(intent, struck=f"the ticker's prices: {' and '.join(BAD_QUOTES[kind])}")


@pytest.mark.fault(46)
def test_quote_that_stands_still_lets_no_entry_out(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    assert desk.send(intent, dawdle_s=11) == 0
    assert "STALE_MARKET_DATA" in _codes(desk.order(intent))
    assert desk.sent() == 0
    desk.check(intent, struck="the quote was 11 s old")


@pytest.mark.fault(52)
def test_gate_that_was_shut_at_a_restart_denies_and_what_is_out_is_still_cared_for(kraken_desk: Desk) -> None:
    desk, resting = kraken_desk, kraken_desk.intent(limit="98")
    assert desk.send(resting) == 0
    order = desk.order(resting)
    claimed = desk.intent(quantity="0.31")
    assert desk.send(claimed, point="+bots.executor.steps.second_look") == SIGKILLED
    shut = {**desk.nursery.common["environ"], "ALLOW_LIVE_TRADING": "0"}
    denied = desk.intent(quantity="0.32")
    assert desk.send(denied, environ=shut) == 0
    assert "LIVE_GATE_CLOSED" in _codes(desk.order(denied))
    assert desk.tick(environ=shut) == 0
    assert desk.sent() == 1
    desk.venue.fill(order.venue_order_id, "0.1")
    desk.nursery.common["environ"] = shut
    desk.settle()
    assert desk.order(claimed).status == "not_sent"
    assert desk.do("cancel", order=order.pk) == 0
    assert desk.order(resting).status == "canceled"
    assert desk.sent() == 1
    desk.check(resting, claimed, denied, struck="restarted with ALLOW_LIVE_TRADING=0, one order claimed, one resting")


@pytest.mark.fault(53)
def test_key_that_was_revoked_stops_its_venue_without_a_storm(kraken_desk: Desk, kraken: KrakenLoopback) -> None:
    desk, resting = kraken_desk, kraken_desk.intent(limit="98")
    assert desk.send(resting) == 0
    kraken.revoke_key()
    refused = desk.intent(quantity="0.31")
    assert desk.send(refused) == 0
    assert desk.order(refused).status == "rejected"
    assert desk.there(refused) == 0
    before = kraken.last_id()
    assert desk.chores(SWEEP, RECONCILE, rounds=20, every_s=0.05) == 0
    asked = [one for one in kraken.log(after_id=before) if "refused" in one.outcome]
    assert len(asked) <= 2, [one.path for one in asked]
    # The resting order is not taken for gone, and the venue is halted until a person has settled it.
    assert desk.order(resting).status == "accepted"
    assert desk.chores(WATCH) == 0
    state = read_state("kraken")
    assert (state.level, read_state("alpaca").level) == (Level.HALTED, Level.ACTIVE)
    assert "does not accept the API key" in "; ".join(state.reasons)
    entry = desk.intent(quantity="0.32")
    assert desk.send(entry) == 0
    assert "KILL_SWITCH" in _codes(desk.order(entry))
    assert desk.sent() == 2
    desk.check(
        refused, entry, struck=f"the key was revoked; asked {len(asked)} times in 20 rounds of chores after that"
    )


def _codes(order: Order) -> list[str]:
    """Return the codes that an order was denied with."""
    denied = OrderEvent.objects.get(client_order_id=order.client_order_id, event="denied")
    return [one["code"] for one in denied.details["reasons"]]
