"""Senders that are killed at Alpaca, and what Alpaca answers or does not, at its live account and at its paper one.

Real processes, the real client and the loopback venue's own ledger. FAULTS.md rows 4 to 8, 14 to 19, 21, 22, 25 and 26.
"""

import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from tests.faults.desk import Desk
from tests.faults.nursery import SIGKILLED
from tests.loopback import faults
from tests.loopback.faults import Fault, Reply

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

POST = "POST /v2/orders"
#: Both accounts take the same path; these few tests show it.
both_accounts = pytest.mark.parametrize("alpaca_desk", ["live", "paper"], indirect=True)
BEFORE_THE_SOCKET = {
    "committed, before the second look": (4, "+bots.executor.steps.second_look"),
    "looked again, before the broker": (5, "+bots.brokers.alpaca.AlpacaBroker.submit"),
    "before the socket": (5, "+bots.brokers.alpaca.AlpacaBroker._ask"),
}
ANSWERED = {
    "acknowledged, fills not asked for": (7, "-bots.brokers.alpaca._new_id"),
    "reported, before its transaction": (7, "+bots.executor.venue.apply"),
    "all written, before the commit": (7, "-audit.log.append_rows:2"),
}
OUTCOMES_UNKNOWN = {
    "no answer in time": (14, faults.answer_lost(POST)),
    "reset in mid-body": (16, faults.reset(POST)),
    "HTTP 500": (17, faults.http_status(POST, 500)),
    "HTTP 504": (17, faults.http_status(POST, 504)),
    "page of HTML": (18, faults.page(POST)),
    "half a JSON": (18, faults.half(POST)),
    "nothing": (18, Fault(POST, Reply.EMPTY)),
}
NEVER_ARRIVED = {
    "no answer in time": (15, faults.request_lost(POST)),
    "HTTP 503": (17, faults.http_status(POST, 503, is_carried_out=False)),
}


def rows(table: Mapping[str, tuple[int, object]]) -> list[Any]:
    """Return the cases of a table, each marked with its row."""
    return [pytest.param(name, marks=pytest.mark.fault(row)) for name, (row, _) in table.items()]


@pytest.mark.parametrize("point", rows(BEFORE_THE_SOCKET))
def test_killed_between_claim_and_socket_is_not_sent_by_anybody(alpaca_desk: Desk, point: str) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    assert desk.send(intent, point=BEFORE_THE_SOCKET[point][1]) == SIGKILLED
    assert desk.send(intent) == 0
    assert desk.sent() == 0
    desk.settle()
    assert desk.order(intent).status == "not_sent"
    assert desk.sent() == 0
    desk.check(intent, struck=point)


@both_accounts
@pytest.mark.fault(6)
def test_killed_after_the_request_left_is_found_and_adopted(alpaca_desk: Desk) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    desk.venue.loopback.fault(faults.answer_lost(POST))
    sender = desk.start_sending(intent)
    desk.venue.loopback.wait_until(lambda: desk.there(intent), bool, 30)
    desk.nursery.kill(sender)
    desk.settle()
    assert desk.order(intent).status == "filled"
    assert desk.sent() == 1
    desk.check(intent, struck="the request had left, no answer yet")


@pytest.mark.parametrize("point", rows(ANSWERED))
def test_killed_after_the_answer_is_found_and_adopted(alpaca_desk: Desk, point: str) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    assert desk.send(intent, point=ANSWERED[point][1]) == SIGKILLED
    assert desk.there(intent) == 1
    desk.settle()
    assert desk.story(intent)[:4] == ["intent", "submitting", "unknown", "adopted"]
    assert desk.order(intent).status == "filled"
    assert desk.sent() == 1
    desk.check(intent, struck=point)


