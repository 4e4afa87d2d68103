"""A fault in one act: it is logged and told of, stops no other, and is never called fine; what must stop all of it still does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import OperationalError, connection
from django.utils import timezone

from bots import watch_chores
from bots.autopilot import chores, state
from bots.market_data.base import MarketDataError
from bots.models import AutopilotCycle, AutopilotDecision, AutopilotState, Bot, BotStatus, CycleStatus
from safety import kill_switch
from safety.intents import Level, Side
from safety.models import Notification
from tests.bots.autopilot.conftest import switch_on
from tests.bots.autopilot.market import FALLING, RISING, MarketFeed
from tests.bots.autopilot.test_cycle import decided, go, own, told
from tests.bots.autopilot.test_losses import NOON
from tests.bots.autopilot.test_meanwhile import once_planned
from tests.bots.builders import trade
from tradingops.health import read_health


class Busy(Exception):
    """What a driver says of a row that somebody else holds for too long."""

    sqlstate = "55P03"


@contextmanager
def refused_by_the_database(what: str) -> Iterator[None]:
    """Let the database refuse a write to the bots: ``INSERT`` or ``UPDATE`` of AAPL's."""
    row = "OLD" if what == "UPDATE" else "NEW"
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                f"CREATE TRIGGER refuses BEFORE {what} ON bots WHEN {row}.symbol = 'AAPL'"
                " BEGIN SELECT RAISE(ABORT, 'the row is broken'); END"
            )
        else:
            cursor.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'the row is broken'; END $$"
            )
            cursor.execute(
                f"CREATE TRIGGER refuses BEFORE {what} ON bots FOR EACH ROW WHEN ({row}.symbol = 'AAPL')"
                " EXECUTE FUNCTION refuse()"
            )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuses" + ("" if connection.vendor == "sqlite" else " ON bots"))
        if connection.vendor != "sqlite":
            cursor.execute("DROP FUNCTION refuse()")


def broken_for(monkeypatch: pytest.MonkeyPatch, symbol: str, error: Exception) -> None:
    """Let the last thing that an act asks of a market before it writes fail for one symbol."""

    def mark(feed: MarketFeed, asked: str, now: object) -> Decimal:
        if asked == symbol:
            raise error
        return Decimal(100)

    monkeypatch.setattr(MarketFeed, "mark", mark)


def two_rise(market: MarketFeed) -> None:
    """Let AAPL and SPY deserve a bot each; AAPL comes first."""
    market.courses = {"AAPL": RISING, "SPY": RISING}
    switch_on("AAPL", "SPY", slots=2, sector_slots=2, cooldown_minutes=0)


