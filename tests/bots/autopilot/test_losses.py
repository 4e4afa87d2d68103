"""The autopilot's own loss limits: to the cent, over days and weeks, and what they do to its bots and to no other."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db.models.signals import post_init
from django.utils import timezone

from audit.models import OperatorEvent
from bots import manager
from bots.autopilot import losses, preview, state
from bots.autopilot.chores import watch_losses
from bots.autopilot.losses import judged, stop_text
from bots.autopilot.reading import overview
from bots.markets import Moment
from bots.models import AutopilotBot, AutopilotConfig, AutopilotLosses, Bot, BotStatus, Phase, Position
from safety.intents import Side
from safety.models import Notification
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RISING, MarketFeed
from tests.bots.autopilot.test_cycle import decided, go, made, own
from tests.bots.builders import make_bot, trade

# A Wednesday.
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CONFIG = AutopilotConfig(total_capital_usd=Decimal(1000), daily_loss_pct=Decimal(2), weekly_loss_pct=Decimal(5))


def at(row: AutopilotLosses, pnl_usd: str, now: datetime) -> str:
    """Let this be what its bots have made by then, and return what stops it."""
    return judged(row, CONFIG, Moment(now), Decimal(pnl_usd)).stopped


class TestLimits:
    @pytest.mark.parametrize(("pnl", "is_stopped"), [("-19.99", False), ("-20", True), ("-20.01", True), ("50", False)])
    def test_days_loss_stops_it_at_the_cent(self, pnl: str, is_stopped: bool) -> None:
        row = AutopilotLosses()
        assert at(row, "0", NOON) == ""
        assert bool(at(row, pnl, NOON + timedelta(minutes=1))) == is_stopped
        assert row.stopped_until == (datetime(2026, 3, 5, tzinfo=UTC) if is_stopped else None)

    @pytest.mark.parametrize(("pnl", "is_stopped"), [("-49.99", False), ("-50", True)])
    def test_weeks_loss_stops_it_until_monday(self, pnl: str, is_stopped: bool) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON - timedelta(days=2))
        at(row, "-19", NOON - timedelta(days=2))
        assert at(row, "-38", NOON - timedelta(days=1)) == ""
        assert bool(at(row, pnl, NOON)) == is_stopped
        assert row.stopped_until == (datetime(2026, 3, 9, tzinfo=UTC) if is_stopped else None)

    def test_loss_counts_from_what_the_day_began_with_not_from_the_days_best(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        at(row, "30", NOON + timedelta(hours=1))
        assert at(row, "11", NOON + timedelta(hours=2)) == ""

    def test_it_stays_stopped_for_the_day_whatever_comes_back(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        assert at(row, "-25", NOON + timedelta(hours=1))
        assert at(row, "40", NOON + timedelta(hours=2))

    def test_text_says_what_was_lost_the_limit_and_until_when(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        text = at(row, "-20.5", NOON)
        assert text == (
            "The autopilot's bots lost 20.50 USD this day; its limit is 2 % of 1000 USD. "
            "It makes no bots until 2026-03-05 00:00 UTC."
        )

    def test_what_is_not_known_stops_it_by_itself_and_changes_no_figure(self) -> None:
        row = AutopilotLosses()
        at(row, "-5", NOON)
        found = judged(row, CONFIG, Moment(NOON + timedelta(days=1)), "there is no price")
        assert (found.stopped, found.unknown) == ("", "there is no price")
        assert (row.pnl_usd, row.day) == (Decimal(-5), date(2026, 3, 4))


class TestRollover:
    @pytest.mark.parametrize(
        "midnight",
        [
            datetime(2026, 3, 5, tzinfo=UTC),
            # Clocks change in Europe and in the United States: the autopilot's days are UTC days.
            datetime(2026, 3, 29, tzinfo=UTC),
            datetime(2026, 10, 25, tzinfo=UTC),
            datetime(2026, 3, 8, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
        ],
    )
    def test_days_loss_counts_on_its_day_alone(self, midnight: datetime) -> None:
        row = AutopilotLosses()
        at(row, "0", midnight - timedelta(hours=2))
        assert at(row, "-19.99", midnight - timedelta(microseconds=1)) == ""
        assert at(row, "-19.99", midnight) == ""
        assert (row.day, row.day_start_pnl_usd) == (midnight.date(), Decimal("-19.99"))
        assert at(row, "-39.98", midnight + timedelta(hours=23, minutes=59)) == ""
        assert at(row, "-39.99", midnight + timedelta(hours=23, minutes=59)) != ""

    def test_stop_of_the_day_ends_with_the_day(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        at(row, "-20", NOON)
        midnight = datetime(2026, 3, 5, tzinfo=UTC)
        assert stop_text(row, midnight - timedelta(microseconds=1)) != ""
        assert stop_text(row, midnight) == ""
        assert at(row, "-20", midnight) == ""

    def test_week_that_is_lost_goes_on_stopping_it_on_the_next_day(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        assert "this week" in at(row, "-60", NOON)
        assert "this week" in at(row, "-60", NOON + timedelta(days=4))
        monday = datetime(2026, 3, 9, tzinfo=UTC)
        assert at(row, "-60", monday) == ""
        assert (row.week, row.week_start_pnl_usd) == (monday.date(), Decimal(-60))

    def test_loss_of_a_night_without_workers_counts_on_the_day_on_which_it_is_seen(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        assert at(row, "-25", NOON + timedelta(days=1)) != ""

    def test_clock_that_was_set_back_changes_no_baseline(self) -> None:
        row = AutopilotLosses()
        at(row, "0", NOON)
        at(row, "-15", NOON - timedelta(days=8))
        assert (row.day, row.day_start_pnl_usd, row.week_start_pnl_usd) == (NOON.date(), 0, 0)
        assert at(row, "-20", NOON) != ""


class TestBots:
    def test_loss_pauses_its_running_bots_once_and_the_next_day_lets_them_go_on(self, market: MarketFeed) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market)
            foreign = make_bot("annas", symbol="SPY")
            trade(bot, Side.BUY, "2")
            clock.shift(60)
            watch_losses(timezone.now())
            assert own().status == BotStatus.RUNNING
            market.move_to("85", "85.02")
            watch_losses(timezone.now())
            watch_losses(timezone.now())
            assert (own().status, own().status_reason[:21]) == (BotStatus.PAUSED, "held by the autopilot")
            assert AutopilotBot.objects.get().phase == Phase.LOSS_HOLD
            assert Bot.objects.get(pk=foreign.pk).status == BotStatus.RUNNING
            assert OperatorEvent.objects.filter(action="autopilot_stopped_for_losses").count() == 1
            alarm = Notification.objects.get(event="risk_alert")
            assert (alarm.subject, alarm.title) == ("autopilot:paper", "The autopilot reached its loss limit")
            assert decided(go())["AAPL"] == ("kept", "loss_limit")
            clock.move_to(NOON + timedelta(days=1))
            assert decided(go())["AAPL"] == ("started", "loss_over")
            assert (own().status, AutopilotBot.objects.get().phase) == (BotStatus.RUNNING, Phase.TRADING)

    def test_stop_makes_no_bots_and_one_that_a_person_lets_go_on_stays(self, market: MarketFeed) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market, universe={"replay": ["AAPL", "SPY"]})
            trade(bot, Side.BUY, "2")
            clock.shift(60)
            market.move_to("85", "85.02")
            watch_losses(timezone.now())
            assert own().status == BotStatus.PAUSED
            clock.shift(60)
            manager.start(bot.pk, actor="anna")
            watch_losses(timezone.now())
            market.courses["SPY"] = RISING
            assert decided(go())["SPY"] == ("skipped", "loss_limit")
            watch_losses(timezone.now())
            assert own().status == BotStatus.RUNNING

    @pytest.mark.parametrize("is_noted", [True, False], ids=["noted by a cycle", "not noted"])
    @pytest.mark.parametrize("recovers", ["never", "while held", "when the limit is over"])
    def test_what_a_person_let_go_on_stays_hers_across_a_loss_until_its_score_recovers(
        self, market: MarketFeed, is_noted: bool, recovers: str
    ) -> None:
        with time_machine.travel(NOON, tick=False) as clock:
            bot = made(market)
            trade(bot, Side.BUY, "2")
            watch_losses(timezone.now())
            market.courses["AAPL"] = FALLING
            assert decided(go())["AAPL"] == ("demoted", "score")
            clock.shift(60)
            manager.start(bot.pk, actor="anna")
            if is_noted:
                assert decided(go())["AAPL"] == ("kept", "started_by_hand")
            clock.shift(60)
            market.move_to("85", "85.02")
            watch_losses(timezone.now())
            assert own().status_reason.startswith("held by the autopilot")
            assert decided(go())["AAPL"] == ("kept", "loss_limit")
            if recovers == "while held":
                market.courses["AAPL"] = RISING
                assert decided(go())["AAPL"] == ("kept", "loss_limit")
                market.courses["AAPL"] = FALLING
                assert decided(go())["AAPL"] == ("demoted", "score")
                return
            clock.move_to(NOON + timedelta(days=1))
            if recovers == "when the limit is over":
                market.courses["AAPL"] = RISING
            assert decided(go())["AAPL"] == ("started", "loss_over")
            assert own().status == BotStatus.RUNNING
            market.courses["AAPL"] = FALLING
            expected = ("kept", "started_by_hand") if recovers == "never" else ("demoted", "score")
            assert decided(go())["AAPL"] == expected
            # Once it has recovered, it is closed like any other.
            if recovers == "never":
                market.courses["AAPL"] = RISING
                assert decided(go())["AAPL"] == ("kept", "score")
                market.courses["AAPL"] = FALLING
                assert decided(go())["AAPL"] == ("demoted", "score")

    def test_what_a_person_let_go_on_and_a_control_paused_waits_for_a_person(self, market: MarketFeed) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        manager.start(bot.pk, actor="anna")
        go()
        manager.pause(bot.pk, actor="automatic", reason="DAILY_LOSS: 3 % were lost")
        assert decided(go())["AAPL"] == ("kept", "paused")
        manager.start(bot.pk, actor="anna")
        assert decided(go())["AAPL"] == ("kept", "started_by_hand")

    @pytest.mark.parametrize("close_mode", ["flatten", "manage_out"])
    @pytest.mark.parametrize("actor", ["automatic", "anna"])
    def test_what_a_person_started_and_was_paused_before_any_cycle_looked_is_kept(
        self, market: MarketFeed, actor: str, close_mode: str
    ) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        switch_on("AAPL", close_mode=close_mode)
        manager.start(bot.pk, actor="anna")
        manager.pause(
            bot.pk, actor=actor, reason="DAILY_LOSS: 3 % were lost" if actor == "automatic" else "let me look"
        )
        assert decided(go())["AAPL"] == ("kept", "paused" if actor == "automatic" else "by_hand")
        assert (own().status, Position.objects.get(bot=bot).quantity) == (BotStatus.PAUSED, Decimal("0.5"))

    def test_one_bot_that_cannot_be_held_keeps_no_other_from_it(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        market.courses = {"AAPL": RISING, "SPY": RISING}
        switch_on("AAPL", "SPY")
        go()
        first, second = Bot.objects.filter(by_autopilot=True).order_by("pk")
        pause = manager.pause

        def broken(bot_id: int, **given: Any) -> Bot:
            if bot_id == first.pk:
                raise ValueError("a figure that is none")
            return pause(bot_id, **given)

        monkeypatch.setattr(manager, "pause", broken)
        now = timezone.now()
        over = {"stopped_at": now, "stopped_until": now + timedelta(hours=1), "stopped_by": "Too much was lost."}
        AutopilotLosses.objects.update_or_create(is_live=False, defaults=over)
        with pytest.raises(ExceptionGroup, match="1 bots could not be held"):
            watch_losses(timezone.now())
        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.status, second.status) == (BotStatus.RUNNING, BotStatus.PAUSED)

    def test_what_nobody_can_value_makes_no_bots(self, market: MarketFeed) -> None:
        bot = made(market, universe={"replay": ["AAPL", "SPY"]})
        trade(bot, Side.BUY, "2")
        market.gone, market.courses["SPY"] = {"AAPL"}, RISING
        market_mark = losses.own_pnl_usd(Moment(timezone.now()), is_live=False)
        assert isinstance(market_mark, str)
        assert decided(go())["SPY"] == ("skipped", "losses_unknown")
        assert preview.preview(timezone.now()).created == []

    def test_paper_and_live_are_counted_apart_and_archived_bots_count_on(self, market: MarketFeed) -> None:
        bot = made(market)
        trade(bot, Side.BUY, "2")
        market.move_to("110", "110.02")
        trade(bot, Side.SELL, "2")
        manager.archive(bot.pk, actor="anna")
        watch_losses(timezone.now())
        made_usd = state.losses(is_live=False).pnl_usd
        assert made_usd is not None
        assert Decimal(15) < made_usd < Decimal(20)
        assert state.losses(is_live=True).pnl_usd == 0
        found = overview(timezone.now())
        assert (found.slots_used, found.paper.pnl_usd, found.live.pnl_usd) == (0, made_usd, 0)
        assert found.paper.bots == 1


def test_pnl_is_compared_with_holding_the_same_capital_in_the_same_symbol(market: MarketFeed) -> None:
    bot = made(market)
    market.move_to("109.989", "110")
    (figures,) = overview(timezone.now()).bots
    assert figures.own.pk == bot.pk
    # Made at 99.99 with 250 USD: a tenth more.
    assert figures.held_usd == Decimal(25)
    assert figures.pnl_usd == 0


def test_price_that_is_no_number_is_not_known(market: MarketFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = made(market)
    trade(bot, Side.BUY, "2")
    monkeypatch.setattr(MarketFeed, "mark", lambda *_: Decimal("NaN"))
    assert isinstance(losses.own_pnl_usd(Moment(timezone.now()), is_live=False), str)
    watch_losses(timezone.now())
    assert state.losses(is_live=False).pnl_usd == 0


def test_bots_of_long_ago_cost_no_more_than_their_figures(market: MarketFeed) -> None:
    bot = made(market)
    trade(bot, Side.BUY, "2")
    market.move_to("110", "110.02")
    trade(bot, Side.SELL, "2")
    manager.archive(bot.pk, actor="anna")
    read: list[Position] = []

    def note(instance: Position, **_: object) -> None:
        read.append(instance)

    post_init.connect(note, sender=Position)
    try:
        made_usd = losses.own_pnl_usd(Moment(timezone.now()), is_live=False)
    finally:
        post_init.disconnect(note, sender=Position)
    assert isinstance(made_usd, Decimal)
    assert Decimal(15) < made_usd < Decimal(20)
    assert read == []
