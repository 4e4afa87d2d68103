"""The traps of VENUES.md, numbered as there: our broker and the real ccxt against a venue that sets each one."""

import logging
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from bots.brokers.base import PermitError, VenueError
from bots.brokers.factory import broker_for
from bots.brokers.kraken import PAGES_MAX, KrakenBroker
from bots.brokers.kraken_client import KrakenClient, load_exchange_class
from bots.order_states import OrderStatus
from tests.bots.brokers.kraken_builders import broker_at, filled, live_order, send
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = pytest.mark.django_db

UNSOUND = [faults.page, faults.half, lambda path: Fault(path, Reply.EMPTY)]


def unified(venue: KrakenLoopback) -> Any:
    """Return ccxt as it comes, to show that the loopback sets the trap that the broker avoids."""
    exchange = load_exchange_class()({"apiKey": venue.key, "secret": venue.secret, "enableRateLimit": False})
    exchange.urls["api"] = {"public": venue.url, "private": venue.url}
    return exchange


# 1: a 200 that is no answer raises nothing in ccxt.


@pytest.mark.parametrize("fault", UNSOUND)
def test_1_order_that_was_taken_under_an_unsound_answer_is_unknown_then_found(
    kraken: KrakenLoopback, fault: Any
) -> None:
    kraken.fault(fault("AddOrder"))
    order = live_order()
    report = send(order)
    assert report.status == OrderStatus.UNKNOWN
    found = broker_for("kraken", is_live=True).look_up(order).found
    assert found is not None
    assert found.status == OrderStatus.FILLED
    assert len(kraken.orders_with(order.client_order_id)) == len(kraken.log("AddOrder")) == 1


def test_1_ccxt_itself_says_nothing_of_it(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.page("AddOrder"))
    assert unified(kraken).create_order("BTC/USD", "market", "buy", 0.001)["id"] is None
    assert len(kraken.orders()) == 1


@pytest.mark.parametrize("fault", UNSOUND)
@pytest.mark.parametrize("path", ["OpenOrders", "ClosedOrders", "TradesHistory"])
def test_1_unsound_list_is_never_taken_for_absence(kraken: KrakenLoopback, fault: Any, path: str) -> None:
    kraken.fault(fault(path))
    answer = broker_at(kraken).look_up(live_order())
    assert (answer.found, answer.is_complete) == (None, False)
    assert "no sound answer" in answer.reason


def test_1_whole_search_that_finds_nothing_is_complete(kraken: KrakenLoopback) -> None:
    kraken.place("buy", "0.01")
    answer = broker_at(kraken).look_up(live_order())
    assert (answer.found, answer.is_complete, answer.reason) == (None, True, "")
    assert {"OpenOrders", "ClosedOrders", "TradesHistory"} <= {entry.path for entry in kraken.log()}


@pytest.mark.parametrize("fault", UNSOUND)
def test_1_unsound_balances_are_not_an_empty_account(kraken: KrakenLoopback, fault: Any) -> None:
    kraken.fault(fault("BalanceEx"))
    with pytest.raises(VenueError, match="could not be read"):
        broker_at(kraken).account()


# 2: a cancel's outcome is never read off an older answer.


