"""Measuring accounts, and what a loss brings about by itself: just under the limit, at it, over it, once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bots import account_chores, loss_triggers, manager
from bots.account_chores import accounts_in_use, measure_at_venue, measure_paper, measure_paper_accounts
from bots.brokers.base import AccountReport, VenueError
from bots.brokers.factory import BrokerUnavailable
from bots.market_data.feeds import feed_for, forget_feeds
from bots.markets import Moment
from bots.models import Account, Bot, BotStatus, Position
from safety.intents import LimitSet, Side
from safety.kill_switch import release
from safety.models import TradingState
from tests.bots.builders import Floor, actions_on, make_bot, no_market, trade
from tests.conftest import CommittedDatabase
from tests.loopback.client import BTC, KrakenLoopback

PAPER = LimitSet(notional_usd_max=None)


def paper_account(bot: Bot) -> Account:
    return Account.objects.get(bot=bot)


def measure(at: datetime | None = None) -> None:
    measure_paper_accounts(at or timezone.now())


# Paper.


@pytest.mark.django_db
def test_paper_accounts_are_measured_at_the_bid(floor: Floor) -> None:
    bot, idle = make_bot("one"), make_bot("idle")
    trade(bot, Side.BUY, "1")
    floor.feed.move_to("110", "111")
    measure()
    account, cash = paper_account(bot), 10_000 + Position.objects.get(bot=bot).cash_flow
    assert (account.equity_usd, account.cash_usd, account.peak_equity_usd) == (cash + 110, cash, cash + 110)
    assert paper_account(idle).equity_usd == 10_000


@pytest.mark.django_db
def test_account_that_is_missing_is_made(floor: Floor) -> None:
    bot = make_bot()
    Account.objects.all().delete()
    measure()
    assert paper_account(bot).day_start_equity_usd == 10_000


@pytest.mark.django_db
def test_account_without_a_market_for_what_it_holds_keeps_its_figures(floor: Floor) -> None:
    bot, idle = make_bot("one"), make_bot("idle")
    trade(bot, Side.BUY, "1")
    measure()
    before = paper_account(bot).measured_at
    floor.feed.broken = no_market()
    later = timezone.now() + timedelta(minutes=5)
    measure(later)
    assert paper_account(bot).measured_at == before
    assert paper_account(idle).measured_at == later


@pytest.mark.django_db
def test_idle_accounts_cost_no_write_and_many_cost_one(floor: Floor) -> None:
    for number in range(3):
        make_bot(f"bot {number}")
    # A new day would be news.
    now = timezone.now().replace(hour=12)
    measure_paper(Moment(now))
    later = now + timedelta(minutes=2)
    for moment, writes in ((now + timedelta(seconds=5), 0), (later, 1)):
        with CaptureQueriesContext(connection) as captured:
            measure_paper(Moment(moment))
        statements = [one["sql"] for one in captured.captured_queries]
        assert sum(sql.startswith(("INSERT", "UPDATE")) for sql in statements) == writes, statements
    assert {one.measured_at for one in Account.objects.all()} == {later}


@pytest.mark.django_db
def test_reset_meanwhile_is_not_undone_by_the_chore(floor: Floor) -> None:
    """The rows are read under their locks, after everything that takes time."""
    bot = make_bot()
    Account.objects.update(peak_equity_usd=Decimal(20_000))
    manager.start(bot.pk, actor="anna")
    measure()
    assert paper_account(bot).peak_equity_usd == 10_000


@pytest.mark.parametrize(
    ("equity", "says"),
    [
        ("970.01", []),
        ("970", ["DAILY_LOSS"]),
        ("969.99", ["DAILY_LOSS"]),
        ("900.01", ["DAILY_LOSS"]),
        ("900", ["DAILY_LOSS", "DRAWDOWN"]),
    ],
)
def test_breach_is_at_the_limit(equity: str, says: list[str]) -> None:
    account = Account(equity_usd=Decimal(equity), day_start_equity_usd=Decimal(1000), peak_equity_usd=Decimal(1000))
    why = loss_triggers.breach(account, PAPER)
    assert [code for code in ("DAILY_LOSS", "DRAWDOWN") if code in why] == says


@pytest.mark.parametrize("missing", ["equity_usd", "day_start_equity_usd", "peak_equity_usd"])
def test_breach_is_judged_by_what_is_known(missing: str) -> None:
    """What is not known triggers nothing; the controls deny entries meanwhile."""
    known = {"equity_usd": Decimal(500), "day_start_equity_usd": Decimal(500), "peak_equity_usd": Decimal(500)}
    assert loss_triggers.breach(Account(**{**known, missing: None}), PAPER) == ""


def test_limit_that_is_switched_off_triggers_nothing() -> None:
    account = Account(equity_usd=Decimal(1), day_start_equity_usd=Decimal(1000), peak_equity_usd=Decimal(1000))
    assert loss_triggers.breach(account, LimitSet(None, daily_loss_pct=None, drawdown_pct=None)) == ""


@pytest.mark.django_db
def test_paper_loss_pauses_the_bot_once_and_touches_no_trading_state(floor: Floor) -> None:
    bot, other = make_bot("loser"), make_bot("other")
    trade(bot, Side.BUY, "9")
    floor.feed.move_to("60", "60.01")
    states = list(TradingState.objects.values_list("scope", "level"))
    for _ in range(2):
        measure()
    bot.refresh_from_db()
    other.refresh_from_db()
    assert (bot.status, other.status) == (BotStatus.PAUSED, BotStatus.RUNNING)
    assert "DAILY_LOSS" in bot.status_reason
    assert [one[:2] for one in actions_on(bot)].count(("bot_paused", "automatic")) == 1
    assert list(TradingState.objects.values_list("scope", "level")) == states
    # A person's start sets new baselines, so that it is not paused again at once.
    manager.start(bot.pk, actor="anna")
    measure()
    bot.refresh_from_db()
    assert bot.status == BotStatus.RUNNING


@pytest.mark.django_db
def test_bot_that_was_stopped_stays_stopped_however_much_it_lost(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "9")
    manager.stop(bot.pk, actor="anna")
    floor.feed.move_to("50", "50.01")
    measure()
    bot.refresh_from_db()
    assert bot.status == BotStatus.STOPPED


@pytest.mark.django_db
@pytest.mark.parametrize(("streak", "status"), [(4, "running"), (5, "paused"), (6, "paused")])
def test_rejections_in_a_row_pause_the_bot(floor: Floor, streak: int, status: str) -> None:
    bot = make_bot()
    Position.objects.create(bot=bot, is_live=False, reject_streak=streak)
    Position.objects.create(bot=bot, is_live=True, reject_streak=9)
    measure()
    bot.refresh_from_db()
    assert bot.status == status
    assert ("ERROR_STREAK" in bot.status_reason) == (status == "paused")


# Live.


class Answer:
    """A venue's answer about its account, in place of the broker at the edge of the house."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report = AccountReport({"USD": Decimal(400), "USDC": Decimal(100)}, {"SPY": Decimal(1)})
        self.error: Exception | None = None
        monkeypatch.setattr(account_chores, "broker_for", self._broker)
        monkeypatch.setattr(account_chores, "feed_for", lambda venue: self.feed)

    feed: object = None

    def _broker(self, venue: str, *, is_live: bool) -> "Answer":
        if self.error is not None:
            raise self.error
        return self

    def account(self) -> AccountReport:
        return self.report


