"""What a venue answers, or does not: the outcome is found out, nothing is sent twice, nothing is called failed that may stand.

Real processes and the loopback venue's own ledger. FAULTS.md rows 14 to 23.
"""

import sys

import pytest
from django.utils import timezone

from audit.models import OrderEvent
from bots.models import Bot
from tests.faults.desk import Desk
from tests.faults.wire import intent_json
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

ADD = "AddOrder"
OUTCOMES_UNKNOWN = {
    "no answer in time": (14, faults.answer_lost(ADD)),
    "answer byte by byte": (14, faults.trickle(ADD)),
    "reset in mid-body": (16, faults.reset(ADD)),
    "HTTP 500": (17, faults.http_status(ADD, 500)),
    "HTTP 502": (17, faults.http_status(ADD, 502)),
    "HTTP 504": (17, faults.http_status(ADD, 504)),
    "EService:Unavailable": (17, faults.venue_error(ADD, "EService:Unavailable", is_carried_out=True)),
    "EService:Busy": (17, faults.venue_error(ADD, "EService:Busy", is_carried_out=True)),
    "EGeneral:Internal error": (17, faults.venue_error(ADD, "EGeneral:Internal error", is_carried_out=True)),
    "page of HTML": (18, faults.page(ADD)),
    "half a JSON": (18, faults.half(ADD)),
    "nothing": (18, Fault(ADD, Reply.EMPTY)),
}
REFUSED_FOR_NOW = {
    "HTTP 429": (19, faults.http_status(ADD, 429, is_carried_out=False)),
    "EAPI:Rate limit exceeded": (19, faults.venue_error(ADD, "EAPI:Rate limit exceeded")),
    "EOrder:Rate limit exceeded": (19, faults.venue_error(ADD, "EOrder:Rate limit exceeded")),
    "EAPI:Invalid nonce": (20, faults.venue_error(ADD, "EAPI:Invalid nonce")),
}
NEVER_ARRIVED = {
    "no answer in time": (15, faults.request_lost(ADD)),
    "reset in mid-body": (16, faults.reset(ADD, is_carried_out=False)),
    "HTTP 503": (17, faults.http_status(ADD, 503, is_carried_out=False)),
    "page of HTML": (18, faults.page(ADD, is_carried_out=False)),
}


def rows(table: dict[str, tuple[int, Fault]]) -> list[object]:
    """Return the cases of a table, each marked with its row."""
    return [pytest.param(name, marks=pytest.mark.fault(row)) for name, (row, _) in table.items()]


