"""The traps of VENUES.md, Alpaca: our broker and the real alpaca-py against a venue that sets each one."""

import json
import logging
import socket
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from bots.brokers.alpaca import SEND_BEFORE
from bots.brokers.alpaca_client import AlpacaClient, load_rest_client_class
from bots.brokers.base import PermitError, VenueError
from bots.brokers.outcomes import CallFailed, Kind
from bots.order_states import OrderStatus
from safety.intents import Side
from tests.bots.brokers.alpaca_builders import (
    ACCOUNT,
    BY_ID,
    BY_OUR_ID,
    CANCEL,
    CLOCK,
    FILLS,
    LIST,
    POSITIONS,
    POST,
    broker_at,
    filled,
    send,
    stock_order,
)
from tests.bots.brokers.builders import permit_of
from tests.loopback import faults
from tests.loopback.client import AlpacaLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = pytest.mark.django_db

UNSOUND = [faults.page, faults.half, lambda path: Fault(path, Reply.EMPTY)]


# Retries: the library's own would send an order up to four times.


@pytest.mark.parametrize("status", [429, 504])
def test_order_that_the_library_would_send_again_is_sent_once(alpaca: AlpacaLoopback, status: int) -> None:
    alpaca.paper.fault(faults.http_status(POST, status))
    order = stock_order()
    report = send(alpaca.paper, order)
    assert report.status == (OrderStatus.REJECTED if status == 429 else OrderStatus.UNKNOWN)
    assert len(alpaca.paper.log(POST)) == 1


@pytest.mark.parametrize("status", [429, 504])
def test_library_itself_sends_again(alpaca: AlpacaLoopback, status: int) -> None:
    account = alpaca.paper
    account.fault(faults.http_status(POST, status))
    rest = load_rest_client_class()(account.url, account.key, account.secret, raw_data=True, retry_wait_seconds=1)
    order = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": "1", "time_in_force": "day"}
    rest.post("/orders", order)
    assert len(account.log(POST)) == 2


@pytest.mark.parametrize("status", [429, 504])
def test_question_is_not_asked_again_either(alpaca: AlpacaLoopback, status: int) -> None:
    alpaca.paper.fault(faults.http_status(ACCOUNT, status))
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(alpaca.paper).account()
    assert len(alpaca.paper.log(ACCOUNT)) == 1


def test_504_after_the_order_was_taken_is_unknown_and_then_found(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.http_status(POST, 504))
    order = stock_order()
    assert send(alpaca.paper, order).status == OrderStatus.UNKNOWN
    found = broker_at(alpaca.paper).look_up(order).found
    assert found is not None
    assert (found.status, filled(found)) == (OrderStatus.FILLED, Decimal(1))
    assert len(alpaca.paper.orders_with(order.client_order_id)) == len(alpaca.paper.log(POST)) == 1


# A duplicate: the order that stands is adopted.


