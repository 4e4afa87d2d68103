"""The table of failures, row by row: through the real ccxt where the venue can say it, by hand where it cannot."""

import time
from datetime import timedelta
from typing import Any

import pytest
import requests
import urllib3
from django.utils import timezone

from bots.brokers.kraken_client import KrakenClient, load_exchange_class
from bots.brokers.outcomes import KRAKEN, CallFailed, Failure, Kind, judge, judge_texts
from bots.order_states import OrderStatus
from tests.bots.brokers.builders import permit_of
from tests.bots.brokers.kraken_builders import broker_at, live_order
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback

#: What Kraken says, and what it means for an order.
SAID: list[tuple[str, Kind]] = [
    ("EAPI:Invalid key", Kind.KEY),
    ("EAPI:Invalid signature", Kind.KEY),
    ("EGeneral:Permission denied", Kind.RIGHTS),
    ("EAPI:Invalid nonce", Kind.NONCE),
    ("EAPI:Rate limit exceeded", Kind.RATE),
    ("EOrder:Rate limit exceeded", Kind.RATE),
    ("EGeneral:Temporary lockout", Kind.LOCKOUT),
    ("EGeneral:Too many requests", Kind.RATE),
    ("EService:Throttled:1772627061", Kind.RATE),
    ("EService:Market in cancel_only mode", Kind.MODE),
    ("EService:Market in post_only mode", Kind.MODE),
    ("EOrder:Insufficient funds", Kind.FUNDS),
    ("EOrder:Unknown order", Kind.GONE),
    ("EService:Deadline elapsed", Kind.LATE),
    ("EOrder:Order minimum not met", Kind.ORDER),
    ("EOrder:Cost minimum not met", Kind.ORDER),
    ("EOrder:Tick size check failed", Kind.ORDER),
    ("EOrder:Orders limit exceeded", Kind.ORDER),
    ("EOrder:Post only order", Kind.ORDER),
    ("EOrder:Invalid order", Kind.ORDER),
    ("EOrder:Invalid price:Invalid price argument", Kind.ORDER),
    ("EGeneral:Invalid arguments:volume", Kind.ORDER),
    ("EQuery:Unknown asset pair", Kind.ORDER),
    ("EQuery:Invalid asset pair", Kind.ORDER),
    ("EGeneral:Invalid arguments:cl_ord_id not unique", Kind.DUPLICATE),
    ("EService:Unavailable", Kind.UNKNOWN),
    ("EService:Busy", Kind.UNKNOWN),
    ("EGeneral:Internal error", Kind.UNKNOWN),
    ("EOrder:Something that was never seen before", Kind.UNKNOWN),
    ("EWeather:Storm", Kind.UNKNOWN),
]


def ask(venue: KrakenLoopback) -> Failure:
    """Return how a public question to the venue fails."""
    with pytest.raises(CallFailed) as caught:
        KrakenClient(venue.url).public("get_time", {}, timeout_ms=400)
    return caught.value.failure


@pytest.mark.parametrize(("said", "kind"), SAID)
def test_each_thing_that_kraken_says(kraken: KrakenLoopback, said: str, kind: Kind) -> None:
    kraken.fault(faults.venue_error("Time", said))
    failure = ask(kraken)
    assert failure.kind == kind
    assert failure.is_definite == (kind not in {Kind.UNKNOWN, Kind.DUPLICATE})
    assert said in failure.reason


def test_every_row_of_the_table_is_tested() -> None:
    assert [part for part, _, _ in KRAKEN if not any(part in said for said, _ in SAID)] == []


@pytest.mark.parametrize("status", [400, 403, 404, 408, 500, 502, 503, 504, 520, 302])
def test_http_status_leaves_the_outcome_open(kraken: KrakenLoopback, status: int) -> None:
    kraken.fault(faults.http_status("Time", status))
    assert ask(kraken).kind == Kind.UNKNOWN
    assert len(kraken.log("Time")) == 1


