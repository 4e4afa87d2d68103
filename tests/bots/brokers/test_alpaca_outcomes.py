"""Alpaca's table of failures, row by row: through the real alpaca-py against a venue that says each thing."""

import json

import pytest
import requests
from django.utils import timezone

from bots.brokers.alpaca_client import AlpacaClient, load_rest_client_class
from bots.brokers.outcomes import ALPACA, CallFailed, Failure, Kind, judge_alpaca, judge_alpaca_answer
from bots.order_states import OrderStatus
from tests.bots.brokers.alpaca_builders import POST, send, stock_order
from tests.loopback import faults
from tests.loopback.client import AlpacaLoopback
from tests.loopback.faults import Fault, Reply

CLOCK = "GET /v2/clock"
#: What Alpaca says (HTTP status, code where there is one, message), and what it means for an order.
SAID: list[tuple[str, Kind]] = [
    ("422 40010001 client_order_id must be unique", Kind.DUPLICATE),
    ("422 42210000 client_order_id must be unique", Kind.DUPLICATE),
    ("401 unauthorized.", Kind.KEY),
    ("401 40110000 request is not authorized", Kind.KEY),
    ("403 forbidden.", Kind.KEY),
    ("403 40310000 insufficient buying power", Kind.FUNDS),
    ("403 40310000 insufficient qty available for order (requested: 2, available: 1)", Kind.FUNDS),
    ('403 40310000 asset "OCGN" is not fractionable', Kind.ORDER),
    ("403 40310000 potential wash trade detected. use complex orders", Kind.ORDER),
    ("403 40310000 cost basis must be >= minimal amount of order 1", Kind.ORDER),
    ("403 40310100 trade denied due to pattern day trading protection", Kind.ORDER),
    ("404 40410000 order not found", Kind.GONE),
    ("404 40410000 position does not exist", Kind.GONE),
    ('422 42210000 asset "ZZZZ" not found', Kind.ORDER),
    ("422 42210000 fractional orders must be DAY orders", Kind.ORDER),
    ("422 40010001 qty must be > 0", Kind.ORDER),
    ("429 42910000 rate limit exceeded", Kind.RATE),
    ("500 50010000 internal server error occurred", Kind.UNKNOWN),
    ("403 40399999 something that was never seen before", Kind.UNKNOWN),
    ("422 something without a code", Kind.UNKNOWN),
    ("404 something without a code", Kind.UNKNOWN),
    ("400 40010000 request body format is invalid", Kind.UNKNOWN),
]


def ask(venue: AlpacaLoopback, timeout_ms: int = 20_000) -> Failure:
    """Return how a question to the venue fails."""
    client = AlpacaClient(venue.paper.url, venue.paper.key, venue.paper.secret)
    with pytest.raises(CallFailed) as caught:
        client.ask("GET", "/clock", timeout_ms=timeout_ms)
    return caught.value.failure


@pytest.mark.parametrize(("said", "kind"), SAID)
def test_each_thing_that_alpaca_says(alpaca: AlpacaLoopback, said: str, kind: Kind) -> None:
    alpaca.paper.fault(faults.venue_error(CLOCK, said))
    failure = ask(alpaca)
    assert failure.kind == kind
    assert failure.is_definite == (kind not in {Kind.UNKNOWN, Kind.DUPLICATE})
    assert kind == Kind.RATE or said.split(" ", 1)[1].lstrip("0123456789 ") in failure.reason
    assert len(alpaca.paper.log(CLOCK)) == 1


def test_every_row_of_the_table_is_what_decides_one_of_these() -> None:
    """A row that none of the sayings reaches is not tested, or hidden by one above it."""
    reached = set()
    for said, _ in SAID:
        status, _, rest = said.partition(" ")
        code, _, message = rest.partition(" ")
        known = int(code) if code.isdigit() else None
        for index, (row_status, row_code, part, _, _) in enumerate(ALPACA):
            if int(status) == row_status and row_code in (None, known) and part in (message if known else rest):
                reached.add(index)
                break
    assert sorted(reached) == list(range(len(ALPACA)))


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 422, 500, 502, 503, 504, 520])
def test_http_status_with_a_page_leaves_the_outcome_open(alpaca: AlpacaLoopback, status: int) -> None:
    """A page is never Alpaca's own word: something in between may have answered, after passing the request on."""
    alpaca.paper.fault(faults.http_status(CLOCK, status))
    assert ask(alpaca).kind == Kind.UNKNOWN
    assert len(alpaca.paper.log(CLOCK)) == 1


