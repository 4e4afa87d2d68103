"""Splits, mergers and the like while a bot holds: told, counted once, sold by nobody, and carried into the books by a person."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OperatorEvent
from bots.batch import load_books
from bots.models import Account, AccountMovement, Bot, Deal, Difference, Fill, Order, Position
from bots.order_states import OrderStatus
from bots.proposals import filtered
from bots.reconciliation.queries import AssetLine, view
from bots.reconciliation.settling import Seen, SettleError, settle
from safety.controls.base import StateReading
from safety.intents import Level, Side
from tests.bots.alpaca_desk import asks, measured, stock_intent
from tests.bots.builders import actions_on, buy, position_of, sell
from tests.bots.live import send
from tests.bots.reconciliation.desk import alarms
from tests.bots.reconciliation.test_alpaca import assert_agrees, baseline, desk, round_at
from tests.loopback.client import AAPL, AlpacaAccount, AlpacaLoopback, Loopback

__all__ = ["desk"]
pytestmark = pytest.mark.usefixtures("committed_db")

Desk = tuple[Bot, AlpacaAccount]


def holds(desk: Desk, quantity: str = "0.4", *, days_ago: int = 3) -> Desk:
    """Let the bot hold shares that it bought some days before."""
    bot, _ = desk
    assert send(stock_intent(bot, quantity=quantity)).order.status == OrderStatus.FILLED
    Fill.objects.update(filled_at=timezone.now() - timedelta(days=days_ago))
    assert round_at(bot).state == "agrees"
    return desk


def book(bot: Bot) -> Position:
    return position_of(bot, is_live=bot.is_live)


def opened() -> Difference:
    return Difference.objects.get(closed_at__isnull=True)


def accept(found: Difference, **changes: object) -> Difference:
    asked: dict[str, object] = {"actor": "anna", "reason": "the company says so", "seen": Seen.of(found), **changes}
    return settle(found.pk, **asked)  # type: ignore[arg-type]


def line(bot: Bot) -> AssetLine:
    return next(one for one in view("alpaca", is_live=bot.is_live).lines if one.asset == AAPL)


def account(bot: Bot) -> Account:
    return Account.objects.get(pk=view("alpaca", is_live=bot.is_live).name)


def test_split_of_what_a_book_holds_opens_a_difference_and_waits_for_a_person(
    desk: Desk, alpaca: AlpacaLoopback
) -> None:
    bot, there = holds(desk)
    worth = account(bot).equity_usd
    there.change_shares("SPLIT", "1.2")
    alpaca.set_price("24.97", "25.03", volume="0")
    Loopback.wait_until(asks, lambda price: price == Decimal("25.03"), 60)
    assert round_at(bot).state == "differs"
    found = opened()
    assert (found.kind, found.asset, found.venue, found.held) == ("shares", AAPL, Decimal("1.6"), Decimal("0.4"))
    assert "AAPL 4:1 split on " in found.text
    assert "holds 1.6, the books of its bots 0.4" in found.text
    assert alarms("reconciliation_mismatch") == [f"account:{account(bot).name} {AAPL}"]
    # Nothing of it is called the owner's, and both sides add up.
    shown = line(bot)
    assert (shown.owner_s, shown.pending, shown.delta, shown.verdict) == (0, Decimal("1.2"), 0, "agrees")
    assert book(bot).quantity == Decimal("0.4")
    again = account(bot)
    assert again.equity_usd is not None
    assert worth is not None
    assert abs(again.equity_usd - worth) < 40
    measured(is_live=bot.is_live)
    assert "RECONCILIATION_OPEN" in [one.code for one in send(stock_intent(bot, quantity="0.2")).denials]


def test_accepted_split_changes_the_quantity_and_keeps_the_cost(desk: Desk) -> None:
    bot, there = holds(desk)
    before = book(bot)
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    assert accept(opened()).outcome == "accepted"
    after = book(bot)
    assert (after.quantity, after.cost, after.realised_pnl) == (Decimal("1.6"), before.cost, before.realised_pnl)
    assert (after.mark_price, baseline(bot, AAPL)) == (None, 0)
    assert after.average_price == before.cost / Decimal("1.6")
    deal = Deal.objects.get(bot=bot, closed_at__isnull=True)
    assert (deal.bought_quantity, deal.peak_price) == (Decimal("1.6"), None)
    assert ("book_rescaled", "anna") in [one[:2] for one in actions_on(bot)]
    assert round_at(bot).state == "agrees"
    assert_agrees(bot, there)
    assert send(stock_intent(bot, Side.SELL, "1.6")).order.status == OrderStatus.FILLED
    assert there.positions() == {}
    sold = book(bot)
    assert (sold.quantity, sold.cost) == (0, 0)
    assert sold.realised_pnl == sold.cash_flow


def test_two_rows_of_one_split_are_one_and_count_once(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "-0.4")
    there.change_shares("SPLIT", "1.6")
    for seconds in (0, 12, 24):
        assert round_at(bot, seconds).state == "differs"
    found = opened()
    assert "AAPL 4:1 split" in found.text
    assert AccountMovement.objects.filter(share_difference=found).count() == 2
    assert accept(found).pk == accept(found).pk
    assert book(bot).quantity == Decimal("1.6")
    assert OperatorEvent.objects.filter(action="book_rescaled").count() == 1


def test_reverse_split_is_no_shortage_and_what_is_there_can_be_sold(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "-0.3")
    round_at(bot)
    assert "AAPL 1:4 split" in opened().text
    assert send(stock_intent(bot, Side.SELL, "0.05")).order.status == OrderStatus.FILLED
    for seconds in (1, 12, 24):
        assert round_at(bot, seconds).state == "differs"
    assert [one.kind for one in Difference.objects.all()] == ["shares"]
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("0.05"), 0)
    assert round_at(bot, 60).state == "agrees"
    assert_agrees(bot, there)


def test_split_is_shared_out_between_the_owner_and_the_book(desk: Desk) -> None:
    bot, there = desk
    there.place("buy", "2")
    round_at(bot, 1)
    AccountMovement.objects.update(happened_at=timezone.now() - timedelta(days=3))
    holds(desk, "0.4")
    there.change_shares("SPLIT", "4.8")
    round_at(bot, 70)
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("1.2"), 6)
    assert round_at(bot, 90).state == "agrees"
    assert_agrees(bot, there)


def test_what_was_sold_since_the_split_was_sold_of_the_new_shares(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2")
    send(stock_intent(bot, Side.SELL, "0.4"))
    round_at(bot)
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("1.2"), 0)
    assert Deal.objects.filter(bot=bot, closed_at__isnull=True).count() == 1
    assert round_at(bot, 20).state == "agrees"


def test_books_that_a_person_leaves_alone_stay_and_the_shares_are_the_owner_s(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    assert accept(opened(), leaves_books=True).outcome == "noted"
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("0.4"), Decimal("1.2"))
    assert round_at(bot, 20).state == "agrees"
    assert line(bot).owner_s == Decimal("1.2")


def test_merger_that_leaves_no_share_hands_the_book_over_at_cost(desk: Desk) -> None:
    bot, there = holds(desk)
    before, peak = book(bot), account(bot).peak_equity_usd
    there.change_shares("MA", "-0.4", net_amount="44.00")
    round_at(bot)
    assert "AAPL merger on" in opened().text
    accept(opened())
    after = book(bot)
    assert (after.quantity, after.cost, after.realised_pnl) == (0, 0, before.realised_pnl)
    assert after.realised_pnl == after.cash_flow
    assert Deal.objects.get(bot=bot).closed_at is not None
    assert round_at(bot, 20).state == "agrees"
    assert_agrees(bot, there)
    # What was paid for them came for what went: no loss baseline moved by it.
    assert peak is not None
    kept = account(bot).peak_equity_usd
    assert kept is not None
    assert abs(kept - peak) < 10


def test_cash_in_lieu_is_a_transfer_and_asks_nobody(desk: Desk) -> None:
    bot, there = holds(desk)
    usd = baseline(bot, "USD")
    there.activity("CIL", "3.21", symbol=AAPL)
    assert round_at(bot).state == "agrees"
    assert baseline(bot, "USD") - usd == Decimal("3.21")
    row = AccountMovement.objects.get(kind="share_change")
    assert (row.asset, row.value_usd, row.share_difference) == ("USD", None, None)


@pytest.mark.parametrize("kind", ["SPIN", "MA"])
def test_shares_that_others_add_are_no_split_of_what_a_book_bought(desk: Desk, kind: str) -> None:
    bot, there = holds(desk)
    there.change_shares(kind, "0.1")
    round_at(bot)
    accept(opened())
    assert (book(bot).quantity, baseline(bot, AAPL)) == (Decimal("0.4"), Decimal("0.1"))


def test_split_of_what_no_book_holds_asks_nobody(desk: Desk) -> None:
    bot, there = desk
    there.place("buy", "2")
    round_at(bot, 1)
    there.change_shares("SPLIT", "6")
    assert round_at(bot, 20).state == "agrees"
    assert Difference.objects.count() == 0
    assert baseline(bot, AAPL) == 8


def test_split_that_is_listed_late_takes_the_place_of_what_nothing_explained(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2", listed=False)
    for seconds in (0, 12):
        round_at(bot, seconds)
    assert opened().kind == "surplus"
    there.change_shares("SPLIT", "-1.2", listed=False)
    there.change_shares("SPLIT", "1.2")
    round_at(bot, 30, "command")
    found = opened()
    assert found.kind == "shares"
    accept(found)
    assert book(bot).quantity == Decimal("1.6")
    assert round_at(bot, 60).state == "agrees"


def test_resting_orders_are_cancelled_first(desk: Desk) -> None:
    bot, there = holds(desk)
    order = send(stock_intent(bot, quantity="0.1", limit="98")).order
    assert order.status == OrderStatus.ACCEPTED
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    order.refresh_from_db()
    assert order.cancel_requested_at is not None
    with pytest.raises(SettleError, match="being cancelled"):
        accept(opened())
    assert book(bot).quantity == Decimal("0.4")
    there.cancel(order.venue_order_id)
    round_at(bot, 20)
    assert Order.objects.get(pk=order.pk).status == OrderStatus.CANCELED
    accept(opened())
    assert book(bot).quantity == Decimal("1.6")


def test_figures_that_moved_are_not_carried(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    seen = Seen.of(opened())
    there.change_shares("SPLIT", "1.6")
    round_at(bot, 20, "command")
    with pytest.raises(SettleError, match="figures moved since"):
        accept(opened(), seen=seen)
    accept(opened())
    assert book(bot).quantity == Decimal("3.2")


def test_bot_whose_shares_were_split_decides_nothing_until_then(desk: Desk) -> None:
    bot, there = holds(desk)
    there.change_shares("SPLIT", "1.2")
    round_at(bot)
    now, wanted = timezone.now(), [buy("0.1"), sell("0.1")]
    kept, blocks = filtered(wanted, load_books([bot.pk], now)[bot.pk], StateReading(Level.ACTIVE), now)
    assert kept == []
    assert [one.code for one in blocks if "carried it into its book" in one.message] == ["RECONCILIATION_OPEN"]
    accept(opened())
    kept, _ = filtered(wanted, load_books([bot.pk], now)[bot.pk], StateReading(Level.ACTIVE), now)
    assert sell("0.1") in kept