class TestOneAct:
    def test_bot_that_can_not_be_made_keeps_no_other_from_being_made(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        with monkeypatch.context() as patched:
            broken_for(patched, "AAPL", ZeroDivisionError("no such thing"))
            done = go()
        assert decided(done) == {"AAPL": ("failed", "fault"), "SPY": ("created", "score")}
        why = done.decisions.get(symbol="AAPL").reason
        assert why.startswith("It was to be created (Its score of ")
        assert why.endswith("and that failed, which is a fault: ZeroDivisionError: no such thing")
        assert done.status == CycleStatus.FAILED
        assert done.error == (
            "1 act failed, what else was decided was done: created AAPL: ZeroDivisionError: no such thing"
        )
        assert done.summary == {"created": 1, "failed": 1, "scanned": 2, "bots": 1}
        assert state.read().heartbeat_at is None
        # What failed is done by the next one, and nothing twice.
        again = go()
        assert decided(again) == {"SPY": ("kept", "score"), "AAPL": ("created", "score")}
        assert (again.status, again.error) == (CycleStatus.DONE, "")
        assert state.read().heartbeat_at == again.finished_at
        assert sorted(Bot.objects.values_list("symbol", flat=True)) == ["AAPL", "SPY"]
        assert len(told()) == 2

    @pytest.mark.parametrize("what", ["INSERT", "UPDATE"])
    def test_row_that_the_database_refuses_leaves_nothing_half(self, market: MarketFeed, what: str) -> None:
        two_rise(market)
        if what == "UPDATE":
            go()
            market.courses = {"AAPL": FALLING, "SPY": FALLING}
        with refused_by_the_database(what):
            done = go()
        kind = "created" if what == "INSERT" else "closed"
        assert decided(done) == {"AAPL": ("failed", "fault"), "SPY": (kind, "score")}
        assert "the row is broken" in done.decisions.get(symbol="AAPL").reason
        assert done.status == CycleStatus.FAILED
        if what == "INSERT":
            assert list(Bot.objects.values_list("symbol", flat=True)) == ["SPY"]
        else:
            assert (own("AAPL").status, own("SPY").status) == (BotStatus.RUNNING, BotStatus.ARCHIVED)
        assert decided(go())["AAPL"] == (kind, "score")

    def test_sale_that_fails_leaves_its_bot_on_its_way_out_and_the_next_cycle_sells(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        switch_on("AAPL", "SPY", slots=2, sector_slots=2, close_mode="flatten")
        go()
        for symbol in ("AAPL", "SPY"):
            trade(own(symbol), Side.BUY, "0.5")
        market.courses = {"AAPL": FALLING, "SPY": FALLING}
        status = MarketFeed.market_status

        def market_status(feed: MarketFeed, symbol: str, now: object) -> object:
            if symbol == "AAPL" and own("AAPL").status == BotStatus.PAUSED:
                raise ConnectionResetError("the venue hung up")
            return status(feed, symbol, now)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(MarketFeed, "market_status", market_status)
            done = go()
        found = done.decisions.filter(symbol="AAPL").order_by("id").values_list("kind", "code")
        assert list(found) == [("demoted", "score"), ("failed", "fault")]
        assert (own("AAPL").status, own("SPY").status) == (BotStatus.PAUSED, BotStatus.ARCHIVED)
        assert decided(go())["AAPL"] == ("closed", "flat")

    def test_row_that_somebody_holds_for_too_long_is_a_fault_of_its_act_alone(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        busy = OperationalError("canceling statement due to lock timeout")
        busy.__cause__ = Busy()
        broken_for(monkeypatch, "AAPL", busy)
        assert decided(go()) == {"AAPL": ("failed", "fault"), "SPY": ("created", "score")}

    def test_market_that_says_no_is_no_fault(self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        two_rise(market)
        broken_for(monkeypatch, "AAPL", MarketDataError("there is no price now"))
        done = go()
        assert (decided(done)["AAPL"], done.status) == (("created", "score"), CycleStatus.DONE)


class TestWhatStopsAllOfIt:
    def test_database_that_is_away_ends_the_cycle(self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        two_rise(market)
        broken_for(monkeypatch, "AAPL", OperationalError("server closed the connection unexpectedly"))
        with pytest.raises(OperationalError):
            go()
        assert AutopilotCycle.objects.get().status == CycleStatus.FAILED
        assert not Bot.objects.exists()
        assert not AutopilotDecision.objects.exists()

    def test_halt_in_the_middle_of_a_cycle_makes_no_more_bots(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        once_planned(monkeypatch, lambda: kill_switch.engage(Level.REDUCING, "a test", actor="anna"))
        done = go()
        assert set(decided(done).values()) == {("skipped", "changed_meanwhile")}
        assert done.decisions.get(symbol="AAPL").reason == "Only orders that shrink a position are allowed: a test."
        assert not Bot.objects.exists()

    def test_halt_in_the_middle_of_a_cycle_lets_none_buy_again(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        go()
        trade(own("AAPL"), Side.BUY, "0.5")
        market.courses["AAPL"] = FALLING
        go()
        market.courses["AAPL"] = RISING
        once_planned(
            monkeypatch, lambda: kill_switch.engage(Level.HALTED, "a test", actor="anna", cancel_resting=False)
        )
        assert decided(go())["AAPL"] == ("kept", "changed_meanwhile")
        assert own("AAPL").status == BotStatus.PAUSED


class TestAlarm:
    def test_act_that_goes_on_failing_makes_it_late_and_is_told_as_what_it_is(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_rise(market)
        broken_for(monkeypatch, "AAPL", ZeroDivisionError("no such thing"))
        go()
        last = AutopilotCycle.objects.get().started_at - timedelta(seconds=1)
        AutopilotState.objects.update(enabled_at=last, heartbeat_at=None)
        now = last + timedelta(seconds=601)
        assert (read_health().autopilot_heartbeat_age_s, state.is_late(now)) == (None, True)
        assert watch_chores.unwell(now)
        chores.watch_heartbeat(now)
        told_of = Notification.objects.get(event="worker_down")
        assert (told_of.title, told_of.severity) == ("The autopilot's cycles fail", "urgent")
        assert "failed. 1 act failed" in told_of.text
        assert "created AAPL: ZeroDivisionError: no such thing" in told_of.text

    def test_failures_between_whole_cycles_are_told_too_once_an_hour(
        self, market: MarketFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told_after = []
        with time_machine.travel(NOON, tick=False):
            two_rise(market)
            for turn in range(8):
                Bot.objects.filter(symbol="AAPL").update(status=BotStatus.ARCHIVED)
                with monkeypatch.context() as patched:
                    if turn % 2:
                        broken_for(patched, "AAPL", ZeroDivisionError("no such thing"))
                    assert go().status == (CycleStatus.FAILED if turn % 2 else CycleStatus.DONE)
                told_after.append(Notification.objects.filter(event="worker_down").count())
            assert not state.is_late(timezone.now())
        # The third failure is told, the fourth is not told again.
        assert told_after == [0, 0, 0, 0, 0, 1, 1, 1]
        alarm = Notification.objects.get(event="worker_down")
        assert alarm.title == "The autopilot's cycles keep failing"
        assert alarm.text.startswith("3 of its last 6 cycles did not end well.")

    def test_cycles_that_are_cut_off_between_whole_ones_are_told_too(self, market: MarketFeed) -> None:
        told_after = []
        with time_machine.travel(NOON, tick=False):
            two_rise(market)
            for _ in range(4):
                AutopilotCycle.objects.create(trigger="schedule", holder="gone", started_at=timezone.now())
                assert go().status == CycleStatus.DONE
                told_after.append(Notification.objects.filter(event="worker_down").count())
        assert told_after == [0, 0, 1, 1]
        assert "It was cut off before it ended." in Notification.objects.get(event="worker_down").text