@pytest.mark.parametrize("name", rows(OUTCOMES_UNKNOWN))
def test_order_that_was_taken_is_adopted_and_not_sent_again(alpaca_desk: Desk, name: str) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    desk.venue.loopback.fault(OUTCOMES_UNKNOWN[name][1])
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "unknown"
    assert desk.send(intent) == 0
    desk.settle()
    assert desk.order(intent).status == "filled"
    assert "adopted" in desk.story(intent)
    assert desk.sent() == 1
    desk.check(intent, struck=f"POST /v2/orders: {name}, carried out")


@pytest.mark.parametrize("name", rows(NEVER_ARRIVED))
def test_order_that_was_not_taken_is_not_sent_only_after_the_whole_window(alpaca_desk: Desk, name: str) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    desk.venue.loopback.fault(NEVER_ARRIVED[name][1])
    assert desk.send(intent) == 0
    for _ in range(2):
        desk.later(12)
        assert desk.chores() == 0
        assert desk.order(intent).status == "unknown"
    desk.settle()
    assert desk.order(intent).status == "not_sent"
    assert desk.sent() == 1
    desk.check(intent, struck=f"POST /v2/orders: {name}, not carried out")


@pytest.mark.fault(19)
def test_429_is_rejected_and_a_later_tick_is_a_new_intent(alpaca_desk: Desk) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent()
    desk.venue.loopback.fault(faults.venue_error(POST, "429 42910000 rate limit exceeded"))
    assert desk.send(intent) == 0
    assert desk.story(intent) == ["intent", "submitting", "rejected"]
    desk.later(61)
    later = desk.intent(quantity="0.31")
    assert desk.send(later) == 0
    desk.settle(are_settled=lambda: desk.order(later).status == "filled")
    assert desk.sent() == 2
    desk.check(intent, later, struck="POST /v2/orders: 429")


@pytest.mark.fault(21)
def test_duplicate_id_means_that_the_order_stands_and_it_is_adopted(alpaca_desk: Desk) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent(limit="98")
    refusal = "422 40010001 client_order_id must be unique"
    desk.venue.loopback.fault(faults.venue_error(POST, refusal, is_carried_out=True))
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "accepted"
    assert desk.there(intent) == desk.sent() == 1
    desk.check(intent, struck="POST /v2/orders: refused as a duplicate, while the order stands")


@both_accounts
@pytest.mark.fault(22)
def test_same_task_again_sends_nothing_after_an_instant_fill(alpaca_desk: Desk) -> None:
    desk, intent, due_at = alpaca_desk, alpaca_desk.intent(), timezone.now().isoformat()
    for _ in range(3):
        assert desk.send(intent) == 0
        assert desk.tick(due_at=due_at) == 0
    desk.settle(are_settled=lambda: desk.order(intent).status == "filled")
    assert desk.there(intent) == 1
    sides = [one.side for one in desk.venue.orders()]
    assert sides.count("buy") <= 2, "the intent, and the tick's own"
    desk.check(intent, struck="the intent came three times")


@both_accounts
@pytest.mark.fault(8, 25, 26)
def test_fills_are_polled_on_and_one_after_the_cancel_is_booked(alpaca_desk: Desk) -> None:
    desk, intent = alpaca_desk, alpaca_desk.intent(limit="98")
    assert desk.send(intent, point="-bots.executor.venue.apply") == SIGKILLED
    order = desk.order(intent)
    assert order.status == "accepted"
    desk.venue.fill(order.venue_order_id, "0.1")
    desk.later(31)
    assert desk.chores() == 0
    assert desk.order(intent).filled_quantity == Decimal("0.1")
    assert desk.do("cancel", order=order.pk) == 0
    desk.settle()
    assert desk.order(intent).status == "canceled"
    desk.venue.fill(order.venue_order_id, "0.05")
    desk.later(31)
    assert desk.chores() == 0
    done = desk.order(intent)
    assert (done.status, done.filled_quantity) == ("canceled", Decimal("0.15"))
    desk.check(intent, struck="killed after the ack; then a part filled, a cancel, and one more fill")
