"""Money that a venue rounds: no false difference of cents, however trades, fees and rounds fall, and no real one overlooked."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from bots.models import Account, AssetBaseline, Bot, Difference, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation.engine import reconcile
from bots.reconciliation.facts import trades_since
from safety.intents import Side
from tests.bots.alpaca_desk import measured, paper_desk, stock_intent
from tests.bots.live import send
from tests.conftest import CommittedDatabase
from tests.loopback.client import AlpacaLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> Bot:
    """Return a stock bot on an armed account at a venue that rounds the money of each trade to cents."""
    found = paper_desk(alpaca)
    alpaca.paper.set_cash_step("0.01")
    assert round_at().state == "agrees"
    return found


def round_at(seconds: float = 0, trigger: str = "schedule") -> ReconciliationRun:
    with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=True):
        return reconcile("alpaca", is_live=False, trigger=trigger)


def trade(bot: Bot, quantity: str = "0.123456789", side: Side = Side.BUY) -> None:
    measured(is_live=False)
    assert send(stock_intent(bot, side, quantity)).order.status == OrderStatus.FILLED


def usd() -> AssetBaseline:
    return AssetBaseline.objects.get(account_id="alpaca-paper", asset="USD")


def test_trade_just_after_both_sides_agreed_is_no_difference(bot: Bot) -> None:
    AssetBaseline.objects.update(agreed_at=timezone.now() - timedelta(minutes=10))
    # The venue's clock is 3 s behind ours, so that what it does next happens before we noted that all agrees.
    assert round_at(3, "command").state == "agrees"
    trade(bot)
    for seconds in (30, 45, 60):
        assert round_at(seconds).state == "agrees"


def test_fee_that_is_as_small_as_the_rounding_counts_once(bot: Bot, alpaca: AlpacaLoopback) -> None:
    before = usd().quantity
    for side, quantity in ((Side.BUY, "0.123456789"), (Side.BUY, "0.111111111"), (Side.SELL, "0.1000001")):
        trade(bot, quantity, side)
    alpaca.paper.activity("FEE", "-0.02")
    for seconds in (0, 30, 330, 345, 660, 675):
        assert round_at(seconds).state == "agrees", seconds
    assert abs(before - usd().quantity - Decimal("0.02")) <= Decimal("0.03")


def test_money_that_is_missing_is_named_though_trades_go_on(bot: Bot) -> None:
    AssetBaseline.objects.filter(pk=usd().pk).update(quantity=usd().quantity + 100)
    trade(bot)
    assert round_at(0).state == "waits"
    trade(bot, "0.1111111")
    assert round_at(12).state == "differs"
    assert Difference.objects.get().kind == "shortage"


def test_trades_that_the_console_fills_itself_are_not_rounded_by_the_venue(bot: Bot) -> None:
    account, since = Account.objects.get(name="alpaca-paper"), timezone.now() - timedelta(minutes=1)
    trade(bot)
    assert trades_since(account, "USD", since) == 1
    bot.orders.update(deadline_at=None)
    assert trades_since(account, "USD", since) == 0
