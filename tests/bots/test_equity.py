"""What the books are worth: marks, snapshots, thinning, and the gain since a moment."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from bots import equity, manager
from bots.equity import pnl_since, take_snapshots, thin_snapshots, worth
from bots.models import Bot, EquitySnapshot, Position
from safety.intents import Side
from tests.bots.builders import Floor, intent_for, make_bot, no_market, position_of, submit

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)


def holding(name: str, quantity: str = "1", cost: str = "100", **changes: object) -> Position:
    """Return a stored book that spent ``cost`` and still holds everything."""
    bot = Bot.objects.filter(name=name).first() or make_bot(name, running=False)
    spent = Decimal(cost)
    fields = {"is_live": False, "quantity": Decimal(quantity), "cost": spent, "cash_flow": -spent}
    return Position.objects.create(bot=bot, **{**fields, **changes})


def test_worth_is_cash_and_position_at_the_mark() -> None:
    position = Position(
        quantity=Decimal("0.5"), cost=Decimal(50), realised_pnl=Decimal(-3), cash_flow=Decimal(-53), fees=Decimal(3)
    )
    figures = worth(position, Decimal(1000), Decimal(120))
    assert (figures.equity, figures.position_value) == (1007, 60)
    assert (figures.realised_pnl, figures.unrealised_pnl, figures.pnl) == (-3, 10, 7)
    # What was gained is what the equity rose by.
    assert figures.equity - 1000 == figures.pnl


def test_snapshot_marks_the_book_at_the_bid(floor: Floor) -> None:
    position = holding("one")
    floor.feed.move_to("120", "121")
    assert take_snapshots(NOON) == 1
    snapshot = EquitySnapshot.objects.get()
    assert (snapshot.taken_at, snapshot.equity, snapshot.position_value) == (NOON, 10_020, 120)
    assert (snapshot.realised_pnl, snapshot.unrealised_pnl, snapshot.is_live) == (0, 20, False)
    position.refresh_from_db()
    assert (position.mark_price, position.marked_at) == (120, NOON)


@pytest.mark.parametrize("age_s", [0, 59, 61, 86_400, -30])
def test_mark_is_as_old_as_its_quote_and_never_from_the_future(floor: Floor, age_s: int) -> None:
    position = holding("one")
    floor.feed.quote_age_s = age_s
    assert take_snapshots(NOON) == 1
    position.refresh_from_db()
    assert position.marked_at == min(NOON, NOON - timedelta(seconds=age_s))


def test_live_book_begins_with_the_bots_capital(floor: Floor) -> None:
    holding("one", is_live=True)
    floor.feed.move_to("120", "121")
    take_snapshots(NOON)
    assert EquitySnapshot.objects.get().equity == 1000 - 100 + 120


def test_two_snapshots_of_one_moment_are_one(floor: Floor) -> None:
    holding("one")
    take_snapshots(NOON)
    take_snapshots(NOON)
    assert EquitySnapshot.objects.count() == 1


def test_book_without_a_market_gets_no_snapshot_and_keeps_its_mark(floor: Floor) -> None:
    position = holding("one", mark_price=Decimal(77))
    floor.feed.broken = no_market()
    assert take_snapshots(NOON) == 0
    position.refresh_from_db()
    assert position.mark_price == 77


def test_bot_that_never_traded_has_no_snapshot(floor: Floor) -> None:
    Position.objects.create(bot=make_bot(), is_live=False)
    assert take_snapshots(NOON) == 0


def test_snapshot_does_not_undo_what_the_ledger_wrote_meanwhile(floor: Floor) -> None:
    bot = make_bot()
    submit(intent_for(bot, Side.BUY, "0.5"))
    before = position_of(bot)
    take_snapshots(NOON)
    after = position_of(bot)
    assert (after.quantity, after.cost, after.cash_flow) == (before.quantity, before.cost, before.cash_flow)


def test_paper_and_live_are_never_added_together(floor: Floor) -> None:
    holding("one", mark_price=Decimal(110))
    holding("one", is_live=True, mark_price=Decimal(50))
    assert pnl_since(NOON, is_live=False) == 10
    assert pnl_since(NOON, is_live=True) == -50
    take_snapshots(NOON)
    assert sorted(EquitySnapshot.objects.values_list("is_live", flat=True)) == [False, True]


# The gain since a moment.


def snapshot(bot: Bot, at: datetime, realised: str, unrealised: str = "0", *, is_live: bool = False) -> None:
    EquitySnapshot.objects.create(
        bot=bot, is_live=is_live, taken_at=at, equity=Decimal(0), position_value=Decimal(0),
        realised_pnl=Decimal(realised), unrealised_pnl=Decimal(unrealised),
    )  # fmt: skip


def test_gain_of_the_day_counts_from_the_last_snapshot_before_midnight_utc(floor: Floor) -> None:
    position = holding("one", mark_price=Decimal(130), realised_pnl=Decimal(4))
    snapshot(position.bot, MIDNIGHT - timedelta(seconds=5), "4", "11")
    snapshot(position.bot, MIDNIGHT, "4", "15")
    snapshot(position.bot, MIDNIGHT + timedelta(seconds=5), "4", "25")
    assert pnl_since(MIDNIGHT, is_live=False) == 34 - 15


def test_loss_before_midnight_is_not_counted_again_after_it(floor: Floor) -> None:
    """Europe's clocks change on this day; a UTC day does not care."""
    position = holding("one", mark_price=Decimal(90))
    for hour in range(1, 26):
        snapshot(position.bot, MIDNIGHT + timedelta(hours=hour - 13), "0", "-10")
    assert pnl_since(MIDNIGHT, is_live=False) == 0
    assert pnl_since(MIDNIGHT - timedelta(days=1), is_live=False) == -10


