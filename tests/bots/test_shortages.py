"""Sales where the account holds less than the book: what is there can be sold, no more is, and the rest waits for a person."""

from decimal import Decimal

import pytest
from pytest_django import Settings

from audit.models import OrderEvent
from bots.dispatch import lines
from bots.manager import close_position
from bots.market_data.feeds import forget_feeds
from bots.models import Bot, Difference, DifferenceKind, Order
from bots.order_states import OrderStatus
from bots.shortages import really_there
from safety.intents import InstrumentRules, Side
from tests.bots.builders import Worker, make_bot, position_of
from tests.bots.live import live_desk, live_intent, send, wait_for_price
from tests.bots.reconciliation.desk import open_differences, round_at
from tests.bots.test_flatten import start, work
from tests.conftest import CommittedDatabase
from tests.loopback.client import KrakenLoopback

pytestmark = pytest.mark.usefixtures("committed_db")
D = Decimal
RULES = InstrumentRules("kraken", "BTC/USD", "USD", D("0.1"), D("0.01"), D("0.05"), D("0.5"))


@pytest.fixture
def short(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Bot:
    """Return a live bot that holds 0.3 BTC, of which 0.2 are gone from its account; the shortage is named."""
    bot = live_desk(kraken, settings)
    round_at()
    assert send(live_intent(bot)).order.status == OrderStatus.FILLED
    assert round_at().state == "agrees"
    kraken.set_balance("XXBT", "0.1")
    round_at()
    round_at(12)
    assert [one.kind for one in open_differences()] == ["shortage"]
    return bot


def held(bot: Bot) -> Decimal:
    return position_of(bot, is_live=True).quantity


def test_whole_book_is_refused_and_the_refusal_says_what_to_do(short: Bot, kraken: KrakenLoopback) -> None:
    order = send(live_intent(short, Side.SELL, "0.3")).order
    assert order.status == OrderStatus.REJECTED
    said = OrderEvent.objects.filter(client_order_id=order.client_order_id, event="rejected").get().reason
    assert "does not hold enough" in said
    assert "Reconciliation" in said


def test_person_sells_what_is_there(short: Bot, kraken: KrakenLoopback) -> None:
    assert send(live_intent(short, Side.SELL, "0.1")).order.status == OrderStatus.FILLED
    assert held(short) == D("0.2")


def test_close_sells_what_is_there_and_no_more(short: Bot, kraken: KrakenLoopback) -> None:
    submission = close_position(short.pk, actor="anna")
    assert (submission.order.status, submission.order.quantity) == (OrderStatus.FILLED, D("0.1"))
    assert held(short) == D("0.2")
    assert D(kraken.balances()["XXBT"]) == 0


def test_flatten_sells_what_is_there(short: Bot, kraken: KrakenLoopback) -> None:
    work(start(f"bot:{short.pk}"))
    assert held(short) == D("0.2")
    assert D(kraken.balances()["XXBT"]) == 0


def test_stop_out_of_a_bot_sells_what_is_there(short: Bot, kraken: KrakenLoopback) -> None:
    kraken.set_price("80", "80.2")
    forget_feeds()
    wait_for_price()
    Worker(ttl_s=30).tick(short)
    assert lines.settle(30)
    order = Order.objects.filter(bot=short, side=Side.SELL).get()
    assert (order.status, order.quantity, order.leg) == (OrderStatus.FILLED, D("0.1"), "exit")
    assert held(short) == D("0.2")


@pytest.mark.parametrize(
    ("there", "sold"),
    [
        ("0.29", "0.29"),
        ("0.3", "0.3"),
        ("0.31", "0.3"),
        ("0.199", "0.19"),
        ("0.05", "0.05"),
        ("0.049", "0.3"),
        ("-1", "0.3"),
    ],
)
def test_sale_is_cut_to_whole_lots_of_what_is_there(short: Bot, there: str, sold: str) -> None:
    Difference.objects.update(venue=D(there))
    assert really_there(short, D("0.3"), RULES) == D(sold)


def test_only_an_open_shortage_of_the_account_cuts_a_sale(short: Bot) -> None:
    paper = make_bot("paper")
    assert really_there(paper, D("0.3"), RULES) == D("0.3")
    Difference.objects.update(kind=DifferenceKind.SURPLUS)
    assert really_there(short, D("0.3"), RULES) == D("0.3")