def test_order_whose_id_is_refused_as_taken_leads_to_the_standing_one(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    first = send(alpaca.paper, order)
    again = send(alpaca.paper, order)
    assert again == first
    assert (again.status, len(alpaca.paper.orders())) == (OrderStatus.ACCEPTED, 1)


def test_id_of_a_filled_order_leads_to_it_too(alpaca: AlpacaLoopback) -> None:
    order = stock_order()
    first = send(alpaca.paper, order)
    again = send(alpaca.paper, order)
    assert (again, again.status) == (first, OrderStatus.FILLED)
    assert alpaca.paper.positions() == {"AAPL": "1"}


def test_taken_id_whose_order_cannot_be_seen_is_unknown(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.venue_error(POST, "422 40010001 client_order_id must be unique"))
    report = send(alpaca.paper, stock_order())
    assert (report.status, report.executions) == (OrderStatus.UNKNOWN, ())


# An answer that is none, no answer, half an answer.


@pytest.mark.parametrize("fault", [*UNSOUND, faults.reset, lambda path: faults.http_status(path, 503)])
def test_order_that_was_taken_without_a_sound_answer_is_unknown_then_found(alpaca: AlpacaLoopback, fault: Any) -> None:
    alpaca.paper.fault(fault(POST))
    order = stock_order()
    assert send(alpaca.paper, order).status == OrderStatus.UNKNOWN
    found = broker_at(alpaca.paper).look_up(order).found
    assert found is not None
    assert found.status == OrderStatus.FILLED
    assert len(alpaca.paper.orders_with(order.client_order_id)) == len(alpaca.paper.log(POST)) == 1


@pytest.mark.parametrize("fault", [faults.answer_lost, faults.request_lost])
def test_timeout_is_one_request_and_unknown(alpaca: AlpacaLoopback, fault: Any) -> None:
    alpaca.paper.fault(fault(POST, hang_s=60))
    order = stock_order()
    began = timezone.now()
    report = send(alpaca.paper, order, within_s=6)
    # Without a timeout of ours the library waits for as long as the venue does.
    assert timezone.now() - began < timedelta(seconds=30)
    assert report.status == OrderStatus.UNKNOWN
    assert len(alpaca.paper.log(POST)) == 1
    answer = broker_at(alpaca.paper).look_up(order)
    assert answer.is_complete
    assert (answer.found is not None) == (fault is faults.answer_lost)


def test_answer_that_trickles_in_is_given_up(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.trickle(POST))
    began = timezone.now()
    assert send(alpaca.paper, stock_order(), within_s=6).status == OrderStatus.UNKNOWN
    assert timezone.now() - began < timedelta(seconds=30)


def test_headers_that_trickle_in_are_given_up_in_time(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.trickle_head(POST))
    began, order = timezone.now(), stock_order()
    assert send(alpaca.paper, order, within_s=6).status == OrderStatus.UNKNOWN
    assert timezone.now() - began < timedelta(seconds=30)
    assert broker_at(alpaca.paper).look_up(order).found is not None


def test_older_failure_that_is_being_handled_says_nothing_of_this_question(alpaca: AlpacaLoopback) -> None:
    account = alpaca.paper
    account.fault(faults.reset("GET /v2/clock"))
    client = AlpacaClient(account.url, account.key, account.secret)
    try:
        AlpacaClient("http://127.0.0.1:9", "k", "s").ask("GET", "/clock", timeout_ms=2000)
    except CallFailed:
        with pytest.raises(CallFailed) as caught:
            client.ask("GET", "/clock", timeout_ms=2000)
    assert caught.value.failure.kind == Kind.UNKNOWN


def test_redirect_is_not_followed_and_no_success(alpaca: AlpacaLoopback) -> None:
    account = alpaca.paper
    account.fault(faults.http_status(POST, 307, is_carried_out=False))
    account.fault(faults.http_status(CANCEL, 302, is_carried_out=False))
    assert send(account, stock_order()).status == OrderStatus.UNKNOWN
    order = stock_order(limit="200")
    order_id = send(account, order).venue_order_id
    report = broker_at(account).cancel(order, order_id)
    assert report.status == OrderStatus.ACCEPTED
    assert "elsewhere" in report.reason
    assert len(account.log(CANCEL)) == 1


def test_venue_that_is_not_there_was_sent_nothing() -> None:
    with pytest.raises(CallFailed) as caught:
        AlpacaClient("http://127.0.0.1:9", "k", "s").ask("POST", "/orders", body={"qty": "1"}, timeout_ms=2000)
    assert caught.value.failure.kind == Kind.NOT_REACHED
    assert caught.value.failure.is_definite


@pytest.mark.parametrize("fault", UNSOUND)
@pytest.mark.parametrize("path", [BY_OUR_ID, LIST])
def test_unsound_answer_to_a_search_is_never_taken_for_absence(alpaca: AlpacaLoopback, fault: Any, path: str) -> None:
    alpaca.paper.fault(fault(path))
    answer = broker_at(alpaca.paper).look_up(stock_order())
    assert (answer.found, answer.is_complete) == (None, False)
    assert answer.reason


def test_404_of_a_stranger_is_not_absence(alpaca: AlpacaLoopback) -> None:
    """A page under 404 comes from something in between, not from Alpaca."""
    alpaca.paper.fault(faults.http_status(BY_OUR_ID, 404))
    answer = broker_at(alpaca.paper).look_up(stock_order())
    assert (answer.found, answer.is_complete) == (None, False)
    assert alpaca.paper.log(LIST) == []


def test_whole_search_that_finds_nothing_is_complete(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.place("buy", "1")
    answer = broker_at(alpaca.paper).look_up(stock_order())
    assert (answer.found, answer.is_complete, answer.reason) == (None, True, "")
    assert [entry.path for entry in alpaca.paper.log()] == [BY_OUR_ID, LIST]


def test_order_that_only_the_list_shows_is_found(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.reset(POST), faults.venue_error(BY_OUR_ID, "404 40410000 order not found"))
    order = stock_order()
    send(alpaca.paper, order)
    found = broker_at(alpaca.paper).look_up(order).found
    assert found is not None
    assert found.status == OrderStatus.FILLED


def test_invisible_order_is_found_once_it_shows(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(Fault(POST, Reply.RESET, invisible_s=1))
    order = stock_order()
    assert send(alpaca.paper, order).status == OrderStatus.UNKNOWN
    broker = broker_at(alpaca.paper)
    later = alpaca.paper.wait_until(lambda: broker.look_up(order).found, lambda found: found is not None, 30)
    assert later.status == OrderStatus.FILLED


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"quantity": Decimal(2)}, "quantity"),
        ({"symbol": "MSFT"}, "it is in"),
        ({"side": Side.SELL}, "it is a"),
    ],
)
def test_order_that_does_not_agree_is_neither_adopted_nor_absent(
    alpaca: AlpacaLoopback, changes: dict[str, Any], differs: str
) -> None:
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    for known in ("", order_id):
        answer = broker_at(alpaca.paper).look_up(replace(order, **changes), known)
        assert (answer.found, answer.is_complete) == (None, False)
        assert differs in answer.reason