@pytest.fixture
def answer(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> Answer:
    answer = Answer(monkeypatch)
    answer.feed = floor.feed
    return answer


def live_bot() -> Bot:
    return Bot.objects.create(
        name="live", venue="kraken", symbol="BTC/USD", strategy="smart_dca", capital_usd=Decimal(100), dry_run=False,
        status=BotStatus.RUNNING,
    )  # fmt: skip


def test_account_at_a_venue_is_cash_and_what_it_holds_at_the_bid(
    committed_db: CommittedDatabase, answer: Answer
) -> None:
    account = measure_at_venue("kraken", is_live=True)
    assert (account.cash_usd, account.equity_usd, account.flags) == (500, Decimal("599.99"), [])
    assert Account.objects.get(name="kraken").equity_usd == Decimal("599.99")


def test_holding_that_the_venue_does_not_trade_just_now_is_no_loss(
    committed_db: CommittedDatabase, kraken: KrakenLoopback
) -> None:
    kraken.set_price("99.9", "100.1")
    kraken.set_balance("XXBT", "3")
    before = measure_at_venue("kraken", is_live=True).equity_usd
    for symbol in (BTC, "BTC/USDT"):
        kraken.set_pair_status("cancel_only", symbol=symbol)
    forget_feeds()
    assert not any(symbol.startswith("BTC/") for symbol in feed_for("kraken").symbols())
    assert measure_at_venue("kraken", is_live=True).equity_usd == before


def test_cash_that_others_orders_hold_back_cannot_be_spent(committed_db: CommittedDatabase, answer: Answer) -> None:
    answer.report = AccountReport({"USD": Decimal(400)}, {"XYZ": Decimal(7)}, {"USD": Decimal(30)}, ("frozen",))
    account = measure_at_venue("kraken", is_live=True)
    assert (account.cash_usd, account.equity_usd, account.flags) == (370, 400, ["frozen"])


@pytest.mark.parametrize("error", [VenueError("no answer"), BrokerUnavailable("no key"), no_market()])
def test_measurement_that_fails_leaves_the_old_one(
    committed_db: CommittedDatabase, answer: Answer, error: Exception
) -> None:
    live_bot()
    account_chores.measure_venue_accounts(timezone.now())
    before = Account.objects.get(name="kraken")
    answer.error = error
    account_chores.measure_venue_accounts(timezone.now())
    after = Account.objects.get(name="kraken")
    assert (after.measured_at, after.equity_usd) == (before.measured_at, before.equity_usd)


@pytest.mark.django_db
def test_accounts_in_use_are_those_that_a_bot_trades_or_holds_something_on(floor: Floor) -> None:
    assert accounts_in_use() == []
    bot = live_bot()
    assert accounts_in_use() == [("kraken", True)]
    Bot.objects.update(dry_run=True)
    assert accounts_in_use() == []
    Position.objects.create(bot=bot, is_live=True, quantity=Decimal(1), cost=Decimal(1))
    assert accounts_in_use() == [("kraken", True)]
    Bot.objects.update(venue="alpaca", paper_broker="venue")
    assert accounts_in_use() == [("alpaca", True), ("alpaca", False)]


def test_live_loss_makes_the_venue_reduce_only_once_and_never_lowers(
    committed_db: CommittedDatabase, answer: Answer
) -> None:
    live_bot()
    answer.report = AccountReport({"USD": Decimal(1000)}, {})
    look: Callable[[], None] = lambda: account_chores.measure_venue_accounts(timezone.now())  # noqa: E731
    look()
    answer.report = AccountReport({"USD": Decimal("970.01")}, {})
    look()
    assert not TradingState.objects.filter(scope="venue:kraken").exists()
    answer.report = AccountReport({"USD": Decimal(970)}, {})
    look()
    state = TradingState.objects.get(scope="venue:kraken")
    assert (state.level, state.actor) == ("reducing", "automatic")
    assert "DAILY_LOSS" in state.reason
    answer.report = AccountReport({"USD": Decimal(100)}, {})
    look()
    assert TradingState.objects.get(scope="venue:kraken").changed_at == state.changed_at
    TradingState.objects.filter(scope="venue:kraken").update(level="halted")
    look()
    assert TradingState.objects.get(scope="venue:kraken").level == "halted"
    assert TradingState.objects.get(scope="global").level == "active"


def test_release_since_the_measurement_is_not_undone(committed_db: CommittedDatabase, answer: Answer) -> None:
    live_bot()
    answer.report = AccountReport({"USD": Decimal(1000)}, {})
    measure_at_venue("kraken", is_live=True)
    answer.report = AccountReport({"USD": Decimal(900)}, {})
    lost = measure_at_venue("kraken", is_live=True)
    release("I have seen it", actor="anna", scope="venue:kraken")
    loss_triggers.stop_live_losses(lost)
    assert TradingState.objects.get(scope="venue:kraken").level == "active"
    answer.report = AccountReport({"USD": Decimal(800)}, {})
    loss_triggers.stop_live_losses(measure_at_venue("kraken", is_live=True))
    assert TradingState.objects.get(scope="venue:kraken").level == "reducing"


@pytest.mark.django_db
def test_start_since_the_measurement_is_not_undone(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "8")
    measure()
    floor.feed.move_to("40", "40.02")
    lost = measure_paper(Moment(timezone.now()))
    manager.start(bot.pk, actor="anna")
    loss_triggers.pause_paper_losers(lost)
    assert Bot.objects.get(pk=bot.pk).status == "running"
    floor.feed.move_to("0.5", "0.52")
    measure()
    assert Bot.objects.get(pk=bot.pk).status == "paused"
