"""What people and other processes do between a cycle's plan and its acts: that holds, and the plan does not."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from bots import manager
from bots.autopilot import cycle
from bots.autopilot.acts import Acts
from bots.autopilot.chores import watch_losses
from bots.autopilot.planning import plan
from bots.autopilot.values import Situation
from bots.models import AutopilotBot, AutopilotLosses, Bot, BotStatus, Phase, Position
from safety.intents import Side
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RISING, MarketFeed
from tests.bots.autopilot.test_cycle import decided, go, made, own
from tests.bots.autopilot.test_losses import NOON
from tests.bots.builders import trade


def once_planned(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen just after the next cycle's plan was made, before anything is done of it."""

    def planned(given: Situation) -> object:
        found = plan(given)
        act()
        return found

    monkeypatch.setattr(cycle, "plan", planned)


def stop_for_losses() -> None:
    """Let the loss limit of its paper bots be reached a moment ago."""
    now = timezone.now()
    over = {"stopped_at": now, "stopped_until": now + timedelta(hours=1), "stopped_by": "Too much was lost."}
    AutopilotLosses.objects.filter(is_live=False).update(**over)


class TestPeople:
    def test_bot_that_a_person_starts_while_it_is_to_be_sold_is_not_sold(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        switch_on("AAPL", close_mode="flatten")
        once_planned(monkeypatch, lambda: manager.start(bot.pk, actor="anna"))
        assert decided(go()) == {"AAPL": ("kept", "changed_meanwhile")}
        assert (own().status, Position.objects.get(bot=bot).quantity) == (BotStatus.RUNNING, Decimal("0.5"))

    def test_bot_that_a_person_starts_between_its_send_off_and_its_sale_is_not_sold(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bot = made(market, close_mode="flatten")
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        send_off = Acts._send_off

        def sent_off(*given: Any) -> None:
            send_off(*given)
            manager.start(bot.pk, actor="anna")

        monkeypatch.setattr(Acts, "_send_off", sent_off)
        found = go().decisions.filter(bot=bot)
        assert set(found.values_list("kind", "code")) == {("demoted", "score"), ("kept", "changed_meanwhile")}
        assert (own().status, Position.objects.get(bot=bot).quantity) == (BotStatus.RUNNING, Decimal("0.5"))

    def test_bot_that_a_person_starts_while_it_is_to_be_archived_runs_on(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        trade(bot, Side.SELL, "0.5")
        once_planned(monkeypatch, lambda: manager.start(bot.pk, actor="anna"))
        assert decided(go()) == {"AAPL": ("kept", "changed_meanwhile")}
        assert own().status == BotStatus.RUNNING

    @pytest.mark.parametrize("held", ["0", "0.5"])
    def test_bot_that_a_person_pauses_while_it_is_to_be_closed_stays_as_she_left_it(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch, held: str
    ) -> None:
        bot = made(market)
        if Decimal(held):
            trade(bot, Side.BUY, held)
        market.courses["AAPL"] = FALLING
        once_planned(monkeypatch, lambda: manager.pause(bot.pk, actor="anna", reason="I look at it"))
        assert decided(go()) == {"AAPL": ("kept", "changed_meanwhile")}
        assert (own().status, own().status_reason) == (BotStatus.PAUSED, "I look at it")
        assert decided(go()) == {"AAPL": ("kept", "by_hand")}


class TestLosses:
    def test_bot_does_not_come_back_when_the_loss_limit_is_reached_meanwhile(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        market.courses["AAPL"] = RISING
        once_planned(monkeypatch, stop_for_losses)
        assert decided(go()) == {"AAPL": ("kept", "changed_meanwhile")}
        assert (own().status, AutopilotBot.objects.get().phase) == (BotStatus.PAUSED, Phase.LEAVING)

    def test_loss_that_comes_just_when_its_score_recovers_leaves_it_held(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market)
            trade(bot, Side.BUY, "2")
            watch_losses(timezone.now())
            market.courses["AAPL"] = FALLING
            go()
            clock.shift(60)
            manager.start(bot.pk, actor="anna")
            go()
            clock.shift(60)
            market.courses["AAPL"] = RISING
            market.move_to("85", "85.02")
            once_planned(monkeypatch, lambda: watch_losses(timezone.now()))
            go()
            assert AutopilotBot.objects.get().phase == Phase.LOSS_HOLD
            assert decided(go())["AAPL"] == ("kept", "loss_limit")

    def test_bot_that_a_person_started_before_the_losses_is_held_too(self, market: MarketFeed) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market, auto_start=False)
            clock.shift(10)
            manager.start(bot.pk, actor="anna")
            trade(bot, Side.BUY, "2")
            watch_losses(timezone.now())
            clock.shift(60)
            market.move_to("85", "85.02")
            # No cycle came in between, which would have noted that she started it.
            watch_losses(timezone.now())
            assert (own().status, own().status_reason[:21]) == (BotStatus.PAUSED, "held by the autopilot")

    def test_bot_whose_start_is_noted_after_the_losses_is_held_too(self, market: MarketFeed) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market, auto_start=False)
            clock.shift(10)
            manager.start(bot.pk, actor="anna")
            trade(bot, Side.BUY, "2")
            clock.shift(60)
            stop_for_losses()
            clock.shift(1)
            go()
            watch_losses(timezone.now())
            assert own().status == BotStatus.PAUSED


class TestRoom:
    def test_sector_cap_holds_when_the_bot_that_was_to_go_stays(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses["SPX"] = RISING
        switch_on("SPX", "SPY", sector_slots=1)
        go()
        assert own("SPX").status == BotStatus.RUNNING
        market.courses = {"SPX": FALLING, "SPY": RISING}
        once_planned(monkeypatch, lambda: trade(own("SPX"), Side.BUY, "0.5"))
        found = decided(go())
        assert found["SPX"] == ("kept", "refused")
        assert found["SPY"] == ("skipped", "changed_meanwhile")
        assert Bot.objects.filter(by_autopilot=True).count() == 1