# Words that nobody knows, after the order was placed.


def test_unknown_word_in_the_answer_to_an_order_is_no_failure(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_submit_status("quantum_pending")
    report = send(alpaca.paper, stock_order())
    assert (report.status, filled(report)) == (OrderStatus.FILLED, Decimal(1))


def test_unknown_state_leaves_the_order_open(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    alpaca.paper.end(order_id, "quantum_resting")
    found = broker_at(alpaca.paper).look_up(order, order_id).found
    assert found is not None
    assert (found.status, found.venue_order_id) == (OrderStatus.ACCEPTED, order_id)
    assert "'quantum_resting'" in found.reason


# What it takes, and the words in which it refuses.


REFUSALS = [
    ("403 40310000 insufficient buying power", "cash"),
    ("403 40310000 insufficient qty available for order (requested: 2, available: 1)", "shares"),
    ('403 40310000 asset "OCGN" is not fractionable', "whole shares"),
    ("403 40310000 potential wash trade detected. use complex orders", "opposite order"),
    ('422 42210000 asset "ZZZZ" not found', "invalid"),
    ("422 42210000 fractional orders must be DAY orders", "invalid"),
    ("429 42910000 rate limit exceeded", "fewer requests"),
    ("401 unauthorized.", "API key"),
    ("403 forbidden.", "API key"),
]


@pytest.mark.parametrize(("said", "sentence"), REFUSALS)
def test_refusal_is_rejected_in_its_own_words(alpaca: AlpacaLoopback, said: str, sentence: str) -> None:
    alpaca.paper.fault(faults.venue_error(POST, said))
    report = send(alpaca.paper, stock_order())
    assert (report.status, report.venue_order_id) == (OrderStatus.REJECTED, "")
    assert sentence in report.reason
    assert len(alpaca.paper.log(POST)) == 1


def test_real_refusals_of_the_venue(alpaca: AlpacaLoopback) -> None:
    """The same, said by a venue that has looked at its books."""
    account = alpaca.paper
    assert "whole shares" in send(account, stock_order(symbol="OCGN", quantity="1.5")).reason
    assert "cash" in send(account, stock_order(quantity="100000")).reason
    assert "invalid" in send(account, stock_order(symbol="ZZZZ")).reason
    send(account, stock_order())
    assert "shares" in send(account, stock_order(Side.SELL, "2")).reason
    send(account, stock_order(Side.SELL, "1", limit="240"))
    assert "opposite order" in send(account, stock_order(quantity="1", limit="250")).reason
    assert account.positions() == {"AAPL": "1"}


@pytest.mark.parametrize(
    ("quantity", "limit", "what"),
    [
        ("0.1234567891", None, "quantity"),
        ("1", "230.005", "limit price"),
        ("1", "0.12345", "limit price"),
        ("0", None, "quantity"),
    ],
)
def test_order_that_would_have_to_be_changed_is_not_sent(
    alpaca: AlpacaLoopback, quantity: str, limit: str | None, what: str
) -> None:
    report = send(alpaca.paper, stock_order(quantity=quantity, limit=limit))
    assert report.status == OrderStatus.REJECTED
    assert what in report.reason
    assert "nothing was sent" in report.reason
    assert alpaca.paper.log() == []


def test_figures_go_out_as_text_and_for_the_day(alpaca: AlpacaLoopback) -> None:
    order = stock_order(quantity="0.123456789", limit="2.1E+2")
    send(alpaca.paper, order)
    (entry,) = alpaca.paper.log(POST)
    assert json.loads(entry.body) == {
        "symbol": "AAPL", "side": "buy", "type": "limit", "qty": "0.123456789", "limit_price": "210", "time_in_force": "day",
        "client_order_id": order.client_order_id,
    }  # fmt: skip


def test_figures_come_back_exactly(alpaca: AlpacaLoopback) -> None:
    """Nine decimals of a share and a price in hundredths of a cent: no float keeps their product."""
    alpaca.set_price("230.1235", "230.1237")
    report = send(alpaca.paper, stock_order(quantity="123.123456789"))
    (one,) = report.executions
    assert (one.quantity, one.price, one.fee) == (Decimal("123.123456789"), Decimal("230.1237"), Decimal(0))
    (trade,) = alpaca.paper.trades()
    assert one.trade_id == trade


# Too late.


def test_order_with_too_little_time_left_is_not_sent(alpaca: AlpacaLoopback) -> None:
    order = stock_order()
    deadline = timezone.now() + SEND_BEFORE - timedelta(milliseconds=1)
    report = broker_at(alpaca.paper).submit(order, permit_of(order), deadline)
    assert (report.status, alpaca.paper.log()) == (OrderStatus.REJECTED, [])
    assert "too late" in report.reason


def test_machine_that_slept_while_it_connected_sends_nothing(
    alpaca: AlpacaLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock stood still meanwhile, and so did every timeout."""
    found = socket.getaddrinfo
    with ExitStack() as slept:

        def late(*args: Any, **kwargs: Any) -> Any:
            # Once: a host may have several addresses, and be looked up again.
            monkeypatch.setattr(socket, "getaddrinfo", found)
            slept.enter_context(time_machine.travel(timezone.now() + timedelta(hours=9), tick=True))
            return found(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", late)
        report = send(alpaca.paper, stock_order())
    assert (report.status, report.was_sent) == (OrderStatus.REJECTED, False)
    assert alpaca.paper.log(POST) == []


def test_order_of_another_account_or_venue_is_not_sent(alpaca: AlpacaLoopback) -> None:
    for order in (stock_order(is_live=True), stock_order(venue="kraken")):
        with pytest.raises(PermitError):
            send(alpaca.paper, order)
    with pytest.raises(PermitError):
        send(alpaca.live, stock_order())
    order = stock_order()
    with pytest.raises(PermitError):
        broker_at(alpaca.paper).submit(order, permit_of(stock_order()), timezone.now() + timedelta(seconds=30))
    assert alpaca.paper.log() + alpaca.live.log() == []


# Fills: the status never runs ahead of them.


def test_order_whose_fills_lag_is_open_until_they_are_listed(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_activity_lag_s(4)
    order = stock_order()
    report = send(alpaca.paper, order)
    assert (report.status, report.executions) == (OrderStatus.ACCEPTED, ())
    assert "lists 0" in report.reason
    broker = broker_at(alpaca.paper)
    found = alpaca.paper.wait_until(
        lambda: broker.look_up(order, report.venue_order_id).found,
        lambda found: found is not None and found.status == OrderStatus.FILLED,
        30,
    )
    assert filled(found) == 1


def test_partial_fills_add_up_also_after_a_cancel(alpaca: AlpacaLoopback) -> None:
    alpaca.set_depth("0.4")
    order = stock_order(quantity="1", limit="240")
    report = send(alpaca.paper, order)
    assert (report.status, filled(report)) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.4"))
    broker = broker_at(alpaca.paper)
    canceled = broker.cancel(order, report.venue_order_id)
    assert (canceled.status, filled(canceled)) == (OrderStatus.CANCELED, Decimal("0.4"))
    alpaca.paper.fill(report.venue_order_id, "0.1")
    late = broker.look_up(order, report.venue_order_id).found
    assert late is not None
    assert (late.status, filled(late), len(late.executions)) == (OrderStatus.CANCELED, Decimal("0.5"), 2)


def test_order_whose_state_could_not_be_asked_is_accepted_with_its_id(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.page(BY_ID))
    report = send(alpaca.paper, stock_order())
    (order_id,) = alpaca.paper.orders()
    assert (report.status, report.venue_order_id, report.executions) == (OrderStatus.ACCEPTED, order_id, ())


def test_order_that_was_taken_stands_though_the_venue_s_clock_is_behind(alpaca: AlpacaLoopback) -> None:
    """The venue itself gave it its id: what it did is ours. Found by searching it would be none of ours."""
    order = stock_order(created_at=timezone.now() + timedelta(minutes=1))
    report = send(alpaca.paper, order)
    (order_id,) = alpaca.paper.orders()
    assert (report.status, report.venue_order_id, filled(report)) == (OrderStatus.FILLED, order_id, Decimal(1))
    search = broker_at(alpaca.paper).look_up(order)
    assert search.found is None
    assert "older than our order" in search.reason


def test_fills_of_others_on_many_pages_hide_none_of_ours(alpaca: AlpacaLoopback) -> None:
    order = stock_order()
    for _ in range(205):
        alpaca.paper.place("buy", "0.01")
    report = send(alpaca.paper, order)
    assert (report.status, filled(report)) == (OrderStatus.FILLED, Decimal(1))
    assert len(alpaca.paper.log(FILLS)) == 3


# Cancels.


def test_cancel_that_takes_a_while_is_not_called_canceled(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.set_cancel_s(3600)
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    broker = broker_at(alpaca.paper)
    report = broker.cancel(order, order_id)
    assert report.status == OrderStatus.ACCEPTED
    assert "not carried it out yet" in report.reason
    alpaca.paper.fill(order_id, "0.3")
    alpaca.paper.end(order_id, "canceled")
    ended = broker.look_up(order, order_id).found
    assert ended is not None
    assert (ended.status, filled(ended)) == (OrderStatus.CANCELED, Decimal("0.3"))


def test_cancel_of_a_filled_order_says_that_it_was_filled(alpaca: AlpacaLoopback) -> None:
    order = stock_order()
    order_id = send(alpaca.paper, order).venue_order_id
    report = broker_at(alpaca.paper).cancel(order, order_id)
    assert (report.status, filled(report)) == (OrderStatus.FILLED, Decimal(1))


def test_cancel_whose_answer_was_lost_is_seen_by_asking(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    alpaca.paper.fault(faults.reset(CANCEL))
    assert broker_at(alpaca.paper).cancel(order, order_id).status == OrderStatus.CANCELED


def test_cancel_that_never_arrived_leaves_the_order_resting(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    alpaca.paper.fault(faults.reset(CANCEL, is_carried_out=False))
    report = broker_at(alpaca.paper).cancel(order, order_id)
    assert (report.status, len(alpaca.paper.log(CANCEL))) == (OrderStatus.ACCEPTED, 1)
    assert report.reason


def test_cancel_without_any_answer_is_unknown(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    order_id = send(alpaca.paper, order).venue_order_id
    alpaca.paper.fault(faults.http_status(CANCEL, 502), faults.http_status(BY_ID, 502))
    report = broker_at(alpaca.paper).cancel(order, order_id)
    assert (report.status, report.venue_order_id) == (OrderStatus.UNKNOWN, order_id)
    assert "not known" in report.reason


def test_cancel_goes_by_our_own_id_where_the_venues_is_not_known(alpaca: AlpacaLoopback) -> None:
    order = stock_order(limit="200")
    alpaca.paper.fault(faults.reset(POST))
    assert send(alpaca.paper, order).status == OrderStatus.UNKNOWN
    assert broker_at(alpaca.paper).cancel(order, "").status == OrderStatus.CANCELED


# Back-off.


def test_after_too_many_requests_nothing_is_asked_for_a_while_but_urgent_cancels(alpaca: AlpacaLoopback) -> None:
    account = alpaca.paper
    order = stock_order(limit="200")
    broker = broker_at(account)
    order_id = broker.submit(order, permit_of(order), timezone.now() + timedelta(seconds=30)).venue_order_id
    account.fault(faults.venue_error(CLOCK, "429 42910000 rate limit exceeded"))
    with pytest.raises(VenueError, match="fewer requests"):
        broker.status()
    before = len(account.log())
    refused = stock_order()
    report = broker.submit(refused, permit_of(refused), timezone.now() + timedelta(seconds=30))
    assert report.status == OrderStatus.REJECTED
    assert "not asked again for a while" in report.reason
    assert len(account.log()) == before
    # It leaves; what it did is looked up once there is room again.
    assert broker.cancel(order, order_id, urgent=True).cancel_taken
    assert account.orders()[order_id]["status"] == "canceled"


def test_refused_key_is_not_tried_again_at_once(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.revoke_keys()
    broker = broker_at(alpaca.paper)
    for _ in range(5):
        rights = broker.key_rights()
        assert (rights.is_known, rights.is_refused) == (False, True)
    assert len(alpaca.paper.log()) == 1


# Keys stay out of every log line and message; nothing is opened before it is asked.


def test_no_secret_is_logged_or_told(alpaca: AlpacaLoopback, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("alpaca", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    account = alpaca.paper
    account.fault(faults.reset(POST), faults.http_status(POST, 503), faults.venue_error(POST, "401 unauthorized."))
    told = [send(account, stock_order()).reason for _ in range(3)]
    told += [repr(broker_at(account).key_rights()), caplog.text]
    secrets = [account.secret[:12], account.key[:12], "APCA-API"]
    assert [secret for secret in secrets if any(secret in text for text in told)] == []


def test_client_opens_nothing_until_it_is_asked(alpaca: AlpacaLoopback) -> None:
    broker_at(alpaca.live)
    assert alpaca.live.log() == []


@pytest.mark.parametrize("path", [ACCOUNT, POSITIONS])
@pytest.mark.parametrize("fault", UNSOUND)
def test_unsound_account_is_not_an_empty_one(alpaca: AlpacaLoopback, path: str, fault: Any) -> None:
    alpaca.paper.fault(fault(path))
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(alpaca.paper).account()
