"""How the autopilot is: late at more than twice its interval, and never called well where nobody knows."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bots.models import AutopilotConfig, AutopilotLosses, AutopilotState, Bot
from tests.bots.builders import make_bot
from tests.tradingops.test_autopilot_page import one_cycle, scanned
from tests.tradingops.test_metrics import scrape
from tradingops import autopilot_status
from tradingops.autopilot_status import AutopilotStatus

pytestmark = pytest.mark.usefixtures("committed_db")
NOW = timezone.now()


def status(**settings: Any) -> AutopilotStatus:
    AutopilotConfig.objects.update(**{"enabled": True, "scan_interval_s": 60, **settings})
    return autopilot_status.read(NOW)


def beat(ago_s: float | None, on_ago_s: float | None = 1000) -> None:
    AutopilotState.objects.update(
        heartbeat_at=None if ago_s is None else NOW - timedelta(seconds=ago_s),
        enabled_at=None if on_ago_s is None else NOW - timedelta(seconds=on_ago_s),
    )


@pytest.mark.parametrize(
    ("ago_s", "on_ago_s", "is_late"),
    [
        (119, 1000, False),
        (120, 1000, False),
        (121, 1000, True),
        (None, 119, False),
        (None, 121, True),
        (5000, 119, False),
    ],
)
def test_late_is_more_than_twice_the_interval_since_a_cycle_or_since_it_was_switched_on(
    ago_s: float | None, on_ago_s: float, is_late: bool
) -> None:
    beat(ago_s, on_ago_s)
    assert status().is_late is is_late
    assert status(enabled=False).is_late is False


def test_words_say_what_it_is() -> None:
    beat(30)
    assert (status().name, status().text) == ("ON PAPER", "0 of 3 slots in use. Last whole cycle 30 s ago.")
    assert (status(dry_run=False).name, status(dry_run=False).is_live) == ("LIVE", True)
    off = status(enabled=False, dry_run=False)
    assert (off.name, off.is_live, off.text) == ("OFF", False, "It makes no bot and closes none.")
    beat(300)
    assert "LATE: one is due every 60 s." in status().text
    beat(None, 10)
    assert "No whole cycle has ended yet." in status().text


def test_bots_that_are_left_while_it_is_off_are_named() -> None:
    for name in ("one", "two"):
        make_bot(name)
        Bot.objects.filter(name=name).update(by_autopilot=True, symbol=name)
    make_bot("a person's")
    assert status(enabled=False).text.endswith("2 bots of its own stay as they are.")
    Bot.objects.filter(name="two").update(status="archived")
    assert status(enabled=False).text.endswith("One bot of its own stays as it is.")
    assert status().bots == 1


@pytest.mark.parametrize(("over_in_s", "is_stopped"), [(1, True), (0, False), (-1, False)])
def test_loss_limit_stops_it_until_its_time_is_over(over_in_s: float, is_stopped: bool) -> None:
    AutopilotLosses.objects.filter(is_live=False).update(
        stopped_until=NOW + timedelta(seconds=over_in_s), stopped_by="a bad day"
    )
    assert status().is_stopped is is_stopped
    assert ("a bad day" in status().text) is is_stopped
    # Paper's losses are none of the live ones.
    assert status(dry_run=False).is_stopped is False


def test_it_costs_one_statement() -> None:
    with CaptureQueriesContext(connection) as asked:
        autopilot_status.read(NOW)
    assert len(asked) == 1


class TestMetrics:
    def test_what_is_off_has_no_heartbeat(self) -> None:
        beat(30)
        status(enabled=False)
        found = scrape()
        assert found["autopilot_enabled"] == {(): 0}
        assert "autopilot_heartbeat_age_seconds" not in found
        assert "autopilot_recommendations" not in found
        assert found["autopilot_stopped"] == {("0",): 0, ("1",): 0}

    def test_on_live_and_stopped_are_told(self) -> None:
        status(dry_run=False, slots=7)
        AutopilotState.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=30))
        AutopilotLosses.objects.filter(is_live=True).update(stopped_until=timezone.now() + timedelta(hours=1))
        found = scrape()
        assert (found["autopilot_enabled"], found["autopilot_live"]) == ({(): 1}, {(): 1})
        assert (found["autopilot_slots"], found["autopilot_interval_seconds"]) == ({(): 7}, {(): 60})
        assert found["autopilot_stopped"] == {("0",): 0, ("1",): 1}
        assert 30 <= found["autopilot_heartbeat_age_seconds"][()] < 60

    def test_cycles_of_the_last_hour_its_bots_and_its_last_scan_are_counted(self) -> None:
        hours_ago = timezone.now() - timedelta(minutes=61)
        one_cycle(started_at=hours_ago)
        done, failed = one_cycle(), one_cycle("failed")
        for symbol, action in (("A", "trade_allowed"), ("B", "no_trade"), ("C", "no_trade")):
            scanned(done, 50, symbol, action=action)
        # What did not end well is no whole scan.
        scanned(failed, 50, "D")
        bot = make_bot("own")
        Bot.objects.filter(pk=bot.pk).update(by_autopilot=True)
        make_bot("a person's")
        found = scrape()
        assert found["autopilot_cycles_last_hour"] == cycles(done=1, failed=1)
        assert found["autopilot_recommendations"] == {("trade_allowed",): 1, ("no_trade",): 2}
        assert found["autopilot_bots"] == {("0", "running"): 1}


def cycles(**counts: int) -> dict[tuple[str, ...], float]:
    return {(name,): counts.get(name, 0) for name in ("running", "done", "failed", "lost")}
