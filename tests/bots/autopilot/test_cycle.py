"""Cycles on a real database: what they make and close, that nothing happens twice, and that a person's word holds."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.forms.models import model_to_dict
from django.utils import timezone

from audit.models import OperatorEvent
from bots import manager, tasks
from bots.autopilot import config, cycle, scan, state
from bots.autopilot.cycle import LEASE, AutopilotOff, CycleTaken, run
from bots.manager import BotActionError
from bots.market_data.base import MarketDataError
from bots.models import (
    AutopilotBot,
    AutopilotCycle,
    AutopilotDecision,
    Bot,
    BotStatus,
    CycleStatus,
    Lease,
    PaperBroker,
    Phase,
    Position,
    Recommendation,
)
from bots.workers.leases import LeaseHolder
from safety.intents import Side
from safety.models import Notification
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RANGING, RISING, MarketFeed
from tests.bots.builders import actions_on, make_bot, trade

REASON = "the test wants it"


def go() -> AutopilotCycle:
    return run("schedule", timezone.now())


def own(symbol: str = "AAPL") -> Bot:
    return Bot.objects.get(by_autopilot=True, symbol=symbol)


def decided(done: AutopilotCycle) -> dict[str, tuple[str, str]]:
    return {one.symbol: (one.kind, one.code) for one in done.decisions.order_by("id")}


def told() -> list[tuple[str, str]]:
    rows = Notification.objects.filter(event__startswith="autopilot").order_by("id")
    return list(rows.values_list("event", "subject"))


def change(**wanted: Any) -> None:
    config.change(wanted, actor="anna", reason=REASON)


def made(market: MarketFeed, **changes: Any) -> Bot:
    """Let one cycle make a bot for AAPL, which rises."""
    market.courses["AAPL"] = RISING
    switch_on("AAPL", **changes)
    go()
    return own()


class TestMaking:
    def test_good_symbols_get_bots_on_paper_with_reason_audit_and_message(self, market: MarketFeed) -> None:
        market.courses = {"AAPL": RISING, "BTC-PERP": FALLING}
        switch_on(total_capital_usd=Decimal(2000))
        done = go()
        assert (done.status, done.trigger) == (CycleStatus.DONE, "schedule")
        assert decided(done) == {
            "AAPL": ("created", "score"),
            "SPY": ("watched", "watch"),
            "SPX": ("watched", "watch"),
            "BTC-PERP": ("skipped", "score"),
        }
        bot = own()
        assert (bot.dry_run, bot.status, bot.strategy) == (True, BotStatus.RUNNING, "breakout")
        assert (bot.capital_usd, bot.paper_equity_usd, bot.score_min) == (Decimal(500), Decimal(2000), 50)
        # No person has attended to it.
        assert bot.attended_at is None
        assert [row[:2] for row in actions_on(bot)] == [("bot_created", "autopilot"), ("bot_running", "autopilot")]
        assert told() == [("autopilot_bot_created", f"bot:{bot.pk}")]
        assert done.summary == {"created": 1, "watched": 2, "skipped": 1, "scanned": 4, "bots": 1}
        kept = AutopilotBot.objects.get(bot=bot)
        assert (kept.phase, kept.made_price, kept.made_regime) == (Phase.TRADING, Decimal("99.99"), "trend_up")

    def test_scores_are_kept_with_what_they_were_before_and_their_trend(self, market: MarketFeed) -> None:
        switch_on("AAPL")
        first = Recommendation.objects.get(cycle=go())
        assert (first.score_before, first.trend) == (None, None)
        market.courses["AAPL"] = RISING
        second = Recommendation.objects.get(cycle=go())
        assert second.score_before == first.score
        assert second.trend == second.score - first.score > 0
        third = Recommendation.objects.get(cycle=go())
        assert third.trend == Decimal(second.score - first.score) / 2

    def test_next_cycle_makes_nothing_twice(self, market: MarketFeed) -> None:
        made(market)
        assert decided(go()) == {"AAPL": ("kept", "score")}
        assert Bot.objects.count() == 1
        assert len(told()) == 1

    def test_bot_waits_for_a_person_where_auto_start_is_off(self, market: MarketFeed) -> None:
        bot = made(market, auto_start=False)
        assert bot.status == BotStatus.STOPPED
        assert decided(go()) == {"AAPL": ("kept", "waits_for_start")}
        manager.start(bot.pk, actor="anna")
        assert decided(go()) == {"AAPL": ("kept", "score")}
        assert AutopilotBot.objects.get().phase == Phase.TRADING

    def test_symbol_of_a_persons_bot_is_left_to_it(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        annas = make_bot("annas", symbol="AAPL")
        Bot.objects.filter(pk=annas.pk).update(paper_broker=PaperBroker.VENUE)
        switch_on("AAPL")
        done = go()
        assert decided(done) == {"AAPL": ("skipped", "has_bot")}
        assert "annas" in AutopilotDecision.objects.get(cycle=done).reason

    def test_bot_of_a_person_with_a_paper_account_of_its_own_is_not_in_the_way(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        make_bot("annas", symbol="AAPL")
        switch_on("AAPL")
        assert decided(go()) == {"AAPL": ("created", "score")}

    def test_archived_bot_of_a_person_is_not_in_the_way(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        manager.archive(make_bot("annas", symbol="AAPL").pk, actor="anna")
        switch_on("AAPL")
        assert decided(go()) == {"AAPL": ("created", "score")}

    def test_bot_whose_orders_would_be_denied_is_not_made(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        market.notional_min = Decimal(100)
        switch_on("AAPL")
        done = go()
        assert decided(done) == {"AAPL": ("skipped", "limits")}
        assert not Bot.objects.exists()

    def test_one_symbol_without_a_market_stops_no_other(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        market.gone = {"SPY"}
        switch_on("AAPL", "SPY")
        done = go()
        assert decided(done) == {"AAPL": ("created", "score"), "SPY": ("skipped", "no_data")}
        assert "no market for SPY" in done.decisions.get(symbol="SPY").reason

    def test_odd_text_of_one_market_stops_no_other(self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL", "SPY")

        def refuse(_: MarketFeed, symbol: str) -> None:
            if symbol == "SPY":
                raise MarketDataError("the venue says \0 \ud800")

        monkeypatch.setattr(MarketFeed, "_refuse", refuse)
        done = go()
        assert decided(done) == {"AAPL": ("created", "score"), "SPY": ("skipped", "no_data")}
        assert "the venue says" in done.decisions.get(symbol="SPY").reason

    def test_one_symbol_that_breaks_the_code_stops_no_other(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses = {"AAPL": RISING, "SPY": "no such course"}
        switch_on("AAPL", "SPY")
        assert decided(go()) == {"AAPL": ("created", "score"), "SPY": ("skipped", "no_data")}


class TestClosing:
    def test_bot_that_holds_nothing_is_archived_when_its_score_falls(self, market: MarketFeed) -> None:
        bot = made(market)
        market.courses["AAPL"] = FALLING
        assert decided(go()) == {"AAPL": ("closed", "score")}
        bot.refresh_from_db()
        assert bot.status == BotStatus.ARCHIVED
        assert AutopilotBot.objects.get().closed_at is not None
        assert told()[-1] == ("autopilot_bot_closed", f"bot:{bot.pk}")
        market.courses["AAPL"] = RISING
        assert decided(go()) == {"AAPL": ("skipped", "cooldown")}

    def test_bot_that_holds_something_is_managed_out(self, market: MarketFeed) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        assert decided(go()) == {"AAPL": ("demoted", "score")}
        bot.refresh_from_db()
        assert (bot.status, bot.status_reason[:23]) == (BotStatus.PAUSED, "closed by the autopilot")
        assert Position.objects.get(bot=bot).quantity == Decimal("0.5")
        assert decided(go()) == {"AAPL": ("kept", "leaving")}
        trade(bot, Side.SELL, "0.5")
        assert decided(go()) == {"AAPL": ("closed", "flat")}
        assert own().status == BotStatus.ARCHIVED
        assert [event for event, _ in told()] == ["autopilot_bot_created", *["autopilot_bot_closed"] * 2]

    def test_where_all_is_sold_it_is_sold_and_archived_in_one_cycle(self, market: MarketFeed) -> None:
        bot = made(market, close_mode="flatten")
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        done = go()
        assert [(one.kind, one.code) for one in done.decisions.order_by("id")] == [
            ("demoted", "score"),
            ("closed", "flat"),
        ]
        assert (own().status, Position.objects.get(bot=bot).quantity) == (BotStatus.ARCHIVED, 0)

    def test_sale_that_is_denied_is_tried_again_by_the_next_cycle(self, market: MarketFeed) -> None:
        bot = made(market, close_mode="flatten")
        trade(bot, Side.BUY, "0.5")
        # Crossed: the gate denies everything there.
        market.courses["AAPL"], market.bid, market.ask = FALLING, Decimal("100.01"), Decimal("99.99")
        denied = go().decisions.get(code="sale_denied")
        assert (denied.kind, "The sale of all it holds was denied" in denied.reason) == ("demoted", True)
        assert own().status == BotStatus.PAUSED
        market.bid, market.ask = Decimal("99.99"), Decimal("100.01")
        done = go()
        assert [(one.kind, one.code) for one in done.decisions.order_by("id")] == [
            ("demoted", "still_held"),
            ("closed", "flat"),
        ]
        assert own().status == BotStatus.ARCHIVED

    def test_one_on_its_way_out_comes_back_with_its_score(self, market: MarketFeed) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        market.courses["AAPL"] = RISING
        assert decided(go()) == {"AAPL": ("promoted", "score_back")}
        assert own().status == BotStatus.RUNNING
        assert AutopilotBot.objects.get().phase == Phase.TRADING

    def test_bot_of_a_symbol_that_left_the_universe_is_closed(self, market: MarketFeed) -> None:
        made(market)
        change(universe={"replay": ["SPY"]})
        assert decided(go())["AAPL"] == ("closed", "not_in_universe")

    def test_bot_without_market_data_stays(self, market: MarketFeed) -> None:
        made(market)
        market.gone = {"AAPL"}
        assert decided(go()) == {"AAPL": ("kept", "no_data")}
        assert own().status == BotStatus.RUNNING


class TestPeople:
    def test_no_bot_of_a_person_is_touched_whatever_its_score(self, market: MarketFeed) -> None:
        bots = [
            make_bot("running", symbol="AAPL"),
            make_bot("stopped", symbol="SPY", running=False),
            manager.pause(make_bot("paused", symbol="SPX").pk, actor="anna"),
        ]
        trade(bots[0], Side.BUY, "0.5")
        market.courses = dict.fromkeys(("AAPL", "SPY", "SPX"), FALLING)
        before = [model_to_dict(Bot.objects.get(pk=one.pk)) for one in bots]
        events = OperatorEvent.objects.filter(object__startswith="bot:").count()
        switch_on(close_mode="flatten", daily_loss_pct=Decimal("0.01"), weekly_loss_pct=Decimal("0.01"))
        go()
        go()
        assert [model_to_dict(Bot.objects.get(pk=one.pk)) for one in bots] == before
        assert OperatorEvent.objects.filter(object__startswith="bot:").count() == events

    def test_bot_that_a_person_stopped_stays_stopped(self, market: MarketFeed) -> None:
        bot = made(market)
        manager.stop(bot.pk, actor="anna", reason="I want to look")
        market.courses["AAPL"] = FALLING
        done = go()
        assert decided(done) == {"AAPL": ("kept", "by_hand")}
        assert "stopped by anna: I want to look" in done.decisions.get().reason
        assert own().status == BotStatus.STOPPED

    def test_bot_that_a_person_paused_stays_paused(self, market: MarketFeed) -> None:
        bot = made(market)
        manager.pause(bot.pk, actor="anna")
        assert decided(go()) == {"AAPL": ("kept", "by_hand")}
        assert own().status == BotStatus.PAUSED
        manager.start(bot.pk, actor="anna")
        assert decided(go()) == {"AAPL": ("kept", "score")}

    def test_bot_that_a_person_archived_starts_the_cooldown(self, market: MarketFeed) -> None:
        bot = made(market)
        manager.archive(bot.pk, actor="anna")
        done = go()
        assert [(one.kind, one.code) for one in done.decisions.order_by("id")] == [
            ("closed", "by_hand"),
            ("skipped", "cooldown"),
        ]
        # Said once.
        assert decided(go()) == {"AAPL": ("skipped", "cooldown")}

    def test_bot_that_a_person_lets_go_on_is_closed_only_after_its_score_recovered(self, market: MarketFeed) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        manager.start(bot.pk, actor="anna")
        assert decided(go()) == {"AAPL": ("kept", "started_by_hand")}
        assert own().status == BotStatus.RUNNING
        market.courses["AAPL"] = RANGING
        assert decided(go()) == {"AAPL": ("kept", "watch")}
        market.courses["AAPL"] = FALLING
        assert decided(go()) == {"AAPL": ("demoted", "score")}

    def test_its_bot_cannot_be_given_the_symbol_of_another_one(self, market: MarketFeed) -> None:
        market.courses["SPY"] = RISING
        bot = made(market, universe={"replay": ["AAPL", "SPY"]})
        bot.symbol = "SPY"
        with pytest.raises(BotActionError, match="another bot for SPY"):
            manager.update(bot, actor="anna")
        manager.archive(own("SPY").pk, actor="anna")
        assert manager.update(bot, actor="anna").symbol == "SPY"

    def test_bot_that_a_control_paused_waits_for_a_person(self, market: MarketFeed) -> None:
        bot = made(market)
        manager.pause(bot.pk, actor="automatic", reason="DAILY_LOSS: 3 % were lost")
        done = go()
        assert decided(done) == {"AAPL": ("kept", "paused")}
        assert "DAILY_LOSS" in done.decisions.get().reason
        market.courses["AAPL"] = FALLING
        assert decided(go()) == {"AAPL": ("closed", "score")}


class TestSwitchedOff:
    def test_no_cycle_runs_while_it_is_off(self, market: MarketFeed) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL")
        change(enabled=False)
        with pytest.raises(AutopilotOff):
            go()
        assert not AutopilotCycle.objects.exists()

    @pytest.mark.parametrize("wanted", [{"enabled": False}, {"slots": 5}, {"universe": {"replay": ["AAPL"]}}])
    def test_change_in_the_middle_of_a_cycle_stops_what_was_planned(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
    ) -> None:
        market.courses["AAPL"] = RISING
        switch_on()

        def mark(*_: object) -> Decimal:
            # The last thing that a cycle asks of the market before it makes a bot.
            change(**wanted)
            return Decimal(100)

        monkeypatch.setattr(MarketFeed, "mark", mark)
        done = go()
        assert done.decisions.get(symbol="AAPL").code == "changed_meanwhile"
        assert not Bot.objects.exists()

    def test_persons_bot_that_came_in_between_keeps_the_symbol(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL")

        def mark(*_: object) -> Decimal:
            annas = make_bot("annas", symbol="AAPL", running=False)
            Bot.objects.filter(pk=annas.pk).update(paper_broker=PaperBroker.VENUE)
            return Decimal(100)

        monkeypatch.setattr(MarketFeed, "mark", mark)
        assert decided(go()) == {"AAPL": ("skipped", "changed_meanwhile")}
        assert not Bot.objects.filter(by_autopilot=True).exists()


class TestOneAtATime:
    def test_second_cycle_is_refused_while_one_holds_the_lease(self, market: MarketFeed) -> None:
        switch_on()
        other = LeaseHolder("another", 5.0)
        other.claim([LEASE], 1)
        with pytest.raises(CycleTaken):
            go()
        other.release()
        assert go().status == CycleStatus.DONE

    def test_cycle_that_lost_its_lease_writes_nothing_more(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL")

        def frozen(*_: object) -> Decimal:
            Lease.objects.filter(name=LEASE).update(holder="another", epoch=99)
            return Decimal(100)

        monkeypatch.setattr(MarketFeed, "mark", frozen)
        with pytest.raises(CycleTaken):
            go()
        assert not Bot.objects.exists()
        assert not told()
        Lease.objects.filter(name=LEASE).update(holder="", expires_at=timezone.now() - timedelta(seconds=1))
        monkeypatch.undo()

    def test_cycle_that_never_ended_is_called_lost_by_the_next(self, market: MarketFeed) -> None:
        switch_on()
        dead = AutopilotCycle.objects.create(trigger="schedule", holder="dead", started_at=timezone.now())
        assert go().status == CycleStatus.DONE
        dead.refresh_from_db()
        assert (dead.status, dead.error) == (CycleStatus.LOST, "It was cut off before it ended.")

    def test_cycle_that_fails_says_why_and_leaves_the_heartbeat_and_the_way_free(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL")

        def broken(*_: object) -> object:
            raise ZeroDivisionError("no such thing")

        with monkeypatch.context() as patched:
            patched.setattr(cycle, "plan", broken)
            with pytest.raises(ZeroDivisionError):
                go()
        failed = AutopilotCycle.objects.get()
        assert (failed.status, failed.error) == (CycleStatus.FAILED, "ZeroDivisionError: no such thing")
        assert state.read().heartbeat_at is None
        assert go().status == CycleStatus.DONE
        assert state.read().heartbeat_at is not None


class TestTask:
    def test_task_runs_a_cycle_and_says_what_became_of_it(self, market: MarketFeed) -> None:
        assert tasks.run_autopilot() == "The autopilot is switched off. Switch it on first, or look at the preview."
        switch_on("AAPL")
        assert tasks.autopilot_watchdog()
        assert tasks.run_autopilot() == f"cycle {AutopilotCycle.objects.get().pk}: done"
        other = LeaseHolder("another", 5.0)
        other.claim([LEASE], 1)
        assert tasks.run_autopilot() == str(CycleTaken())


class TestTime:
    def test_scan_ends_in_time_and_the_next_begins_where_it_left_off(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        switch_on()
        monkeypatch.setattr(scan, "BUDGET_S", -1.0)
        done = go()
        assert {code for _, code in decided(done).values()} == {"not_reached"}
        assert market.looked_at == []
        monkeypatch.setattr(scan, "BUDGET_S", 30.0)
        change(universe={"replay": ["AAPL", "SPX"]})
        market.gone = {"AAPL"}
        go()
        change(universe={"replay": ["AAPL", "BTC-PERP", "SPX", "SPY"]})
        market.gone, market.looked_at = set(), []
        go()
        # Those that were not looked at yet come first; what gave no data was looked at, and must not use up every scan.
        assert list(dict.fromkeys(market.looked_at)) == ["BTC-PERP", "SPY", "AAPL", "SPX"]

    def test_symbols_of_its_own_bots_are_looked_at_first(self, market: MarketFeed) -> None:
        market.courses["SPY"] = RISING
        switch_on()
        go()
        market.looked_at = []
        go()
        assert market.looked_at[0] == "SPY"

    def test_no_act_begins_when_the_time_is_over(self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        market.courses["AAPL"] = RISING
        switch_on("AAPL")
        monkeypatch.setattr(cycle, "ACTS_UNTIL_S", -1.0)
        assert decided(go()) == {"AAPL": ("skipped", "out_of_time")}
        assert not Bot.objects.exists()