def test_http_429_is_a_definite_no_whatever_comes_with_it(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(faults.http_status(CLOCK, 429))
    assert ask(alpaca).kind == Kind.RATE


@pytest.mark.parametrize(
    "fault",
    [
        faults.answer_lost(CLOCK, hang_s=30),
        faults.request_lost(CLOCK, hang_s=30),
        faults.reset(CLOCK),
        faults.page(CLOCK),
        faults.half(CLOCK),
        faults.trickle(CLOCK),
    ],
    ids=lambda fault: fault.reply.value,
)
def test_what_is_no_answer_leaves_the_outcome_open(alpaca: AlpacaLoopback, fault: faults.Fault) -> None:
    alpaca.paper.fault(fault)
    assert ask(alpaca, timeout_ms=1_000).kind == Kind.UNKNOWN
    assert len(alpaca.paper.log(CLOCK)) == 1


def test_empty_body_is_nothing_and_never_read_as_an_answer(alpaca: AlpacaLoopback) -> None:
    alpaca.paper.fault(Fault(CLOCK, Reply.EMPTY))
    client = AlpacaClient(alpaca.paper.url, alpaca.paper.key, alpaca.paper.secret)
    assert client.ask("GET", "/clock", timeout_ms=20_000) is None


def test_connection_that_never_stood_up_sent_nothing() -> None:
    with pytest.raises(CallFailed) as caught:
        AlpacaClient("http://127.0.0.1:9", "k", "s").ask("GET", "/clock", timeout_ms=2_000)
    assert caught.value.failure.kind == Kind.NOT_REACHED


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.SSLError("bad handshake"),
        requests.exceptions.ReadTimeout("read"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.exceptions.TooManyRedirects("HTTP 302"),
        ConnectionResetError("reset"),
        RecursionError("deep"),
        ValueError("odd"),
    ],
)
def test_error_that_nobody_thought_of_leaves_the_outcome_open(error: Exception) -> None:
    assert judge_alpaca(error).kind == Kind.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"code": 40310000}',
        '{"message": 7}',
        '{"message": null, "code": 1}',
        "[" * 9000,
    ],
)
def test_refusal_without_words_of_alpaca_leaves_the_outcome_open(body: str) -> None:
    assert judge_alpaca_answer(403, body).kind == Kind.UNKNOWN


@pytest.mark.parametrize("code", [True, "40310000", 40310000.0, None])
def test_code_that_is_none_fits_no_row_that_has_one(code: object) -> None:
    assert judge_alpaca_answer(403, json.dumps({"message": "wash trade", "code": code})).kind == Kind.UNKNOWN


def test_long_message_is_cut() -> None:
    body = json.dumps({"message": "insufficient buying power " + "x" * 10_000, "code": 40310000})
    assert len(judge_alpaca_answer(403, body).reason) < 400


def test_library_raises_on_a_body_without_code_which_is_why_its_text_is_read(alpaca: AlpacaLoopback) -> None:
    account = alpaca.paper
    account.fault(faults.http_status(CLOCK, 503))
    rest = load_rest_client_class()(account.url, account.key, account.secret, raw_data=True)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the library's own class is not imported here)
        rest.get("/clock")
    assert caught.value.status_code == 503  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="Expecting value"):
        _ = caught.value.code  # type: ignore[attr-defined]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("403 40310000 insufficient buying power", OrderStatus.REJECTED),
        ("429 42910000 rate limit exceeded", OrderStatus.REJECTED),
        ("500 50010000 internal server error occurred", OrderStatus.UNKNOWN),
        ("403 40399999 something that was never seen before", OrderStatus.UNKNOWN),
    ],
)
def test_order_is_rejected_on_a_definite_no_and_unknown_otherwise(
    alpaca: AlpacaLoopback, said: str, status: OrderStatus
) -> None:
    alpaca.paper.fault(faults.venue_error(POST, said))
    began = timezone.now()
    report = send(alpaca.paper, stock_order(created_at=began))
    assert (report.status, report.venue_order_id) == (status, "")
    assert len(alpaca.paper.log(POST)) == 1
