"""Alpaca's answers, word by word and figure by figure: recorded shapes through the real client, and what is wrong with others."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bots.brokers import alpaca_orders as orders
from bots.brokers.alpaca import AlpacaBroker
from bots.brokers.base import TransferKind
from bots.brokers.outcomes import CallFailed, Kind
from bots.order_states import OrderStatus
from safety.intents import MarketStatus, Side
from tests.bots.brokers.alpaca_builders import stock_order
from tests.bots.brokers.parts import rows_of

RECORDED = json.loads((Path(__file__).parent / "data" / "alpaca.json").read_text())
AT = datetime(2026, 10, 8, 15, 10, 18, 94153, tzinfo=UTC)


class _Recorded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(RECORDED[urlsplit(self.path).path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def recorded_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Recorded) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def broker(db: None, recorded_url: str) -> AlpacaBroker:
    return AlpacaBroker(recorded_url, "key", "secret", is_live=False)


# What was recorded parses to what it was.


def test_recorded_account(broker: AlpacaBroker) -> None:
    report = broker.account()
    assert report.cash_usd == {"USD": Decimal("100005.83")}
    assert report.holdings == {"KO": Decimal("0.557436865"), "BTC": Decimal("0.0001")}
    assert report.on_hold == {"KO": Decimal("0.057436865")}
    assert report.flags == ()


def test_recorded_clock(broker: AlpacaBroker) -> None:
    status = broker.status()
    assert (status.market, status.server_time) == (MarketStatus.OPEN, AT)


def test_recorded_orders(broker: AlpacaBroker) -> None:
    by_value, resting, of_old = broker.open_orders()
    assert (by_value.quantity, by_value.filled_quantity) == (Decimal("0.057436865"), Decimal("0.057436865"))
    assert (by_value.status, by_value.opened_at) == (OrderStatus.FILLED, AT)
    assert by_value.ended_at == datetime(2026, 10, 8, 15, 10, 18, 97464, tzinfo=UTC)
    assert (resting.status, resting.limit_price, resting.quantity) == (
        OrderStatus.CANCELED,
        Decimal("78.19"),
        Decimal(1),
    )
    assert resting.ended_at == datetime(2026, 10, 8, 15, 10, 22, 178543, tzinfo=UTC)
    assert (of_old.status, of_old.type, of_old.side, of_old.symbol) == ("accepted", "stop_limit", Side.SELL, "BRK.B")
    # Written as a JSON number, and exact all the same.
    assert (of_old.limit_price, of_old.quantity, of_old.filled_quantity) == (Decimal("106.07"), Decimal(15), Decimal(0))
    assert of_old.ended_at is None


def test_recorded_fills(broker: AlpacaBroker) -> None:
    bought, sold_short = rows_of(broker.fills, AT - timedelta(hours=1))
    assert bought.execution.trade_id == "20261008111018097::fc000000-0000-4000-8000-000000000001"
    assert (bought.execution.quantity, bought.execution.price) == (Decimal("0.057436865"), Decimal("86.878"))
    assert bought.execution.filled_at == datetime(2026, 10, 8, 15, 10, 18, 97465, tzinfo=UTC)
    assert (sold_short.side, sold_short.execution.quantity, sold_short.execution.price) == (
        Side.SELL, Decimal(2), Decimal("86.9"),
    )  # fmt: skip


def test_recorded_movements(broker: AlpacaBroker) -> None:
    moved = [(one.kind, one.asset, one.quantity, one.happened_at) for one in rows_of(broker.transfers, AT)]
    midnight = datetime(2026, 10, 7, 4, tzinfo=UTC)
    assert moved == [
        (TransferKind.REWARD, "USD", Decimal("1.02"), midnight),
        (TransferKind.DEPOSIT, "USD", Decimal(500), midnight),
    ]


# Every state, the SDK's whole enum and one that nobody knows.


def raw(**changes: Any) -> dict[str, Any]:
    """Return an order for 2 shares at Alpaca, of which nothing was filled."""
    usual = {
        "id": "o-1", "client_order_id": "t-x", "symbol": "AAPL", "side": "buy", "type": "market", "qty": "2", "filled_qty": "0",
        "limit_price": None, "status": "new", "created_at": "2026-10-08T15:10:18.094153596Z",
        "updated_at": "2026-10-08T16:00:00Z",
    }  # fmt: skip
    return usual | changes


#: A state, and what it means while nothing, a part and all of the order is filled.
STATES = {
    **dict.fromkeys(
        [
            "new", "partially_filled", "done_for_day", "pending_cancel", "pending_replace", "pending_review", "accepted",
            "pending_new", "accepted_for_bidding", "stopped", "suspended", "calculated", "held", "quantum",
        ],
        ("accepted", "partially_filled", "partially_filled"),
    ),
    "filled": ("accepted", "partially_filled", "filled"),
    "canceled": ("canceled", "canceled", "canceled"),
    "expired": ("expired", "expired", "expired"),
    "replaced": ("canceled", "canceled", "canceled"),
    "rejected": ("rejected", "canceled", "canceled"),
}  # fmt: skip


@pytest.mark.parametrize("word", STATES)
@pytest.mark.parametrize(("filled", "index"), [("0", 0), ("0.5", 1), ("2", 2)])
def test_each_state_of_an_order(word: str, filled: str, index: int) -> None:
    status, reason = orders.standing(raw(status=word, filled_qty=filled))
    assert status == STATES[word][index]
    assert word != "quantum" or "not known here" in reason


@pytest.mark.filterwarnings("ignore:websockets.legacy is deprecated:DeprecationWarning")
def test_every_state_of_the_library_is_one_of_these() -> None:
    # Here alone: nothing of ours loads the library's trading client.
    from alpaca.trading.enums import OrderStatus as TheirStatus

    assert {one.value for one in TheirStatus} == set(STATES) - {"quantum"}


def test_replaced_order_says_by_which() -> None:
    assert "o-2" in orders.standing(raw(status="replaced", replaced_by="o-2"))[1]


@pytest.mark.parametrize("filled", [[], ["0.5"], ["0.5", "0.7", "0.8"]])
@pytest.mark.parametrize("listed", [[], ["0.5"], ["0.5", "0.7", "0.8"]])
@pytest.mark.parametrize("word", ["canceled", "expired", "filled", "rejected", "replaced"])
def test_no_order_ends_before_all_of_its_fills_are_listed(word: str, filled: list[str], listed: list[str]) -> None:
    total = sum(map(Decimal, filled), Decimal(0))
    executions = [orders.execution(fill(id=f"f-{index}", qty=one)) for index, one in enumerate(listed)]
    report = orders.report(raw(status=word, filled_qty=str(total)), executions)
    is_over = report.status in orders.ENDED_STATES
    assert is_over == (filled == listed and not (word == "filled" and total != 2))
    assert len(report.executions) == len(listed)
    assert is_over or report.reason


# What cannot be read is never guessed.


def fill(**changes: Any) -> dict[str, Any]:
    usual = {
        "id": "f-1", "order_id": "o-1", "symbol": "AAPL", "side": "buy", "qty": "1", "price": "100",
        "transaction_time": "2026-10-08T15:10:18.097465Z",
    }  # fmt: skip
    return usual | changes


NO_FIGURES: list[object] = [None, "", "x", "NaN", "Infinity", "-1", True, [], {}, "1e40", "1" * 40, "0x1", 1.5]
NO_MOMENTS: list[object] = [
    None,
    "",
    "yesterday",
    "2026-10-08T15:10:18",
    "20261008",
    1_760_000_000,
    "9999-12-31T23:59:59-12:00",
    "2026-13-01Z",
]


@pytest.mark.parametrize("wrong", NO_FIGURES)
def test_figure_that_is_none_is_refused(wrong: Any) -> None:
    for name in ("filled_qty", "qty"):
        if name == "qty" and wrong is None:
            continue
        with pytest.raises(CallFailed) as caught:
            orders.listed_order(raw(**{name: wrong}))
        assert caught.value.failure.kind == Kind.UNKNOWN
    for name in ("qty", "price"):
        with pytest.raises(CallFailed):
            orders.listed_fill(fill(**{name: wrong}))


@pytest.mark.parametrize("wrong", NO_MOMENTS)
def test_moment_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(CallFailed):
        orders.listed_order(raw(created_at=wrong))
    with pytest.raises(CallFailed):
        orders.listed_fill(fill(transaction_time=wrong))


@pytest.mark.parametrize("name", ["id", "symbol", "side", "type", "status"])
@pytest.mark.parametrize("wrong", [None, "", 7, [], {}, "a\x00b", "\ud800", "two\nlines", "x" * 81])
def test_word_that_is_missing_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(CallFailed):
        orders.listed_order(raw(**{name: wrong}))


@pytest.mark.parametrize("wrong", [{"side": "hold"}, {"qty": "0"}, {"price": "0"}, {"order_id": None}, {"id": ""}])
def test_fill_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CallFailed):
        orders.listed_fill(fill(**wrong))


@pytest.mark.parametrize("answer", [None, {}, "x", 7, [1], [None], [[]], [{}, 1]])
def test_list_that_is_none_is_refused(answer: Any) -> None:
    with pytest.raises(CallFailed):
        orders.rows(answer, "orders")


def test_crypto_fill_names_both_of_its_assets() -> None:
    found = orders.listed_fill(fill(symbol="BTC/USDT"))
    assert (found.base, found.quote) == ("BTC", "USDT")


# What goes out.


@pytest.mark.parametrize(
    ("quantity", "limit", "is_taken"),
    [
        ("0.000000001", None, True), ("0.0000000001", None, False), ("1", "1.00", True), ("1", "1.001", False),
        ("1", "0.9999", True), ("1", "0.99999", False), ("1", "-1", False), ("-1", None, False), ("1E+2", "1E+1", True),
    ],
)  # fmt: skip
def test_figures_that_alpaca_takes(quantity: str, limit: str | None, is_taken: bool) -> None:
    order = stock_order(quantity=quantity, limit=limit)
    if not is_taken:
        with pytest.raises(CallFailed) as caught:
            orders.order_fields(order)
        assert caught.value.failure.kind == Kind.ORDER
        return
    fields = orders.order_fields(order)
    assert Decimal(fields["qty"]) == Decimal(quantity)
    assert "E" not in fields["qty"] + fields.get("limit_price", "")


def test_order_agrees_with_itself_and_with_no_other() -> None:
    order = stock_order(quantity="2", client_order_id="t-x", created_at=AT)
    assert orders.disagreement(order, raw()) == ""
    # The venue's clock may be a little behind ours.
    assert orders.disagreement(replace(order, created_at=AT + timedelta(seconds=2)), raw()) == ""
    others: list[dict[str, Any]] = [
        {"client_order_id": "t-y"}, {"client_order_id": None}, {"symbol": "MSFT"}, {"side": "sell"}, {"qty": "3"}, {"qty": None},
        {"created_at": "2026-10-08T15:10:15Z"},
    ]  # fmt: skip
    for changes in others:
        assert orders.disagreement(order, raw(**changes)) != "", changes
