"""The loopback Kraken itself: ccxt as it comes can use it, its books are right, and its faults are what they say."""

import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import Any

import pytest
import requests

from bots.brokers.kraken_client import load_exchange_class
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.loopback.kraken.ledger import Ledger, NewOrder, Refused
from tests.loopback.kraken.market import Market
from tests.loopback.server import CONTROL

USD = "ZUSD"
PAIR = "XXBTZUSD"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Market(), {USD: Decimal(1_000), "XXBT": Decimal("0.1")})


def order_of(side: str = "buy", volume: str = "0.01", price: str | None = None, **changes: Any) -> NewOrder:
    kind = "market" if price is None else "limit"
    return NewOrder(PAIR, side, kind, Decimal(volume), None if price is None else Decimal(price), **changes)


def exchange_at(venue: KrakenLoopback) -> Any:
    """Return ccxt as it comes, pointed at the venue."""
    exchange = load_exchange_class()({"apiKey": venue.key, "secret": venue.secret, "enableRateLimit": False})
    exchange.urls["api"] = {"public": venue.url, "private": venue.url}
    return exchange


def test_market_order_takes_the_book_and_pays_the_taker_fee(ledger: Ledger) -> None:
    order = ledger.place(order_of())
    assert (order.status, order.filled, order.cost) == ("closed", Decimal("0.01"), Decimal("600.06"))
    assert order.fee == Decimal("2.40024")
    assert ledger.balances == {USD: Decimal("397.53976"), "XXBT": Decimal("0.11")}


def test_limit_order_rests_holds_funds_and_fills_when_the_market_comes(ledger: Ledger) -> None:
    order = ledger.place(order_of(price="50000"))
    assert ledger.on_hold() == {USD: Decimal("502.0000")}
    ledger.set_price(PAIR, Decimal(49_000), Decimal(49_001), Decimal(1))
    assert (order.status, order.cost, order.fee) == ("closed", Decimal(500), Decimal("1.25"))
    assert order.trades[0].is_maker
    assert ledger.on_hold() == {}


def test_what_a_thin_book_leaves_of_a_market_order_is_cancelled(ledger: Ledger) -> None:
    ledger.market.book(PAIR).depth = Decimal("0.004")
    order = ledger.place(order_of())
    assert (order.status, order.filled) == ("canceled", Decimal("0.004"))


def test_cancel_keeps_what_was_filled(ledger: Ledger) -> None:
    order = ledger.place(order_of(price="50000"))
    ledger.fill(order, Decimal("0.003"))
    ledger.cancel(order)
    assert (order.status, order.filled) == ("canceled", Decimal("0.003"))
    with pytest.raises(Refused, match="Unknown order"):
        ledger.cancel(order)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (order_of(volume="1"), "Insufficient funds"),
        (order_of("sell", "0.2"), "Insufficient funds"),
        (order_of(volume="0.00001"), "Order minimum not met"),
        (order_of(volume="0.00005", price="0.1"), "Cost minimum not met"),
        (order_of(price="50000.05"), "Tick size check failed"),
        (order_of(volume="0.000000001"), "Invalid arguments:volume"),
        (order_of(price="70000", oflags="post"), "Post only order"),
    ],
)
def test_order_against_the_rules_is_refused(ledger: Ledger, order: NewOrder, says: str) -> None:
    with pytest.raises(Refused, match=says):
        ledger.place(order)
    assert list(ledger.open_orders()) == []


def test_client_id_is_unique_among_open_orders_only(ledger: Ledger) -> None:
    ledger.place(order_of(price="50000", cl_ord_id="a-1"))
    with pytest.raises(Refused, match="cl_ord_id not unique"):
        ledger.place(order_of(volume="0.001", cl_ord_id="a-1"))
    for _ in range(2):
        ledger.place(order_of(volume="0.001", cl_ord_id="a-2"))
    assert len(ledger.by_client_id("a-2")) == 2


def test_ccxt_as_it_comes_reads_every_answer(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    assert exchange.load_markets()["BTC/USD"]["limits"]["amount"]["min"] == 0.00005
    assert exchange.fetch_ticker("BTC/USD")["ask"] == 60006
    bars = exchange.fetch_ohlcv("BTC/USD", "1m")
    assert len(bars) == 720
    assert all(low <= opened <= high and low <= close <= high for _, opened, high, low, close, _ in bars)
    assert exchange.fetch_balance()["USD"]["free"] == 10_000
    resting = exchange.create_order("BTC/USD", "limit", "buy", 0.01, 50_000, {"clientOrderId": "x-1"})
    assert [one["id"] for one in exchange.fetch_open_orders(params={"clientOrderId": "x-1"})] == [resting["id"]]
    assert exchange.fetch_order(resting["id"])["status"] == "open"
    bought = exchange.create_order("BTC/USD", "market", "buy", 0.01)
    (trade,) = exchange.fetch_my_trades("BTC/USD")
    assert (trade["order"], trade["takerOrMaker"]) == (bought["id"], "taker")
    exchange.cancel_order(resting["id"])
    assert {one["id"] for one in exchange.fetch_closed_orders()} == {resting["id"], bought["id"]}
    assert exchange.fetch_status()["status"] == "ok"
    assert exchange.private_post_getapikeyinfo()["result"]["permissions"] == [
        "modify-trades",
        "query-closed-trades",
        "query-funds",
        "query-ledger",
        "query-open-trades",
    ]


def test_validate_takes_no_order(kraken: KrakenLoopback) -> None:
    answer = exchange_at(kraken).create_order("BTC/USD", "market", "buy", 0.01, None, {"validate": "true"})
    assert answer["id"] is None
    assert kraken.orders() == {}


def test_signature_number_and_key_are_checked(kraken: KrakenLoopback) -> None:
    exchange = exchange_at(kraken)
    exchange.incrementing_nonce = lambda: 5
    exchange.private_post_getapikeyinfo()
    outcomes = []
    for change in ({}, {"secret": "c2VjcmV0"}, {"apiKey": "nobody"}):
        exchange.apiKey, exchange.secret = change.get("apiKey", kraken.key), change.get("secret", kraken.secret)
        with pytest.raises(Exception, match="kraken"):
            exchange.private_post_getapikeyinfo()
        outcomes.append(kraken.log("GetApiKeyInfo")[-1].outcome)
    assert outcomes == [
        "refused: EAPI:Invalid nonce",
        "refused: EAPI:Invalid signature",
        "refused: EAPI:Invalid key",
    ]
    requests.post(f"{kraken.url}/0/private/GetApiKeyInfo", data={"nonce": "x"}, timeout=5)
    assert kraken.log("GetApiKeyInfo")[-1].outcome == "refused: EAPI:Invalid key"


@pytest.mark.parametrize("deadline", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "soon", "2026-01-01T00:00:00"])
def test_deadline_out_of_reach_is_refused(kraken: KrakenLoopback, deadline: str) -> None:
    with pytest.raises(Exception, match="deadline"):
        exchange_at(kraken).create_order("BTC/USD", "market", "buy", 0.01, None, {"deadline": deadline})
    assert kraken.orders() == {}


