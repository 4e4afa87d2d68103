"""Baselines of losses: UTC days, peaks, gaps, clocks set back, and what sets new ones."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.log import unit
from audit.models import OperatorEvent
from bots import baselines, manager
from bots.accounts import FRESH_FOR
from bots.accounts import baselines as known_on
from bots.baselines import measured, move_baselines, reset, reset_on_release
from bots.models import Account, Bot, Position
from safety.intents import Side
from tests.bots.builders import Floor, make_bot, trade

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
TODAY = NOON.date()


def an_account(**changes: object) -> Account:
    return Account(**{"name": "kraken", "venue": "kraken", "is_live": True, **changes})


def look(account: Account, equity: str, at: datetime = NOON) -> Account:
    measured(account, Decimal(equity), Decimal(equity), at)
    return account


def figures(account: Account) -> tuple[date | None, Decimal | None, Decimal | None]:
    return account.day, account.day_start_equity_usd, account.peak_equity_usd


# Measuring.


def test_first_measurement_is_the_first_baseline() -> None:
    assert figures(look(an_account(), "500")) == (TODAY, 500, 500)


def test_day_start_stays_and_the_peak_rises() -> None:
    account = look(look(look(an_account(), "500"), "520", NOON + timedelta(hours=1)), "490", NOON + timedelta(hours=2))
    assert figures(account) == (TODAY, 500, 520)
    assert (account.equity_usd, account.measured_at) == (490, NOON + timedelta(hours=2))


@pytest.mark.parametrize("days_later", [1, 5])
def test_day_begins_with_the_last_equity_that_was_known_before_it(days_later: int) -> None:
    """Also after a gap: what was lost while nobody measured counts on the day on which it is seen."""
    account = look(look(an_account(), "500"), "470", NOON + timedelta(days=days_later))
    assert figures(account) == (TODAY + timedelta(days=days_later), 500, 500)


def test_last_second_of_a_utc_day_is_that_day() -> None:
    before_midnight = datetime(2026, 3, 29, 23, 59, 59, tzinfo=UTC)
    account = look(look(an_account(), "500"), "490", before_midnight)
    assert figures(account)[:2] == (TODAY, 500)
    assert figures(look(account, "480", before_midnight + timedelta(seconds=1)))[:2] == (date(2026, 3, 30), 490)


def test_clock_set_back_moves_no_day_back() -> None:
    account = look(look(an_account(), "500"), "400", NOON - timedelta(days=3))
    assert figures(account) == (TODAY, 500, 500)
    assert figures(look(account, "390", NOON + timedelta(minutes=1))) == (TODAY, 500, 500)


def test_day_that_was_not_measured_yet_is_judged_by_the_last_known_equity() -> None:
    account = look(look(an_account(), "500"), "480", NOON + timedelta(minutes=1))
    assert known_on(account, TODAY).day_start_usd == 500
    assert known_on(account, TODAY + timedelta(days=1)).day_start_usd == 480
    assert known_on(account, TODAY - timedelta(days=1)).day_start_usd == 500
    assert known_on(None, TODAY) == known_on(an_account(), TODAY)
    assert known_on(None, TODAY).day_start_usd is None


def test_deposit_is_no_gain_and_withdrawal_no_loss() -> None:
    account = look(look(an_account(), "500"), "520")
    account.save = lambda **kwargs: None  # type: ignore[method-assign]
    move_baselines(account, Decimal(100))
    assert figures(account)[1:] == (600, 620)
    move_baselines(account, Decimal(-300))
    assert figures(account)[1:] == (300, 320)
    assert account.equity_usd == 520


# New ones.


@pytest.mark.django_db
def test_release_sets_new_baselines_for_live_and_forgets_streaks(floor: Floor) -> None:
    now = timezone.now()
    look(an_account(), "500", now).save()
    look(an_account(name="alpaca", venue="alpaca"), "900", now).save()
    look(an_account(name="alpaca-paper", venue="alpaca", is_live=False), "900", now).save()
    for account in Account.objects.all():
        look(account, "400", now).save()
    bot = Bot.objects.create(
        name="live", venue="kraken", symbol="BTC/USD", strategy="smart_dca", capital_usd=Decimal(100), dry_run=False
    )
    Position.objects.create(bot=bot, is_live=True, losing_streak=5, reject_streak=2)
    with unit():
        reset_on_release(None, scope="venue:kraken", reason="looked at it", actor="anna")
    assert {one.name: one.peak_equity_usd for one in Account.objects.filter(bot=None)} == {
        "kraken": 400, "alpaca": 900, "alpaca-paper": 900,
    }  # fmt: skip
    book = Position.objects.get(bot=bot)
    assert (book.losing_streak, book.reject_streak) == (0, 0)
    actions = list(OperatorEvent.objects.order_by("id").values_list("action", "object", "actor"))
    assert actions == [
        ("account_baselines_reset", "account:kraken", "anna"),
        ("bot_streaks_reset", f"bot:{bot.pk} live", "anna"),
    ]
    row = OperatorEvent.objects.order_by("id").first()
    assert row is not None
    assert json.loads(row.old) == {"day_start_equity_usd": "500", "peak_equity_usd": "500"}
    with unit():
        reset_on_release(None, scope="global", reason="all of it", actor="anna")
    assert Account.objects.get(name="alpaca").peak_equity_usd == 400
    assert Account.objects.get(name="alpaca-paper").peak_equity_usd == 900


@pytest.mark.django_db
@pytest.mark.parametrize(("age", "known"), [(FRESH_FOR, True), (FRESH_FOR + timedelta(seconds=1), False)])
def test_reset_on_old_figures_waits_for_the_next_measurement(age: timedelta, known: bool) -> None:
    now = timezone.now()
    look(look(an_account(), "500", now - age), "400", now - age).save()
    with unit():
        reset(["kraken"], actor="anna", now=now)
    account = Account.objects.get()
    assert figures(account)[1:] == ((400, 400) if known else (None, None))
    assert figures(look(account, "390", now))[1:] == ((400, 400) if known else (390, 390))


@pytest.mark.django_db
def test_start_by_a_person_forgets_a_paper_bots_losses(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "1")
    floor.feed.move_to("50", "50.01")
    account = Account.objects.get(bot=bot)
    account.peak_equity_usd = Decimal(12_000)
    account.save()
    Position.objects.update(losing_streak=5, reject_streak=1, mark_price=Decimal(50))
    manager.start(bot.pk, actor="anna")
    account.refresh_from_db()
    book = Position.objects.get(bot=bot)
    assert (book.losing_streak, book.reject_streak) == (0, 0)
    worth = 10_000 + book.cash_flow + 50
    assert figures(account)[1:] == (worth, worth)
    assert account.reset_at is not None


@pytest.mark.django_db
def test_new_bot_has_lost_nothing_and_its_start_says_nothing_new(floor: Floor) -> None:
    bot = make_bot()
    account = Account.objects.get(bot=bot)
    assert figures(account)[1:] == (10_000, 10_000)
    assert not OperatorEvent.objects.filter(action="account_baselines_reset").exists()


@pytest.mark.django_db
def test_change_of_the_paper_equity_is_neither_gain_nor_loss(floor: Floor) -> None:
    bot = make_bot()
    bot.paper_equity_usd = Decimal(500)
    manager.update(bot, actor="anna")
    account = Account.objects.get(bot=bot)
    assert (account.day_start_equity_usd, account.peak_equity_usd, account.equity_usd) == (500, 500, 500)


@pytest.mark.django_db
def test_start_of_a_live_bot_leaves_its_accounts_baselines(floor: Floor) -> None:
    bot = make_bot(running=False)
    now = timezone.now()
    look(look(an_account(), "500", now), "400", now).save()
    Bot.objects.update(venue="kraken", dry_run=False)
    Position.objects.create(bot=bot, is_live=True, losing_streak=3)
    manager.start(bot.pk, actor="anna")
    assert figures(Account.objects.get(name="kraken"))[1:] == (500, 500)
    assert Position.objects.get(bot=bot).losing_streak == 0


@pytest.mark.parametrize(
    ("position", "bid", "worth"),
    [
        (None, None, "1000"),
        (Position(cash_flow=Decimal(-50)), None, "950"),
        (Position(cash_flow=Decimal(-50), quantity=Decimal(2), mark_price=Decimal(20)), None, "990"),
        (Position(cash_flow=Decimal(-50), quantity=Decimal(2), mark_price=Decimal(20)), Decimal(30), "1010"),
        (Position(cash_flow=Decimal(-50), quantity=Decimal(2), cost=Decimal(49)), None, "999"),
    ],
)
def test_worth_of_a_paper_bot(position: Position | None, bid: Decimal | None, worth: str) -> None:
    bot = Bot(paper_equity_usd=Decimal(1000))
    assert baselines.paper_equity_usd(bot, position, bid) == Decimal(worth)
