"""Figures that are under way: a change of shares that is listed before it is carried out, or not carried into the books yet."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from bots import hand_orders
from bots.manager import BotActionError
from bots.models import AccountMovement, Bot, Order
from bots.order_states import OrderStatus
from bots.reconciliation.settling import Seen, SettleError, settle
from tests.bots.reconciliation.desk import account as kraken_account
from tests.bots.reconciliation.desk import assert_agrees as assert_kraken_agrees
from tests.bots.reconciliation.desk import open_differences
from tests.bots.reconciliation.test_alpaca import assert_agrees, baseline, desk, round_at
from tests.bots.reconciliation.test_long_history import due_round, pass_time, read_on, starter, trade
from tests.bots.reconciliation.test_share_changes import Desk, accept, account, book, holds, opened
from tests.bots.test_flatten import start, work
from tests.loopback.client import AAPL, KrakenLoopback

__all__ = ["desk", "starter"]
pytestmark = [pytest.mark.usefixtures("committed_db"), pytest.mark.timeout(900)]


@pytest.mark.parametrize("by", ["hand", "flatten"])
def test_position_closed_after_a_reverse_split_sells_the_book_s_own_part(desk: Desk, by: str) -> None:
    bot, there = desk
    there.place("buy", "2")
    round_at(bot)
    AccountMovement.objects.update(happened_at=timezone.now() - timedelta(days=3))
    holds(desk, "0.4")
    # 2.4 shares become 0.6, of which the owner has 0.5: nobody sells those.
    there.change_shares("SPLIT", "-1.8")
    round_at(bot)
    if by == "hand":
        hand_orders.close_at_venue(bot.pk, actor="anna")
    else:
        run = start(f"bot:{bot.pk}")
        for _ in range(2):
            work(run)
    sold = Order.objects.get(bot=bot, side="sell")
    assert (sold.status, sold.quantity) == (OrderStatus.FILLED, Decimal("0.1"))
    with pytest.raises(BotActionError, match="shares were changed"):
        hand_orders.close_at_venue(bot.pk, actor="anna")
    round_at(bot, 90)
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (0, Decimal("0.5"))
    assert round_at(bot, 110).state == "agrees"
    assert_agrees(bot, there)


@pytest.mark.parametrize("change", ["1.2", "-0.3"])
def test_split_that_is_listed_before_the_shares_change_is_no_gain_and_no_loss(desk: Desk, change: str) -> None:
    bot, there = holds(desk)
    before = account(bot)
    there.change_shares("SPLIT", change)
    there.change_shares("SPLIT", f"{-Decimal(change)}", listed=False)
    for seconds in (0, 12, 24):
        round_at(bot, seconds)
        after = account(bot)
        assert before.equity_usd is not None
        assert after.equity_usd is not None
        assert after.peak_equity_usd is not None
        assert abs(after.equity_usd - before.equity_usd) < 5
        assert abs(after.peak_equity_usd - before.equity_usd) < 5


def test_change_of_a_day_whose_first_change_was_accepted_is_shared_out_by_what_was_there(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    accept(opened())
    assert round_at(bot, 20).state == "agrees"
    # Wrong, says the venue, and takes it back.
    there.change_shares("SPLIT", "-1.2")
    round_at(bot, 40)
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("0.4"), 0)
    assert round_at(bot, 60).state == "agrees"


def test_figure_is_not_accepted_while_a_long_history_is_read(starter: Bot, kraken: KrakenLoopback) -> None:
    # The owner takes 0.5 of his own, and 0.1 of ours; many rows are listed before that one.
    trade(kraken, fills=0, deposits=400)
    kraken.withdraw("XXBT", "0.6")
    for _ in range(3):
        pass_time(kraken)
        due_round()
    found = open_differences()[0]
    assert (found.kind, found.venue, found.held) == ("shortage", Decimal("0.2"), Decimal("0.3"))
    with pytest.raises(SettleError, match="history is being read"):
        settle(found.pk, actor="anna", reason="it is gone", seen=Seen.of(found))
    for _ in range(30):
        pass_time(kraken)
        run = due_round()
        if run is not None and run.figures:
            break
    found = open_differences()[0]
    settle(found.pk, actor="anna", reason="it is gone", seen=Seen.of(found))
    read_on(kraken, rounds_max=10)
    assert_kraken_agrees(kraken, starter)
    assert kraken_account().agrees