def test_http_429_is_a_definite_no(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.http_status("Time", 429))
    assert ask(kraken).kind == Kind.RATE


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer_lost("Time", hang_s=1),
        faults.request_lost("Time", hang_s=1),
        faults.reset("Time"),
        faults.page("Time"),
        faults.half("Time"),
        faults.Fault("Time", faults.Reply.EMPTY),
    ],
    ids=lambda fault: fault.reply.value,
)
def test_what_is_no_answer_leaves_the_outcome_open(kraken: KrakenLoopback, fault: faults.Fault) -> None:
    kraken.fault(fault)
    assert ask(kraken).kind == Kind.UNKNOWN
    assert len(kraken.log("Time")) == 1


def test_connection_that_never_stood_up_sent_nothing() -> None:
    with pytest.raises(CallFailed) as caught:
        KrakenClient("http://127.0.0.1:9").public("get_time", {}, timeout_ms=1000)
    assert caught.value.failure.kind == Kind.NOT_REACHED


def test_connection_that_stood_up_too_late_sends_nothing(
    kraken: KrakenLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = urllib3.util.connection.create_connection

    def late(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.6)
        return connect(*args, **kwargs)

    monkeypatch.setattr(urllib3.util.connection, "create_connection", late)
    assert ask(kraken).kind == Kind.NOT_REACHED
    assert kraken.log("Time") == []


def test_headers_that_trickle_in_are_given_up_in_time(kraken: KrakenLoopback) -> None:
    kraken.fault(faults.trickle_head("Time"))
    began = time.monotonic()
    assert ask(kraken).kind == Kind.UNKNOWN
    assert time.monotonic() - began < 20
    # The connection that was given up is not used again.
    assert "unixtime" in KrakenClient(kraken.url).public("get_time", {}, timeout_ms=4_000)


def test_older_failure_that_is_being_handled_says_nothing_of_this_question(kraken: KrakenLoopback) -> None:
    """Else an order whose answer was lost would count as never sent, since another connection had failed just before."""
    kraken.fault(faults.reset("Time"))
    try:
        requests.get("http://127.0.0.1:9", timeout=2)
    except requests.exceptions.ConnectionError:
        assert ask(kraken).kind == Kind.UNKNOWN


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError("bad handshake"),
        requests.exceptions.ReadTimeout("read"),
        ConnectionResetError("reset"),
        IndexError("string index out of range"),
        ValueError("odd"),
    ],
)
def test_error_that_nobody_thought_of_leaves_the_outcome_open(error: Exception) -> None:
    assert judge(error).kind == Kind.UNKNOWN


def test_one_open_outcome_among_several_errors_is_enough() -> None:
    assert judge_texts(["EOrder:Insufficient funds", "EService:Busy"]).kind == Kind.UNKNOWN


def test_classes_are_told_apart_by_name_since_ccxt_mixes_them(kraken: KrakenLoopback) -> None:
    """InvalidNonce, RateLimitExceeded and OnMaintenance are NetworkErrors to ccxt, as a timeout is."""
    load_exchange_class()
    from ccxt.base.errors import InvalidNonce, NetworkError, OnMaintenance, RateLimitExceeded, RequestTimeout

    assert all(
        issubclass(one, NetworkError) for one in (InvalidNonce, OnMaintenance, RateLimitExceeded, RequestTimeout)
    )
    assert judge(RateLimitExceeded("kraken POST 429")).kind == Kind.RATE
    assert judge(RequestTimeout("kraken POST")).kind == Kind.UNKNOWN


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("EOrder:Insufficient funds", OrderStatus.REJECTED),
        ("EAPI:Invalid nonce", OrderStatus.REJECTED),
        ("EService:Market in cancel_only mode", OrderStatus.REJECTED),
        ("EService:Unavailable", OrderStatus.UNKNOWN),
    ],
)
def test_order_is_rejected_on_a_definite_no_and_unknown_otherwise(
    kraken: KrakenLoopback, said: str, status: OrderStatus
) -> None:
    kraken.fault(faults.venue_error("AddOrder", said))
    order = live_order()
    report = broker_at(kraken).submit(order, permit_of(order), timezone.now() + timedelta(seconds=4))
    assert (report.status, report.venue_order_id) == (status, "")
    assert said in report.reason
    assert len(kraken.log("AddOrder")) == 1