def test_book_that_is_younger_than_the_moment_counts_from_its_beginning(floor: Floor) -> None:
    position = holding("one", mark_price=Decimal(130))
    snapshot(position.bot, MIDNIGHT + timedelta(hours=1), "0", "25")
    assert pnl_since(MIDNIGHT, is_live=False) == 30


def test_book_without_a_mark_counts_what_it_realised(floor: Floor) -> None:
    holding("one", realised_pnl=Decimal(-2), mark_price=None)
    assert pnl_since(NOON, is_live=False) == -2


def test_archived_bot_adds_nothing_to_later_days(floor: Floor) -> None:
    """Its last sale came after its last snapshot, and no snapshot follows: the difference is not gained anew each day."""
    bot = make_bot()
    yesterday = NOON - timedelta(days=1)
    position = holding(bot.name, quantity="0", cost="0", realised_pnl=Decimal(50), cash_flow=Decimal(50))
    Position.objects.filter(pk=position.pk).update(last_entry_at=yesterday, last_exit_at=yesterday)
    snapshot(bot, yesterday - timedelta(seconds=7), "0", "30")
    manager.archive(bot.pk, actor="anna")
    assert pnl_since(yesterday - timedelta(hours=3), is_live=False) == 50
    assert pnl_since(MIDNIGHT, is_live=False) == 0


def test_bot_that_was_archived_today_still_counts_today(floor: Floor) -> None:
    bot = make_bot()
    position = holding(bot.name, quantity="0", cost="0", realised_pnl=Decimal(50), cash_flow=Decimal(50))
    Position.objects.filter(pk=position.pk).update(last_entry_at=MIDNIGHT, last_exit_at=MIDNIGHT + timedelta(hours=2))
    snapshot(bot, MIDNIGHT - timedelta(seconds=7), "0", "30")
    manager.archive(bot.pk, actor="anna")
    assert pnl_since(MIDNIGHT, is_live=False) == 20


def test_dust_that_an_archived_bot_left_at_its_venue_is_marked_on(floor: Floor) -> None:
    """Without a mark the account's exposure is not known, and every other bot's entries are denied, for ever."""
    live, paper = holding("one", is_live=True), holding("one")
    gone = holding("two", quantity="0", is_live=True)
    Bot.objects.update(status="archived")
    take_snapshots(NOON)
    for book, marked_at in ((live, NOON), (paper, None), (gone, None)):
        book.refresh_from_db()
        assert book.marked_at == marked_at


# Thinning.


def test_old_snapshots_are_thinned_to_the_first_of_each_hour_and_book(floor: Floor) -> None:
    one, two = make_bot("one"), make_bot("two")
    old, young = NOON - timedelta(days=3), NOON - timedelta(hours=1)
    for minutes in (0, 10, 20, 59, 60, 61):
        for bot in (one, two):
            snapshot(bot, old + timedelta(minutes=minutes), "1")
            snapshot(bot, young + timedelta(minutes=minutes), "1")
    snapshot(one, old + timedelta(minutes=30), "1", is_live=True)
    assert thin_snapshots(NOON) == 8
    for bot in (one, two):
        kept = EquitySnapshot.objects.filter(bot=bot, is_live=False, taken_at__lt=young).order_by("taken_at")
        assert list(kept.values_list("taken_at", flat=True)) == [old, old + timedelta(minutes=60)]
        assert EquitySnapshot.objects.filter(bot=bot, taken_at__gte=young).count() == 6
    assert EquitySnapshot.objects.filter(is_live=True).count() == 1
    assert thin_snapshots(NOON) == 0


def test_thinning_reaches_every_bot_however_much_history_the_first_one_has(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bound of what is *read*, a long thinned history would fill it, and nothing would be thinned any more."""
    monkeypatch.setattr(equity, "THIN_AT_MOST", 5)
    one, two = make_bot("one"), make_bot("two")
    old = NOON - timedelta(days=3)
    for hour in range(8):
        snapshot(one, old + timedelta(hours=hour), "1")
    for minutes in range(4):
        snapshot(two, old + timedelta(minutes=minutes), "1")
    assert thin_snapshots(NOON) == 3
    assert EquitySnapshot.objects.filter(bot=one).count() == 8
    assert EquitySnapshot.objects.filter(bot=two).count() == 1


def test_a_call_deletes_a_bounded_number(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equity, "THIN_AT_MOST", 5)
    bot = make_bot()
    for second in range(9):
        snapshot(bot, NOON - timedelta(days=3) + timedelta(seconds=second), "1")
    assert [thin_snapshots(NOON) for _ in range(3)] == [5, 3, 0]