@pytest.mark.parametrize("client_id", ["", "x" * 19])
def test_client_id_of_a_wrong_form_is_refused(kraken: KrakenLoopback, client_id: str) -> None:
    with pytest.raises(Exception, match="cl_ord_id"):
        exchange_at(kraken).private_post_addorder(
            {"pair": PAIR, "type": "buy", "ordertype": "market", "volume": "0.01", "cl_ord_id": client_id}
        )


def test_faults_come_in_their_order_and_number(kraken: KrakenLoopback) -> None:
    kraken.fault(
        faults.Fault("Time", faults.Reply.STATUS, count=2, skip=1, status=502),
        faults.http_status("Time", 418, is_carried_out=False),
    )
    answers = [requests.get(f"{kraken.url}/0/public/Time", timeout=5).status_code for _ in range(5)]
    # The first passes over the one that skips it, and meets the next.
    assert answers == [418, 502, 502, 200, 200]
    # An answer may be read a moment before its writer has noted that it was written.
    kraken.wait_until(lambda: kraken.log("Time"), lambda found: all(entry.answered for entry in found), 10)
    entries = kraken.log("Time")
    assert [entry.performed is not None for entry in entries].count(False) == 1
    assert all(entry.answered and entry.answered >= entry.received for entry in entries)


def test_log_tells_when_a_request_came_and_what_became_of_it(kraken: KrakenLoopback) -> None:
    before = time.monotonic()
    kraken.fault(faults.arrives_late("AddOrder", 0.3))
    exchange_at(kraken).create_order("BTC/USD", "market", "buy", 0.01, None, {"clientOrderId": "x-2"})
    (entry,) = kraken.log("AddOrder")
    assert entry.performed is not None
    assert before <= entry.received <= entry.performed - 0.3 <= time.monotonic()
    assert (entry.fields["cl_ord_id"], entry.outcome) == ("x-2", "ok")
    assert entry.nonce
    assert kraken.secret not in str(entry)


def test_request_that_was_lost_is_not_carried_out_and_one_whose_answer_was_lost_is(kraken: KrakenLoopback) -> None:
    for fault in (faults.request_lost("AddOrder", hang_s=0.2), faults.answer_lost("AddOrder", hang_s=0.2)):
        kraken.fault(fault)
        with pytest.raises(Exception, match="kraken"):
            exchange_at(kraken).create_order("BTC/USD", "market", "buy", 0.01)
    assert [entry.outcome for entry in kraken.log("AddOrder")] == ["not carried out", "ok"]
    assert len(kraken.orders()) == 1


def test_wrong_order_of_a_test_is_told(kraken: KrakenLoopback) -> None:
    for name, params in (("no_such", {}), ("set_price", {"pair": "BTC/USD"}), ("fault", {"reply": "odd"})):
        with pytest.raises(ValueError, match="Error"):
            kraken.control(name, **params)
    assert requests.post(f"{kraken.url}{CONTROL}set_status", json={"status": "odd"}, timeout=5).status_code == 400


def test_hundreds_of_orders_a_second_from_several_clients(kraken: KrakenLoopback) -> None:
    """The venue must not be what a test waits for. The bound is far below what it does, for a busy machine."""
    count, errors = 60, []

    def trade() -> None:
        with requests.Session() as session:
            for _ in range(count):
                answer = session.get(f"{kraken.url}/0/public/Ticker?pair={PAIR}", timeout=5).json()
                errors.extend(answer["error"])

    threads = [threading.Thread(target=trade) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for _ in range(count):
        kraken.place("buy", "0.0001")
    for thread in threads:
        thread.join()
    assert errors == []
    assert 5 * count / (time.monotonic() - began) > 60


@pytest.mark.slow
def test_it_starts_alone_and_says_how_to_point_a_console_at_it() -> None:
    command = [sys.executable, "-m", "tests.loopback.kraken"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = dict(process.stdout.readline().strip().split("=", 1) for _ in range(3))
        assert set(said) == {"KRAKEN_BASE_URL", "KRAKEN_API_KEY", "KRAKEN_API_SECRET"}
        venue = KrakenLoopback(said["KRAKEN_BASE_URL"])
        assert venue.environ() == said
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
