"""What the intelligence layer takes away from a tick: entries, or everything but cancels; never more is allowed than before."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from audit.models import OrderEvent
from bots import manager
from bots.batch import RECENT, load_books
from bots.blocks import blocked_by
from bots.hand_orders import HandOrder, place_order
from bots.intelligence.values import Action, Assessment
from bots.market_data.base import CandleSeries
from bots.markets import Moment
from bots.models import Account, Bot, BotStatus, Order
from bots.order_states import OrderStatus
from bots.strategies.base import CancelProposal, Proposal, StrategyView
from bots.thoughts import Thoughts, left_by
from safety import kill_switch
from safety.intents import Level, OrderType, Side
from safety.kill_switch import StateBook
from safety.models import RiskLimits
from tests.bots.builders import (
    Floor,
    Worker,
    blocks_of,
    buy,
    floor,
    make_bot,
    no_market,
    position_of,
    sell,
    trade,
)

__all__ = ["floor"]
pytestmark = pytest.mark.django_db
PREFIX = "INTELLIGENCE_"
Wants = list[Proposal | CancelProposal]


@pytest.fixture
def worker() -> Worker:
    return Worker()


def thought_of(bot: Bot, ago_s: int = 0) -> Assessment:
    now = timezone.now() - timedelta(seconds=ago_s)
    stored = Bot.objects.get(pk=bot.pk)
    state = StateBook.read().reading(stored.venue, stored.pk)
    return Thoughts(Moment(now), [bot.pk]).of(load_books([bot.pk], now - RECENT)[bot.pk], state)


def wanting(floor: Floor, wants: Callable[[StrategyView], Wants], **changes: Any) -> Bot:
    floor.strategy("wanting", wants)
    return make_bot(strategy="wanting", **changes)


def sides() -> list[str]:
    return list(Order.objects.order_by("id").values_list("side", flat=True))


# The floor, that is the ordinary market of all other tests.


def test_ordinary_market_takes_nothing_away(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("1")])
    thought = thought_of(bot)
    assert (thought.action, thought.reasons) == (Action.TRADE_ALLOWED, ())
    worker.tick(bot)
    assert sides() == ["buy"]
    assert blocks_of(bot) == []


# The least score of a bot.


@pytest.mark.parametrize(("over", "entries"), [(-1, ["buy"]), (0, ["buy"]), (1, [])])
def test_entry_needs_the_least_score_of_the_bot(floor: Floor, worker: Worker, over: int, entries: list[str]) -> None:
    bot = wanting(floor, lambda view: [buy("1")])
    Bot.objects.filter(pk=bot.pk).update(score_min=thought_of(bot).score + over)
    worker.tick(bot)
    assert sides() == entries
    assert blocks_of(bot) == ([] if entries else [f"{PREFIX}SCORE_BELOW_MIN"])


def test_exits_and_cancels_go_on_below_the_least_score(floor: Floor, worker: Worker) -> None:
    resting: list[str] = []
    bot = wanting(floor, lambda view: [sell("1"), buy("1"), *(CancelProposal(one, "no more") for one in resting)])
    trade(bot, Side.BUY, "2")
    resting.append(trade(bot, Side.BUY, "1", limit="80").order.client_order_id)
    Bot.objects.filter(pk=bot.pk).update(score_min=100)
    worker.tick(bot)
    assert sides() == ["buy", "buy", "sell"]
    assert position_of(bot).quantity == 1
    assert Order.objects.get(client_order_id=resting[0]).status == OrderStatus.CANCELED


def test_what_is_taken_away_leaves_no_denied_order_and_says_what_to_do(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("1")], score_min=100)
    worker.tick(bot)
    assert not Order.objects.exists()
    assert not OrderEvent.objects.exists()
    [block] = blocked_by(Bot.objects.get(pk=bot.pk))
    assert block.code == f"{PREFIX}SCORE_BELOW_MIN"
    assert "100" in block.message
    assert "least score" in block.remedy


def test_layer_allows_nothing_that_the_gate_denies(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("600")], capital_usd=Decimal(100))
    assert thought_of(bot).action == Action.TRADE_ALLOWED
    worker.tick(bot)
    assert Order.objects.get().status == OrderStatus.DENIED
    assert "BOT_CAPITAL_EXCEEDED" in blocks_of(bot)


# Trading states.


def test_halt_leaves_cancels_only_and_is_told_once(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("1"), sell("1")])
    trade(bot, Side.BUY, "1")
    kill_switch.engage(Level.HALTED, "a drill", actor="test", cancel_resting=False)
    assert thought_of(bot).action == Action.NO_TRADE
    worker.tick(bot)
    assert sides() == ["buy"]
    assert blocks_of(bot) == ["KILL_SWITCH"]


def test_reduce_only_leaves_exits_and_is_told_once(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("1"), sell("1")])
    trade(bot, Side.BUY, "1")
    kill_switch.engage(Level.REDUCING, "a drill", actor="test", cancel_resting=False)
    assert thought_of(bot).action == Action.MANAGE_ONLY
    worker.tick(bot)
    assert sides() == ["buy", "sell"]
    assert blocks_of(bot) == ["KILL_SWITCH"]


def test_wishes_are_left_by_what_is_allowed() -> None:
    wants: Wants = [buy("1"), sell("1"), CancelProposal("x", "no more")]
    allowed = Assessment(Action.TRADE_ALLOWED, "range", Decimal(1), 50, {})  # type: ignore[arg-type]
    assert left_by(allowed, wants) == wants
    assert left_by(replace(allowed, action=Action.MANAGE_ONLY), wants) == wants[1:]
    assert left_by(replace(allowed, action=Action.NO_TRADE), wants) == wants[2:]


# Data.


@pytest.mark.parametrize(("age_s", "entries"), [(120, ["buy"]), (121, ["buy"]), (122, [])])
def test_entry_waits_on_candles_older_than_two_bars_and_the_second_that_a_replay_rounds_by(
    floor: Floor, worker: Worker, age_s: int, entries: list[str]
) -> None:
    bot = wanting(floor, lambda view: [buy("1")])
    floor.feed.candles_age_s = age_s
    # On a whole second, since candles open on whole ones.
    worker.tick(bot, now=timezone.now().replace(microsecond=0))
    assert sides() == entries
    assert blocks_of(bot) == ([] if entries else [f"{PREFIX}STALE_CANDLES"])


@pytest.mark.parametrize(
    ("limits", "action"),
    [
        ({"candle_periods_max": Decimal(5)}, Action.TRADE_ALLOWED),
        ({"candle_periods_max": Decimal(3)}, Action.MANAGE_ONLY),
    ],
)
def test_candles_may_be_as_old_as_the_limits_say(floor: Floor, limits: dict[str, Decimal], action: Action) -> None:
    bot = make_bot()
    RiskLimits.objects.update_or_create(scope="global", defaults=limits)
    floor.feed.candles_age_s = 250
    assert thought_of(bot).action == action


def test_entry_waits_on_an_old_quote(floor: Floor) -> None:
    bot = make_bot()
    floor.feed.quote_age_s = 11
    assert thought_of(bot).action == Action.TRADE_ALLOWED
    floor.feed.quote_age_s = 13
    assert [one.code for one in thought_of(bot).reasons] == ["STALE_QUOTE"]


def test_too_little_history_leaves_exits(floor: Floor, worker: Worker) -> None:
    bot = wanting(floor, lambda view: [buy("1"), sell("1")])
    trade(bot, Side.BUY, "1")
    floor.feed.candle_count = 20
    worker.tick(bot)
    assert sides() == ["buy", "sell"]
    assert blocks_of(bot) == [f"{PREFIX}TOO_LITTLE_HISTORY"]


def test_no_candles_is_a_reason_and_no_fault(floor: Floor, worker: Worker) -> None:
    def broken(series: CandleSeries) -> CandleSeries:
        raise no_market("the candles are out")

    bot = wanting(floor, lambda view: [buy("1")])
    floor.feed.bend = broken
    worker.tick(bot)
    bot.refresh_from_db()
    assert (bot.status, sides()) == (BotStatus.RUNNING, [])
    assert blocks_of(bot) == ["MARKET_DATA"]
    assert [one.code for one in thought_of(bot).reasons] == ["ASSESSMENT_FAILED"]


def test_fault_inside_pauses_nothing_lets_exits_go_and_is_logged_once(
    floor: Floor, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    bot = wanting(floor, lambda view: [buy("1"), sell("1")])
    trade(bot, Side.BUY, "3")
    # Arrays of unequal lengths, which no feed may give and no formula can take.
    floor.feed.bend = lambda series: replace(series, volume=np.ones(3))
    with caplog.at_level(logging.ERROR, logger="bots.thoughts"):
        worker.tick(bot)
        worker.tick(bot, now=timezone.now() + timedelta(seconds=11))
    bot.refresh_from_db()
    assert bot.status == BotStatus.RUNNING
    assert sides() == ["buy", "sell", "sell"]
    assert blocks_of(bot) == [f"{PREFIX}ASSESSMENT_FAILED"]
    assert len([one for one in caplog.records if "judging its market failed" in one.message]) == 1


# Losses.


@pytest.mark.parametrize(
    ("equity_usd", "codes"),
    [("9701", []), ("9700", ["LOSS_LIMIT"]), ("9699", ["LOSS_LIMIT"]), (None, [])],
)
def test_loss_limit_of_the_account_holds_entries(floor: Floor, equity_usd: str | None, codes: list[str]) -> None:
    bot = make_bot()
    equity = None if equity_usd is None else Decimal(equity_usd)
    Account.objects.filter(bot=bot).update(equity_usd=equity, day_start_equity_usd=Decimal(10_000))
    thought = thought_of(bot)
    assert [one.code for one in thought.reasons] == codes
    assert thought.action == (Action.MANAGE_ONLY if codes else Action.TRADE_ALLOWED)


def test_loss_of_yesterday_holds_nothing_today(floor: Floor) -> None:
    bot = make_bot()
    yesterday = timezone.now().date() - timedelta(days=1)
    Account.objects.filter(bot=bot).update(
        equity_usd=Decimal(9600), day_start_equity_usd=Decimal(10_000), day=yesterday
    )
    assert thought_of(bot).reasons == ()


def test_loss_limit_of_a_bot_is_its_own(floor: Floor) -> None:
    bot, other = make_bot("bot"), make_bot("other")
    Account.objects.update(equity_usd=Decimal(9850), day_start_equity_usd=Decimal(10_000))
    RiskLimits.objects.create(scope=f"bot:{bot.pk}", daily_loss_pct=Decimal(1))
    assert [one.code for one in thought_of(bot).reasons] == ["LOSS_LIMIT"]
    assert thought_of(other).reasons == ()


# Who is not asked.


def test_orders_of_persons_and_closing_by_hand_are_not_held_back(floor: Floor) -> None:
    bot = make_bot(score_min=100)
    assert thought_of(bot).action == Action.MANAGE_ONLY
    found = place_order(bot.pk, HandOrder(Side.BUY, OrderType.MARKET, Decimal(1)), actor="ann")
    assert found.order.status == OrderStatus.FILLED
    kept = manager.close_position(bot.pk, actor="ann")
    assert kept is not None
    assert position_of(bot).quantity == 0


# Sharing.


def test_bots_that_ask_alike_share_one_assessment(floor: Floor) -> None:
    one, two, picky = make_bot("one"), make_bot("two"), make_bot("picky", score_min=10)
    now = timezone.now()
    thoughts, states = Thoughts(Moment(now), [one.pk, two.pk, picky.pk]), StateBook.read()
    books = load_books([one.pk, two.pk, picky.pk], now - RECENT)
    first, second, third = (thoughts.of(books[bot.pk], states.reading(bot.venue, bot.pk)) for bot in (one, two, picky))
    assert first is second
    assert first is not third


def test_closed_market_is_not_judged(floor: Floor, worker: Worker) -> None:
    bot = make_bot()
    floor.feed.opens_at = timezone.now() + timedelta(hours=2)
    worker.tick(bot)
    assert blocks_of(bot) == ["MARKET_CLOSED"]
    assert not bot.decisions.exists()
