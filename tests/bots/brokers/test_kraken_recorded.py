"""Answers that Kraken really gave, through the real client: they parse to the orders, balances and markets that they are."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from bots.brokers.kraken import KrakenBroker
from bots.brokers.kraken_client import KrakenClient
from bots.brokers.kraken_orders import ordered_status, transaction_id
from bots.brokers.kraken_pairs import parse_pairs
from bots.brokers.outcomes import Kind, judge_texts
from bots.market_data.kraken import KrakenFeed, read_candles
from bots.order_states import OrderStatus
from safety.intents import MarketStatus, Side
from tests.loopback.client import KrakenLoopback
from tests.loopback.mangled import Mangled, MangledLine

pytestmark = pytest.mark.django_db

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "kraken.json").read_text())


class Recorded(MangledLine):
    """A server that gives the recorded answer to each question."""

    def answer(self, method: str, path: str, headers: dict[str, str], sent: str) -> Mangled:
        name = path.split("?")[0].rsplit("/", 1)[-1]
        body = {"error": [], "result": RECORDED[name]} if name in RECORDED else {"error": ["EGeneral:Unknown method"]}
        return Mangled(json.dumps(body).encode())


@pytest.fixture
def url() -> Iterator[str]:
    with Recorded("http://127.0.0.1:9") as line:
        yield line.url


@pytest.fixture
def broker(url: str, kraken: KrakenLoopback) -> KrakenBroker:
    """A broker at the recorded answers; the loopback lends its key, and a budget that holds nothing back."""
    return KrakenBroker(url, kraken.key, kraken.secret)


def test_open_orders(broker: KrakenBroker) -> None:
    found = {one.venue_order_id: one for one in broker.open_orders()}
    assert [(one.symbol, one.side, one.type, one.limit_price) for one in found.values()] == [
        ("LTC/USDT", Side.SELL, "take-profit", None),
        ("LTC/USDT", Side.SELL, "stop-loss-limit", Decimal(54)),
        ("BTC/USD", Side.BUY, "limit", Decimal(70_000)),
    ]
    mine = found["O45M52-BFD5S-YXKQOU"]
    assert (mine.client_order_id, mine.quantity, mine.status) == ("1234", Decimal("0.0001"), OrderStatus.ACCEPTED)
    assert mine.opened_at == datetime(2024, 12, 10, 7, 21, 9, 370054, tzinfo=UTC)


def test_orders_that_were_asked_for(broker: KrakenBroker) -> None:
    open_one, closed_one = RECORDED["QueryOrders"].values()
    no, tenth = Decimal(0), Decimal("0.1")
    assert ordered_status("O", open_one, quantity=tenth, filled=no) == OrderStatus.ACCEPTED
    assert ordered_status("O", closed_one, quantity=tenth, filled=tenth) == OrderStatus.FILLED
    assert transaction_id(RECORDED["AddOrder"]) == "OL7LNO-R4SAD-6UINEU"


def test_balances(broker: KrakenBroker) -> None:
    report = broker.account()
    assert report.cash_usd == {"USD": Decimal("25435.21")}
    assert report.holdings == {"BTC": Decimal("1.2435")}
    assert report.on_hold == {"USD": Decimal("8249.76"), "BTC": Decimal("0.8423")}


def test_rights_of_a_key_that_may_withdraw(broker: KrakenBroker) -> None:
    rights = broker.key_rights()
    assert (rights.is_known, rights.can_trade, rights.can_withdraw) == (True, True, True)
    assert rights.created_at == datetime(2026, 3, 3, 13, 1, 40, tzinfo=UTC)
    assert rights.ip_allowlist == ()


def test_status_and_clock(broker: KrakenBroker) -> None:
    status = broker.status()
    assert (status.name, status.market) == ("online", MarketStatus.OPEN)
    assert status.server_time == datetime(2025, 11, 11, 0, 17, 4, 500_000, tzinfo=UTC)


def test_dead_man_switch(broker: KrakenBroker) -> None:
    assert broker.cancel_all_after(60) == timedelta(seconds=60)


def test_markets_tokenized_ones_too() -> None:
    book = parse_pairs(RECORDED["AssetPairs"], KrakenClient("http://127.0.0.1:9"))
    assert set(book.by_symbol) == {"BTC/USDT", "LTC/USDT", "BTC/USD", "AAPLX/USD"}
    rules = book.by_symbol["BTC/USDT"].rules
    assert (rules.tick_size, rules.lot_size, rules.quantity_min, rules.notional_min) == (
        Decimal("0.1"),
        Decimal("0.00000001"),
        Decimal("0.00005"),
        Decimal("0.5"),
    )
    pair = book.named("XBTUSD")
    assert pair is not None
    assert pair.symbol == "BTC/USD"
    assert (book.code("XXBT"), book.code("XLTC"), book.code("ZUSD")) == ("BTC", "LTC", "USD")


def test_quote_and_candles(url: str) -> None:
    quote = KrakenFeed(url).quote("BTC/USDT", timezone.now())
    assert (quote.bid, quote.ask) == (Decimal("105944.2"), Decimal("105944.3"))
    series = read_candles(RECORDED["OHLC"]["XBTUSDT"], "BTC/USDT", "1h")
    # The last row is unfinished.
    assert list(series.opened_at) == [1706626800, 1706630400, 1706634000, 1706637600]
    assert (series.open[1], series.high[1], series.low[1], series.close[1]) == (43366.3, 43529.2, 43234.2, 43485.0)
    assert series.volume[1] == 12.51327406


@pytest.mark.parametrize(("said", "kind"), RECORDED["errors"])
def test_errors(said: str, kind: str) -> None:
    assert judge_texts([said]).kind == Kind(kind)
