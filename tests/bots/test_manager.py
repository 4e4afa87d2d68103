"""BotManager: what may be done to a bot, what is refused, and what the audit says of it."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from audit.log import unit
from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.models import Bot, BotStatus, BotTick, Order
from bots.strategies.schema import ParamError
from safety.intents import Level, Side
from safety.kill_switch import engage
from tests.bots.builders import (
    SYMBOL,
    VENUE,
    Floor,
    Worker,
    actions_on,
    events_of,
    make_bot,
    no_market,
    position_of,
    trade,
)
from tests.faults.oracle import check_everything

pytestmark = pytest.mark.django_db

NEW = manager.NewBot(
    name="one", venue=VENUE, symbol=SYMBOL, strategy="smart_dca", capital_usd=Decimal(1000), params={"step_pct": "2"}
)


# Making one.


def test_new_bot_is_on_paper_and_stopped_and_its_making_is_audited(floor: Floor) -> None:
    bot = manager.create(replace(NEW, name="  one "), actor="anna")
    bot.refresh_from_db()
    assert (bot.name, bot.status, bot.dry_run, bot.is_live) == ("one", "stopped", True, False)
    # Defaults are kept as well, so that a later version's defaults do not change a bot.
    assert bot.params["step_pct"] == "2"
    assert bot.params["base_order_pct"] == "8"
    assert BotTick.objects.filter(bot=bot).exists()
    ((action, actor, old, new),) = actions_on(bot)
    assert (action, actor, old) == ("bot_created", "anna", "")
    assert json.loads(new)["capital_usd"] == "1000"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": "astrology"}, "unknown strategy"),
        ({"symbol": "DOGE"}, "no symbol 'DOGE'"),
        ({"venue": "mtgox"}, "no venue 'mtgox'"),
        ({"params": {"step_pct": "-1"}}, "step_pct"),
        ({"params": {"no_such": 1}}, "no_such"),
        ({"capital_usd": Decimal(0)}, "capital"),
        ({"capital_usd": Decimal(-5)}, "capital"),
        ({"capital_usd": Decimal("NaN")}, "capital"),
        ({"capital_usd": 0.1}, "capital"),
        ({"paper_equity_usd": Decimal(0)}, "paper equity"),
        ({"poll_seconds": 0}, "poll"),
        ({"poll_seconds": 86_401}, "poll"),
        ({"score_min": -1}, "least score"),
        ({"score_min": 101}, "least score"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "taken"}, "name"),
    ],
)
def test_bad_new_bot_is_refused_with_what_is_wrong_and_nothing_is_saved(
    floor: Floor, changes: dict[str, Any], says: str
) -> None:
    make_bot("taken", running=False)
    rows = OperatorEvent.objects.count()
    with pytest.raises((manager.BotActionError, ParamError)) as refused:
        manager.create(replace(NEW, **changes), actor="anna")
    assert says.lower() in str(refused.value).lower()
    assert Bot.objects.count() == 1
    assert OperatorEvent.objects.count() == rows


def test_kraken_bot_can_be_made_although_its_feed_is_to_come(floor: Floor) -> None:
    assert manager.create(replace(NEW, venue="kraken", symbol="BTC/USD"), actor="anna").venue == "kraken"


# Changing one.


def test_update_audits_each_changed_field_and_raises_the_revision(floor: Floor) -> None:
    bot = make_bot(running=False)
    before = bot.revision
    bot.capital_usd, bot.poll_seconds = Decimal("2000.50"), 7
    manager.update(bot, actor="anna")
    assert actions_on(bot)[1:] == [
        ("bot_capital_usd_changed", "anna", "1000", "2000.5"),
        ("bot_poll_seconds_changed", "anna", "1", "7"),
    ]
    bot.refresh_from_db()
    assert (bot.capital_usd, bot.poll_seconds, bot.revision) == (Decimal("2000.5"), 7, before + 1)


def test_update_cannot_set_a_bot_live_or_running(floor: Floor) -> None:
    bot = make_bot(running=False)
    bot.dry_run, bot.status, bot.entries_held = False, BotStatus.RUNNING, "x"
    manager.update(bot, actor="anna")
    bot.refresh_from_db()
    assert (bot.dry_run, bot.status, bot.entries_held) == (True, "stopped", "")


def test_params_are_audited_whole(floor: Floor) -> None:
    bot = make_bot(running=False)
    bot.params = {**bot.params, "base_order_pct": "3"}
    manager.update(bot, actor="anna")
    action, _, old, new = actions_on(bot)[-1]
    assert action == "bot_params_changed"
    assert (json.loads(old)["base_order_pct"], json.loads(new)["base_order_pct"]) == ("8", "3")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "astrology"),
        ("symbol", "DOGE"),
        ("params", {"step_pct": "-1"}),
        ("capital_usd", Decimal(0)),
        ("capital_usd", Decimal("Infinity")),
        ("poll_seconds", 0),
        ("score_min", 101),
        ("name", ""),
        ("name", "taken"),
    ],
)
def test_bad_change_is_refused_and_nothing_is_saved(floor: Floor, field: str, value: object) -> None:
    make_bot("taken", running=False)
    bot = make_bot(running=False)
    rows = OperatorEvent.objects.count()
    stored = Bot.objects.values().get(pk=bot.pk)
    setattr(bot, field, value)
    with pytest.raises((manager.BotActionError, ParamError)):
        manager.update(bot, actor="anna")
    assert Bot.objects.values().get(pk=bot.pk) == stored
    assert OperatorEvent.objects.count() == rows


@pytest.mark.parametrize("holds", ["position", "resting order"])
def test_symbol_stays_while_the_bot_holds_anything(floor: Floor, holds: str) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5", limit=None if holds == "position" else "90")
    bot.symbol = "SPY"
    with pytest.raises(manager.BotActionError, match="holds nothing"):
        manager.update(bot, actor="anna")
    bot.refresh_from_db()
    assert bot.symbol == SYMBOL


def test_symbol_changes_once_the_bot_is_flat(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    trade(bot, Side.SELL, "0.5")
    bot.symbol = "SPY"
    assert manager.update(bot, actor="anna").symbol == "SPY"
    assert actions_on(bot)[-1] == ("bot_symbol_changed", "anna", SYMBOL, "SPY")


# Start, pause, stop, archive.


def test_states_are_entered_by_name_with_actor_old_and_new(floor: Floor) -> None:
    bot = make_bot(running=False)
    manager.start(bot.pk, actor="anna")
    manager.pause(bot.pk, actor="ben", reason="lunch")
    manager.start(bot.pk, actor="anna")
    manager.stop(bot.pk, actor="ben")
    manager.archive(bot.pk, actor="carl")
    assert actions_on(bot)[1:] == [
        ("bot_running", "anna", "stopped", "running"),
        ("bot_paused", "ben", "running", "paused"),
        ("bot_running", "anna", "paused", "running"),
        ("bot_stopped", "ben", "running", "stopped"),
        ("bot_archived", "carl", "stopped", "archived"),
    ]
    assert OperatorEvent.objects.filter(action="bot_paused").values_list("reason", flat=True).get() == "lunch"
    bot.refresh_from_db()
    # Workers reload a bot whose revision rose.
    assert bot.revision == 6


def test_starting_what_runs_is_no_event(floor: Floor) -> None:
    bot = make_bot()
    before = actions_on(bot)
    manager.start(bot.pk, actor="anna")
    assert actions_on(bot) == before


def test_stopped_bot_cannot_be_paused(floor: Floor) -> None:
    bot = make_bot(running=False)
    with pytest.raises(manager.BotActionError, match="Start it first"):
        manager.pause(bot.pk, actor="anna")


@pytest.mark.parametrize("action", [manager.start, manager.pause, manager.stop, manager.archive])
def test_archived_bot_stays_archived(floor: Floor, action: Any) -> None:
    bot = make_bot()
    manager.archive(bot.pk, actor="anna")
    with pytest.raises(manager.BotActionError, match="archived"):
        action(bot.pk, actor="anna")
    assert Bot.objects.get().status == "archived"


def test_start_clears_the_last_error(floor: Floor) -> None:
    bot = make_bot()
    with unit():
        manager.pause_after_error(bot, ValueError("oh"), actor="worker", now=timezone.now())
    assert manager.start(bot.pk, actor="anna").last_error == ""


def test_reason_of_any_length_is_kept_within_its_column(floor: Floor) -> None:
    bot = make_bot()
    manager.pause(bot.pk, actor="anna", reason="very " * 500)
    assert manager.stop(bot.pk, actor="anna", reason="y" * 5000).status == "stopped"
    assert len(Bot.objects.get().status_reason) == 500


@pytest.mark.parametrize("paused_by", ["anna", "worker"])
def test_paused_bot_buys_nothing_by_what_still_rests_and_sells_on(floor: Floor, paused_by: str) -> None:
    """A purchase that fills later enlarges the position as much as a new one does."""

    def fail(view: object) -> list[Any]:
        raise ValueError("the strategy is broken")

    floor.strategy("idle" if paused_by == "anna" else "broken", fail if paused_by == "worker" else lambda view: [])
    bot = make_bot(strategy="idle" if paused_by == "anna" else "broken")
    trade(bot, Side.BUY, "0.5")
    purchase = trade(bot, Side.BUY, "0.4", limit="90").order
    sale = trade(bot, Side.SELL, "0.2", limit="110").order
    if paused_by == "anna":
        manager.pause(bot.pk, actor="anna")
    else:
        Worker().tick(bot)
    assert Bot.objects.get().status == "paused"
    assert [Order.objects.get(pk=order.pk).status for order in (purchase, sale)] == ["canceled", "accepted"]
    assert OrderEvent.objects.get(event="canceled").actor == paused_by
    check_everything()


def test_stop_cancels_what_rests_and_keeps_the_position(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    resting = trade(bot, Side.BUY, "0.4", limit="90").order
    manager.stop(bot.pk, actor="anna")
    assert Order.objects.get(pk=resting.pk).status == "canceled"
    assert OrderEvent.objects.get(event="canceled").actor == "anna"
    assert position_of(bot).quantity == Decimal("0.5")
    check_everything()


def test_bot_can_be_stopped_while_its_market_gives_no_data(floor: Floor) -> None:
    bot = make_bot()
    resting = trade(bot, Side.BUY, "0.4", limit="90").order
    floor.feed.broken = no_market()
    assert manager.stop(bot.pk, actor="anna").status == "stopped"
    assert Order.objects.get(pk=resting.pk).status == "canceled"


def test_archive_is_refused_while_a_position_is_held_and_cancels_nothing_then(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    resting = trade(bot, Side.BUY, "0.4", limit="90").order
    with pytest.raises(manager.BotActionError, match=r"still holds 0\.5"):
        manager.archive(bot.pk, actor="anna")
    assert Bot.objects.get().status == "running"
    assert Order.objects.get(pk=resting.pk).status == "accepted"
    check_everything()


def test_dust_does_not_keep_a_bot_from_being_archived(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    trade(bot, Side.SELL, "0.499")
    assert manager.archive(bot.pk, actor="anna").status == "archived"


def test_position_of_unknown_worth_is_not_taken_for_dust(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    trade(bot, Side.SELL, "0.499")
    floor.feed.broken = no_market()
    with pytest.raises(manager.BotActionError, match="still holds"):
        manager.archive(bot.pk, actor="anna")


# Closing the position.


def test_close_sells_everything_cancels_what_rests_and_pauses(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    resting = trade(bot, Side.BUY, "0.4", limit="90").order
    submission = manager.close_position(bot.pk, actor="anna")
    order = submission.order
    assert (order.status, order.quantity, order.reduce_only, order.actor) == ("filled", Decimal("0.5"), True, "anna")
    assert Order.objects.get(pk=resting.pk).status == "canceled"
    assert position_of(bot).quantity == 0
    assert Bot.objects.get().status == "paused"
    assert actions_on(bot)[-1][:2] == ("bot_paused", "anna")
    check_everything()


def test_close_passes_the_gate_and_pauses_even_when_it_is_denied(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    engage(Level.HALTED, "test", actor="test")
    submission = manager.close_position(bot.pk, actor="anna")
    assert [denial.code for denial in submission.denials] == ["KILL_SWITCH"]
    assert events_of(submission.order) == ["intent", "denied"]
    assert position_of(bot).quantity == Decimal("0.5")
    assert Bot.objects.get().status == "paused"


def test_close_leaves_dust_and_a_second_close_finds_nothing(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    floor.feed.lot = Decimal("0.3")
    assert manager.close_position(bot.pk, actor="anna").order.quantity == Decimal("0.3")
    with pytest.raises(manager.BotActionError, match="nothing to close"):
        manager.close_position(bot.pk, actor="anna")
    assert position_of(bot).quantity == Decimal("0.2")


def test_close_without_a_market_says_so_and_changes_nothing(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    floor.feed.broken = no_market("the replay stands still")
    with pytest.raises(manager.BotActionError, match="the replay stands still"):
        manager.close_position(bot.pk, actor="anna")
    assert Bot.objects.get().status == "running"


@pytest.mark.parametrize("running", [True, False])
def test_close_that_fills_in_parts_is_seen_through_by_the_workers(floor: Floor, running: bool) -> None:
    """A stopped bot does not tick: left so, the rest of its sale would wait for ever."""
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "0.5")
    if not running:
        manager.stop(bot.pk, actor="anna")
    floor.feed.volume = Decimal(2)
    assert manager.close_position(bot.pk, actor="anna").order.status == "partially_filled"
    floor.feed.volume = None
    Worker().tick(bot, now=timezone.now() + timedelta(seconds=2))
    assert position_of(bot).quantity == 0
    assert Bot.objects.get().status == "paused"
    check_everything()


def test_second_close_leaves_the_first_one_to_sell_on(floor: Floor) -> None:
    """It used to cancel the first sale and to be denied as its duplicate: nothing was sold."""
    floor.strategy("idle")
    bot = make_bot(strategy="idle")
    trade(bot, Side.BUY, "0.5")
    floor.feed.volume = Decimal(0)
    first = manager.close_position(bot.pk, actor="anna")
    second = manager.close_position(bot.pk, actor="anna")
    assert (second.order.pk, second.order.status, second.denials) == (first.order.pk, "accepted", ())
    floor.feed.volume = None
    Worker().tick(bot, now=timezone.now() + timedelta(seconds=2))
    assert position_of(bot).quantity == 0
    check_everything()


def test_stopped_bot_whose_position_was_sold_at_once_stays_stopped(floor: Floor) -> None:
    bot = make_bot()
    trade(bot, Side.BUY, "0.5")
    manager.stop(bot.pk, actor="anna")
    manager.close_position(bot.pk, actor="anna")
    assert Bot.objects.get().status == "stopped"


# Cancelling one order.


def test_resting_order_is_cancelled_by_hand(floor: Floor) -> None:
    bot = make_bot()
    order = trade(bot, Side.BUY, "0.4", limit="90").order
    assert manager.cancel_order(order.pk, actor="anna").status == "canceled"
    assert events_of(order)[-2:] == ["cancel_requested", "canceled"]


def test_order_that_no_longer_rests_is_not_cancelled(floor: Floor) -> None:
    order = trade(make_bot(), Side.BUY, "0.4").order
    with pytest.raises(manager.BotActionError, match="nothing left to cancel"):
        manager.cancel_order(order.pk, actor="anna")
    assert Order.objects.get().status == "filled"


def test_order_of_someone_else_is_not_cancelled_here(floor: Floor) -> None:
    order = trade(make_bot(), Side.BUY, "0.4", limit="90").order
    Order.objects.filter(pk=order.pk).update(bot=None)
    with pytest.raises(manager.BotActionError, match="at the venue"):
        manager.cancel_order(order.pk, actor="anna")


# A failed tick.


@pytest.mark.parametrize("text", ["plain", "with \0 inside", "half a \ud800 character", "long " * 1000])
def test_error_of_a_tick_is_kept_whatever_is_in_it(floor: Floor, text: str) -> None:
    bot = make_bot()
    with unit():
        manager.pause_after_error(bot, ValueError(text), actor="worker", now=timezone.now())
    bot.refresh_from_db()
    assert bot.last_error.startswith("ValueError: ")
    assert len(bot.last_error) <= 2000
    assert (bot.status, actions_on(bot)[-1][:2]) == ("paused", ("bot_paused", "worker"))


def test_error_of_a_bot_that_was_stopped_meanwhile_does_not_start_it_again(floor: Floor) -> None:
    bot = make_bot()
    bot = manager.stop(bot.pk, actor="anna")
    with unit():
        manager.pause_after_error(bot, ValueError("late"), actor="worker", now=timezone.now())
    assert Bot.objects.get().status == "stopped"
