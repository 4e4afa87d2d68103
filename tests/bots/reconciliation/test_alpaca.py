"""Reconciliation of Alpaca's accounts, the paper one and the live one, against the loopback's own ledger."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots.brokers.base import Transfer, TransferKind
from bots.models import Account, AccountMovement, AssetBaseline, Bot, Difference, Order, ReconciliationRun
from bots.order_states import OrderStatus
from bots.reconciliation import chores, history
from bots.reconciliation.engine import reconcile
from bots.reconciliation.queries import overview, view
from safety.intents import Side
from tests.bots.alpaca_desk import live_stock_desk, measured, paper_desk, stock_intent
from tests.bots.builders import position_of
from tests.bots.live import send
from tests.conftest import CommittedDatabase
from tests.loopback.client import AAPL, AlpacaAccount, AlpacaLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture(params=["paper", "live"])
def desk(
    request: pytest.FixtureRequest, committed_db: CommittedDatabase, alpaca: AlpacaLoopback, settings: Settings
) -> tuple[Bot, AlpacaAccount]:
    """Return a running stock bot on an account of Alpaca whose baseline was taken, and that account."""
    is_live = request.param == "live"
    bot = live_stock_desk(alpaca, settings) if is_live else paper_desk(alpaca)
    assert round_at(bot).state == "agrees"
    return bot, alpaca.live if is_live else alpaca.paper


def round_at(bot: Bot, seconds: float = 0, trigger: str = "command") -> ReconciliationRun:
    with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=True):
        return reconcile("alpaca", is_live=bot.is_live, trigger=trigger)


def baseline(bot: Bot, asset: str) -> Decimal:
    name = "alpaca" if bot.is_live else "alpaca-paper"
    return AssetBaseline.objects.get(account_id=name, asset=asset).quantity


def assert_agrees(bot: Bot, there: AlpacaAccount) -> None:
    found = view("alpaca", is_live=bot.is_live)
    assert found.differences == ()
    lines = {line.asset: line for line in found.lines}
    assert lines["USD"].venue == Decimal(there.cash())
    for symbol, quantity in there.positions().items():
        assert lines[symbol].venue == Decimal(quantity)
    assert {line.verdict for line in found.lines} == {"agrees"}


def test_own_trades_agree(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, there = desk
    before = baseline(bot, "USD")
    for side, quantity in ((Side.BUY, "0.3"), (Side.BUY, "0.2"), (Side.SELL, "0.4")):
        assert send(stock_intent(bot, side, quantity)).order.status == OrderStatus.FILLED
    assert round_at(bot).state == "agrees"
    assert_agrees(bot, there)
    assert abs(baseline(bot, "USD") - before) <= Decimal("0.04")


def test_trade_by_hand_is_external_on_this_account_alone(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, there = desk
    order_id = there.place("buy", "2")
    round_at(bot, 61)
    assert_agrees(bot, there)
    order = Order.objects.get(venue_order_id=order_id)
    assert (order.status, order.is_live) == (OrderStatus.EXTERNAL, bot.is_live)
    assert baseline(bot, AAPL) == 2
    assert [one.is_live for one in overview()] == [bot.is_live]


def test_deposits_move_the_baseline_once(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, there = desk
    before = baseline(bot, "USD")
    there.activity("CSD", "250.25")
    there.activity("CSW", "-100")
    for _ in range(2):
        assert round_at(bot).state == "agrees"
    assert baseline(bot, "USD") - before == Decimal("150.25")
    assert AccountMovement.objects.filter(counts=True).count() == 2
    assert_agrees(bot, there)


def test_shares_that_a_split_adds_are_no_gain_that_a_loss_is_judged_by(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, _ = desk
    now, account = timezone.now(), view("alpaca", is_live=bot.is_live).name
    moved = [
        Transfer("a1", TransferKind.OTHER, AAPL, Decimal("0.9"), now),
        Transfer("a2", TransferKind.DEPOSIT, AAPL, Decimal("0.1"), now),
        Transfer("a3", TransferKind.OTHER, "USD", Decimal("0.5"), now),
    ]
    found = history.valued(Account.objects.get(pk=account), (), moved, now)
    assert [one.value_usd is None for one in found] == [True, False, False]


def test_shares_that_are_gone_close_the_symbol(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, there = desk
    send(stock_intent(bot))
    assert round_at(bot).state == "agrees"
    there.set_position(AAPL, "0.1")
    round_at(bot)
    assert round_at(bot, 12).state == "differs"
    found = Difference.objects.get(closed_at__isnull=True)
    assert (found.kind, found.asset, found.venue, found.held) == ("shortage", AAPL, Decimal("0.1"), Decimal("0.3"))
    assert position_of(bot, is_live=bot.is_live).quantity == Decimal("0.3")
    measured(is_live=bot.is_live)
    codes = [denial.code for denial in send(stock_intent(bot, quantity="0.2")).denials]
    assert "RECONCILIATION_OPEN" in codes


def test_resting_order_is_watched_by_the_chore(desk: tuple[Bot, AlpacaAccount]) -> None:
    bot, there = desk
    order = send(stock_intent(bot, limit="98")).order
    there.fill(order.venue_order_id, "0.1")
    later = timezone.now() + chores.WATCH_EVERY + timedelta(seconds=1)
    with time_machine.travel(later, tick=True):
        chores.reconcile_accounts(later)
    order.refresh_from_db()
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.1"))
