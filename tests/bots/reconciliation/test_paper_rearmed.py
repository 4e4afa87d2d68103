"""Alpaca's paper account is taken anew when a bot begins to trade there and nobody else does: its owner may have reset it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots import manager
from bots.models import Account, AccountSync, Bot, BotStatus, Difference, PaperBroker
from bots.order_states import OrderStatus
from bots.reconciliation import movements
from tests.bots.alpaca_desk import measured, paper_desk, stock_bot, stock_intent
from tests.bots.live import send
from tests.bots.reconciliation.test_alpaca import baseline, round_at
from tests.conftest import CommittedDatabase
from tests.loopback.client import AAPL, AlpacaLoopback

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def bot(committed_db: CommittedDatabase, alpaca: AlpacaLoopback) -> Bot:
    """Return a running bot on the paper account, whose baseline was taken an hour ago."""
    made = paper_desk(alpaca)
    assert round_at(made).state == "agrees"
    AccountSync.objects.update(baseline_at=timezone.now() - timedelta(hours=1))
    return made


def is_armed() -> bool:
    return AccountSync.objects.filter(baseline_at__isnull=False).exists()


def test_account_that_was_reset_while_nobody_traded_is_no_difference(bot: Bot, alpaca: AlpacaLoopback) -> None:
    manager.stop(bot.pk, actor="ann")
    # As the venue does it: other figures, and no activity that tells of it.
    alpaca.paper.set_position(AAPL, "5")
    manager.start(bot.pk, actor="ann")
    before = Account.objects.get(pk="alpaca-paper")
    assert not is_armed()
    assert round_at(bot, 1).state == "agrees"
    assert Difference.objects.count() == 0
    assert baseline(bot, AAPL) == 5
    after = Account.objects.get(pk="alpaca-paper")
    assert after.peak_equity_usd == after.day_start_equity_usd == after.equity_usd
    assert before.equity_usd != after.equity_usd


def test_person_who_starts_a_running_bot_again_takes_nothing_anew(bot: Bot) -> None:
    manager.start(bot.pk, actor="ann")
    assert is_armed()


@pytest.mark.parametrize("status", [BotStatus.RUNNING, BotStatus.PAUSED])
def test_account_that_another_bot_trades_on_is_not_taken_anew(bot: Bot, status: str) -> None:
    stock_bot("other")
    assert is_armed()
    Bot.objects.filter(pk=bot.pk).update(status=status)
    movements.arm_paper(Bot.objects.get(name="other"))
    assert is_armed()


def test_account_on_which_something_is_held_or_open_is_not_taken_anew(bot: Bot) -> None:
    assert send(stock_intent(bot)).order.status == OrderStatus.FILLED
    manager.stop(bot.pk, actor="ann")
    other = stock_bot("other")
    assert is_armed()
    Bot.objects.filter(pk=other.pk).update(paper_broker=PaperBroker.BUILT_IN)
    movements.arm_paper(Bot.objects.get(pk=other.pk))
    assert is_armed()


def test_order_that_still_rests_keeps_the_baseline(bot: Bot) -> None:
    assert send(stock_intent(bot, limit="98")).order.status == OrderStatus.ACCEPTED
    Bot.objects.filter(pk=bot.pk).update(status=BotStatus.STOPPED)
    stock_bot("other")
    assert is_armed()


def test_bot_that_lets_the_account_fill_its_orders_from_now_on_takes_it_anew(bot: Bot, alpaca: AlpacaLoopback) -> None:
    manager.stop(bot.pk, actor="ann")
    other = stock_bot("other", paper_broker=PaperBroker.BUILT_IN)
    assert is_armed()
    alpaca.paper.set_position(AAPL, "2")
    other.paper_broker = PaperBroker.VENUE
    manager.update(other, actor="ann", only=("paper_broker",))
    assert not is_armed()
    measured(is_live=False)
    assert round_at(other, 1).state == "agrees"
    assert baseline(other, AAPL) == Decimal(2)