@pytest.mark.parametrize("name", rows(OUTCOMES_UNKNOWN))
def test_order_that_was_taken_is_adopted_and_not_sent_again(kraken_desk: Desk, name: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    desk.venue.loopback.fault(OUTCOMES_UNKNOWN[name][1])
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "unknown"
    # Neither the same intent nor another of the symbol goes out meanwhile.
    assert desk.send(intent) == 0
    assert desk.send(other := desk.intent(quantity="0.31")) == 0
    assert desk.order(other).status == "denied"
    desk.settle()
    assert desk.order(intent).status == "filled"
    assert "adopted" in desk.story(intent)
    assert desk.sent() == 1
    desk.check(intent, struck=f"AddOrder: {name}, carried out")


@pytest.mark.parametrize("name", rows(NEVER_ARRIVED))
def test_order_that_was_not_taken_is_not_sent_only_after_the_whole_window(kraken_desk: Desk, name: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    desk.venue.loopback.fault(NEVER_ARRIVED[name][1])
    assert desk.send(intent) == 0
    for _ in range(3):
        desk.later(9)
        assert desk.chores() == 0
        assert desk.order(intent).status == "unknown"
    desk.settle()
    assert desk.order(intent).status == "not_sent"
    assert "did not find it at the venue" in OrderEvent.objects.get(event="not_sent").reason
    assert desk.sent() == 1
    desk.check(intent, struck=f"AddOrder: {name}, not carried out")


@pytest.mark.parametrize("name", rows(REFUSED_FOR_NOW))
def test_refusal_for_now_is_rejected_and_a_later_tick_is_a_new_intent(kraken_desk: Desk, name: str) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    desk.venue.loopback.fault(REFUSED_FOR_NOW[name][1])
    assert desk.send(intent) == 0
    assert desk.story(intent) == ["intent", "submitting", "rejected"]
    assert desk.there(intent) == 0
    desk.later(60)
    later = desk.intent(quantity="0.31")
    assert desk.send(later) == 0
    assert desk.order(later).status == "filled"
    assert desk.sent() == 2
    desk.check(intent, later, struck=f"AddOrder: {name}")


@pytest.mark.fault(19)
def test_process_that_was_told_to_slow_down_asks_nothing_for_a_while(kraken_desk: Desk) -> None:
    desk, first, second = kraken_desk, kraken_desk.intent(), kraken_desk.intent(quantity="0.31")
    desk.venue.loopback.fault(faults.venue_error(ADD, "EAPI:Rate limit exceeded", count=99))
    assert desk.nursery.run("send", [], intent=intent_json(first), then=[intent_json(second)]) == 0
    assert desk.order(first).status == "rejected"
    assert desk.order(second).status in {"rejected", "denied"}
    assert desk.sent() == 1
    desk.check(first, second, struck="AddOrder: rate limit, twice in one process")


@pytest.mark.fault(20)
def test_bot_whose_numbers_are_refused_again_and_again_pauses_and_says_why(kraken_desk: Desk) -> None:
    desk = kraken_desk
    desk.venue.loopback.fault(faults.venue_error(ADD, "EAPI:Invalid nonce", count=99))
    intents = [desk.intent(quantity=f"0.3{number}") for number in range(5)]
    for intent in intents:
        assert desk.send(intent) == 0
        assert desk.order(intent).status == "rejected"
    assert desk.chores("bots.account_chores.measure_paper_accounts") == 0
    bot = Bot.objects.get(pk=desk.bot.pk)
    assert bot.status == "paused"
    assert "5 orders in a row were rejected" in bot.status_reason
    assert desk.sent() == 5
    desk.check(*intents[:1], struck="AddOrder: invalid nonce, five times")


@pytest.mark.fault(21)
def test_duplicate_id_means_that_the_order_stands_and_it_is_adopted(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(limit="98")
    refusal = "EGeneral:Invalid arguments:cl_ord_id not unique"
    desk.venue.loopback.fault(faults.venue_error(ADD, refusal, is_carried_out=True))
    assert desk.send(intent) == 0
    assert desk.story(intent) == ["intent", "submitting", "accepted"]
    assert desk.there(intent) == desk.sent() == 1
    desk.check(intent, struck="AddOrder: refused as a duplicate, while the order stands")


@pytest.mark.fault(21)
def test_duplicate_that_cannot_be_seen_yet_is_unknown_and_then_adopted(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(limit="98")
    refusal = "EGeneral:Invalid arguments:cl_ord_id not unique"
    desk.venue.loopback.fault(
        faults.venue_error(ADD, refusal, is_carried_out=True), faults.page("OpenOrders"), faults.page("ClosedOrders")
    )
    assert desk.send(intent) == 0
    assert desk.order(intent).status == "unknown"
    desk.settle()
    assert desk.order(intent).status == "accepted"
    assert desk.there(intent) == desk.sent() == 1
    desk.check(intent, struck="AddOrder: refused as a duplicate, the look-up failed too")


@pytest.mark.fault(22)
def test_same_task_again_sends_nothing_after_an_instant_fill(kraken_desk: Desk) -> None:
    desk, due_at = kraken_desk, timezone.now().isoformat()
    for _ in range(3):
        assert desk.tick(due_at=due_at) == 0
    # A repeat may go on to the other leg, never to the same again.
    sides = [one.side for one in desk.venue.orders()]
    assert sides in (["buy"], ["buy", "sell"])
    desk.check(struck="the tick's task came three times")
    desk.note("the tick's task came three times", f"at the venue: {' and '.join(sides)}, once each")


@pytest.mark.fault(22)
def test_same_intent_again_is_denied_after_an_instant_fill(kraken_desk: Desk) -> None:
    desk, intent = kraken_desk, kraken_desk.intent()
    for _ in range(3):
        assert desk.send(intent) == 0
    assert desk.order(intent).status == "filled"
    assert desk.there(intent) == desk.sent() == 1
    desk.check(intent, struck="the intent came three times")


@pytest.mark.fault(23)
def test_order_that_stays_invisible_for_30_s_is_unknown_until_it_is_seen(
    kraken_desk: Desk, kraken: KrakenLoopback
) -> None:
    desk, intent = kraken_desk, kraken_desk.intent(limit="98")
    desk.venue.loopback.fault(Fault(ADD, Reply.HANG, invisible_s=3600))
    assert desk.send(intent) == 0
    assert desk.there(intent) == 1
    for _ in range(5):
        desk.later(6)
        assert desk.chores() == 0
        assert desk.order(intent).status == "unknown"
    assert desk.order(intent).empty_look_ups >= 2
    kraken.reveal()
    desk.settle()
    assert desk.order(intent).status == "accepted"
    assert desk.sent() == 1
    desk.check(intent, struck="accepted, in no list for 30 s, answer lost")