def test_2_network_error_after_an_unknown_order_is_not_taken_for_it(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    broker = broker_for("kraken", is_live=True)
    broker.cancel(live_order(limit="59000"), "OAAAAA-BBBBB-CCCCCC")
    kraken.fault(faults.reset("CancelOrder", is_carried_out=False))
    report = broker.cancel(order, order_id)
    assert report.status == OrderStatus.ACCEPTED
    assert "connection" in report.reason
    assert broker.cancel(order, order_id).status == OrderStatus.CANCELED


def test_2_cancel_whose_answer_was_lost_is_seen_by_asking(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    kraken.fault(faults.reset("CancelOrder"))
    assert broker_at(kraken).cancel(order, order_id).status == OrderStatus.CANCELED


def test_2_cancel_of_a_filled_order_says_that_it_was_filled(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    kraken.set_price("58000", "58001")
    report = broker_at(kraken).cancel(order, order_id)
    assert (report.status, filled(report)) == (OrderStatus.FILLED, Decimal("0.001"))


def test_2_cancel_without_any_answer_is_unknown(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    order_id = send(order).venue_order_id
    kraken.fault(faults.http_status("CancelOrder", 502), faults.http_status("QueryOrders", 502))
    report = broker_at(kraken).cancel(order, order_id)
    assert (report.status, report.venue_order_id) == (OrderStatus.UNKNOWN, order_id)
    assert "not known" in report.reason


def test_2_cancel_goes_by_our_own_id_where_the_venues_is_not_known(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    kraken.fault(faults.reset("AddOrder"))
    assert send(order).status == OrderStatus.UNKNOWN
    assert broker_at(kraken).cancel(order, "").status == OrderStatus.CANCELED


# 3 (the nonce) is in test_signer.py, 4 (classes of errors) in test_outcomes.py.


# 5: one request, no retry; it may land later.


@pytest.mark.parametrize("fault", [faults.answer_lost, faults.request_lost])
def test_5_timeout_is_one_request_and_unknown(kraken: KrakenLoopback, fault: Any) -> None:
    kraken.fault(fault("AddOrder", hang_s=60))
    order = live_order()
    began = timezone.now()
    report = send(order)
    assert timezone.now() - began < timedelta(seconds=30)
    assert report.status == OrderStatus.UNKNOWN
    assert len(kraken.log("AddOrder")) == 1
    answer = broker_at(kraken).look_up(order)
    assert answer.is_complete
    assert (answer.found is not None) == (fault is faults.answer_lost)


def test_5_order_that_lands_after_its_deadline_is_refused_by_the_venue(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.arrives_late("AddOrder", 4))
    order = live_order()
    assert send(order, within_s=2.5).status == OrderStatus.UNKNOWN
    kraken.wait_until(lambda: kraken.log("AddOrder")[0].outcome, bool)
    assert kraken.log("AddOrder")[0].outcome == "refused: EService:Deadline elapsed"
    assert kraken.orders() == {}


def test_5_redirect_is_not_followed(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.http_status("AddOrder", 307))
    assert send(live_order()).status == OrderStatus.UNKNOWN
    assert len(kraken.log("AddOrder")) == 1


# 8: the answer to an order holds neither status nor fills: they are asked for.


def test_8_order_whose_fills_could_not_be_asked_for_is_accepted_with_its_id(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.page("QueryOrders"))
    order = live_order()
    report = send(order)
    assert (report.status, report.executions) == (OrderStatus.ACCEPTED, ())
    (order_id,) = kraken.orders()
    assert report.venue_order_id == order_id
    found = broker_at(kraken).look_up(order, order_id).found
    assert found is not None
    assert found.status == OrderStatus.FILLED


def test_8_status_never_runs_ahead_of_the_executions(kraken: KrakenLoopback) -> None:
    kraken.set_depth("0.0004")
    order = live_order(limit="60010")
    report = send(order)
    assert (report.status, filled(report)) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.0004"))
    kraken.fill(report.venue_order_id, "0.0006")
    kraken.fault(faults.page("QueryTrades"))
    broker = broker_at(kraken)
    assert broker.look_up(order, report.venue_order_id).found is None
    again = broker.look_up(order, report.venue_order_id).found
    assert again is not None
    assert (again.status, filled(again), len(again.executions)) == (OrderStatus.FILLED, Decimal("0.001"), 2)


# 9: an order is looked up by our id among open and closed orders, never as a userref.


def test_9_order_is_found_by_our_id(kraken: KrakenLoopback) -> None:
    orders = [live_order(limit="59000"), live_order()]
    for order in orders:
        kraken.fault(faults.reset("AddOrder"))
        assert send(order).status == OrderStatus.UNKNOWN
    kraken.place("buy", "0.001")
    found = [broker_at(kraken).look_up(order).found for order in orders]
    assert [one and one.status for one in found] == [OrderStatus.ACCEPTED, OrderStatus.FILLED]
    assert all("userref" not in entry.fields for entry in kraken.log())


def test_9_order_that_only_its_trades_show_is_found(kraken: KrakenLoopback) -> None:
    for _ in range(30):
        kraken.place("buy", "0.001")
    kraken.fault(faults.reset("AddOrder"))
    order = live_order()
    send(order)
    for _ in range(30):
        kraken.place("buy", "0.001")
    (order_id,) = (id_ for id_, one in kraken.orders().items() if one["cl_ord_id"] == order.client_order_id)
    kraken.unlist(order_id)
    answer = broker_at(kraken).look_up(order)
    assert answer.found is not None
    assert (answer.found.venue_order_id, answer.found.status) == (order_id, OrderStatus.FILLED)


def test_9_search_that_could_not_see_every_trade_is_not_complete(kraken: KrakenLoopback) -> None:
    order = live_order()
    for _ in range(PAGES_MAX * 50 + 1):
        kraken.place("buy", "0.0001")
    answer = broker_at(kraken).look_up(order)
    assert (answer.found, answer.is_complete) == (None, False)
    assert "more orders or trades than were looked through" in answer.reason


def test_9_invisible_order_is_found_once_it_shows(kraken: KrakenLoopback) -> None:
    kraken.fault(Fault("AddOrder", Reply.RESET, invisible_s=1.5))
    order = live_order()
    assert send(order).status == OrderStatus.UNKNOWN
    first = broker_at(kraken).look_up(order)
    assert (first.found, first.is_complete) == (None, True)
    later = kraken.wait_until(lambda: broker_at(kraken).look_up(order).found, lambda found: found is not None)
    assert later.status == OrderStatus.FILLED


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"quantity": Decimal("0.002")}, "quantity"),
        ({"symbol": "ETH/USD"}, "it is in"),
        ({"side": "sell"}, "it is a buy"),
        ({"created_at": timezone.now() + timedelta(hours=1)}, "older"),
    ],
)
def test_9_order_that_does_not_agree_is_neither_adopted_nor_absent(
    kraken: KrakenLoopback, changes: dict[str, Any], differs: str
) -> None:
    order = live_order(limit="59000")
    send(order)
    answer = broker_at(kraken).look_up(replace(order, **changes))
    assert (answer.found, answer.is_complete) == (None, False)
    assert differs in answer.reason


def test_9_two_orders_with_one_id_are_put_before_the_operator(kraken: KrakenLoopback) -> None:
    order = live_order()
    for _ in range(2):
        send(order)
    answer = broker_at(kraken).look_up(order)
    assert (answer.found, answer.is_complete) == (None, False)
    assert "2 orders with the id" in answer.reason


def test_9_id_of_an_open_order_that_is_refused_again_leads_to_the_standing_order(kraken: KrakenLoopback) -> None:
    order = live_order(limit="59000")
    first = send(order)
    again = send(order)
    assert again == first
    assert kraken.log("AddOrder")[-1].outcome == "refused: EGeneral:Invalid arguments:cl_ord_id not unique"
    assert len(kraken.orders()) == 1


# 10: figures go out as they are, or not at all.


@pytest.mark.parametrize(
    ("quantity", "limit", "what"),
    [
        ("0.123456789", None, "quantity"),
        ("0.001", "59000.05", "limit price"),
        ("NaN", None, "quantity"),
        ("0", None, "quantity"),
    ],
)
def test_10_order_that_would_have_to_be_changed_is_not_sent(
    kraken: KrakenLoopback, quantity: str, limit: str | None, what: str
) -> None:
    order = live_order(quantity=quantity, limit=limit)
    # A figure that is no number covers nothing, itself neither.
    if quantity == "NaN":
        with pytest.raises(PermitError):
            send(order)
        return
    report = send(order)
    assert report.status == OrderStatus.REJECTED
    assert what in report.reason
    assert "nothing was sent" in report.reason
    assert kraken.log("AddOrder") == []


def test_10_figures_go_out_digit_by_digit(kraken: KrakenLoopback) -> None:
    kraken.set_balance("ZUSD", "99999999")
    send(live_order(quantity="1.00000001", limit="59000.1"))
    send(live_order(quantity="1E+2", limit="5.9E+4"))
    sent = [(entry.fields["volume"], entry.fields["price"]) for entry in kraken.log("AddOrder")]
    assert sent == [("1.00000001", "59000.1"), ("100", "59000")]


# 11: keys and signatures stay out of every log line and message.


def test_11_no_secret_is_logged_or_told(kraken: KrakenLoopback, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("ccxt", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    kraken.fault(faults.reset("AddOrder"), faults.http_status("AddOrder", 503))
    told = [send(live_order()).reason for _ in range(3)]
    told += [repr(broker_for("kraken", is_live=True).key_rights()), caplog.text]
    signatures = [kraken.secret[:12], kraken.key[:12], "API-Sign", "API-Key"]
    assert [secret for secret in signatures if any(secret in text for text in told)] == []


# 12: nothing waits by itself.


def test_12_requests_are_not_slowed_down_by_the_library(kraken: KrakenLoopback) -> None:
    took_s = []
    for _ in range(5):
        began_s = time.monotonic()
        for _ in range(5):
            broker_for("kraken", is_live=True).key_rights()
        took_s.append(time.monotonic() - began_s)
    # The library waits for a second before each; a busy machine is slow now and then.
    assert min(took_s) < 2


def test_library_of_a_wrong_secret_says_so_without_asking(kraken: KrakenLoopback) -> None:
    rights = KrakenBroker(kraken.url, kraken.key, "not base64!").key_rights()
    assert (rights.is_known, rights.is_refused) == (False, True)
    assert "KRAKEN_API_SECRET" in rights.reason
    assert kraken.log() == []


def test_client_opens_nothing_until_it_is_asked(kraken: KrakenLoopback) -> None:
    KrakenClient(kraken.url, kraken.key, kraken.secret)
    broker_at(kraken)
    assert kraken.log() == []
