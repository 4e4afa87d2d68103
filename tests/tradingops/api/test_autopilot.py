"""The autopilot over the API: settings that are kept and audited, real money behind every lock, one cycle now."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots.autopilot import config as autopilot_config
from bots.autopilot import cycle
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotLosses, AutopilotState, Bot, BotStatus, Recommendation
from bots.workers.leases import LeaseHolder
from safety import api_tokens
from safety.api_scopes import Scope
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from tests.bots.live import live_desk, open_gates
from tests.loopback.client import KrakenLoopback
from tests.tradingops.api.test_notifications import token
from tests.tradingops.test_api_endpoints import Caller
from tradingops import autopilot_runs

__all__ = ["token"]
pytestmark = pytest.mark.usefixtures("committed_db")
PATH = "/autopilot"


def patch(caller: Caller, **changes: Any) -> tuple[int, Any]:
    return caller.send("patch", PATH, changes)


def test_it_is_off_and_on_paper_from_the_start(token: str) -> None:
    status, found = Caller(token).get(PATH)
    assert status == 200
    assert (found["enabled"], found["dry_run"], found["profile"]) == (False, True, "conservative")
    assert (found["heartbeat_at"], found["decisions"], found["cycle"], found["stopped"]) == (None, [], None, [])
    assert (found["is_late"], found["next_at"], found["bots"], found["capital_used_usd"]) == (False, None, 0, "0")
    assert found["total_capital_usd"] == "1000"


def test_what_is_named_changes_and_is_audited(token: str) -> None:
    status, found = patch(
        Caller(token), universe={"replay": ["BTC-PERP"]}, total_capital_usd="250.5", close_mode="flatten", reason="try"
    )
    assert status == 200
    assert found == Caller(token).get(PATH)[1]
    assert (found["universe"], found["total_capital_usd"]) == ({"replay": ["BTC-PERP"]}, "250.5")
    rows = OperatorEvent.objects.filter(object="autopilot").order_by("seq")
    assert [(one.actor, one.action, one.old, one.new, one.reason) for one in rows] == [
        ("api:worker", "autopilot_universe_changed", "{}", '{"replay":["BTC-PERP"]}', "try"),
        ("api:worker", "autopilot_total_capital_usd_changed", "1000", "250.5", "try"),
        ("api:worker", "autopilot_close_mode_changed", "manage_out", "flatten", "try"),
    ]


def test_profile_sets_slots_and_scores_unless_they_are_given(token: str) -> None:
    found = patch(Caller(token), profile="aggressive", slots=4)[1]
    assert (found["slots"], found["score_min"], found["score_demote"]) == (4, 55, 40)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_demote": 76},
        {"score_min": 101},
        {"slots": 0},
        {"sector_slots": 4},
        {"daily_loss_pct": "6"},
        {"daily_loss_pct": "100.1"},
        {"total_capital_usd": "0"},
        {"total_capital_usd": 5},
        {"universe": {"nowhere": ["X"]}},
        {"universe": {"replay": ["X", "X"]}},
        {"universe": {"replay": [""]}},
        {"asset_types": ["bonds"]},
        {"scan_interval_s": 29},
        {"slot": 3},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(token: str, wrong: dict[str, Any]) -> None:
    before = Caller(token).get(PATH)[1]
    status, answer = patch(Caller(token), cooldown_minutes=1, **wrong)
    assert (status, answer["code"]) == (422, "bad_input")
    assert Caller(token).get(PATH)[1] == before


def test_figures_at_their_bounds_are_taken(token: str) -> None:
    changes = {"score_demote": 75, "slots": 100, "sector_slots": 100, "daily_loss_pct": "100", "weekly_loss_pct": "100"}
    assert patch(Caller(token), **changes)[0] == 200


def choose(**changes: Any) -> None:
    """Let the universe be the recorded prices, or what is said."""
    AutopilotConfig.objects.update(**{"universe": {"replay": ["AAPL", "SPX"]}, **changes})


def wait_for_cycles() -> None:
    """Wait for what goes on by itself: it must be over before its database is."""
    for thread in threading.enumerate():
        if thread.name.startswith("page: a cycle"):
            thread.join(30)


def test_every_problem_comes_with_its_field(token: str) -> None:
    choose()
    status, answer = patch(Caller(token), score_demote=80, daily_loss_pct="9")
    assert (status, [one["code"] for one in answer["reasons"]]) == (422, ["score_demote", "daily_loss_pct"])


def test_unknown_symbol_is_named(token: str) -> None:
    status, answer = patch(Caller(token), universe={"replay": ["SPX", "NOPE"]})
    assert (status, answer["reasons"][0]["code"]) == (422, "universe")
    assert "'NOPE'" in answer["message"]


def test_it_is_switched_on_only_with_symbols(token: str) -> None:
    status, answer = patch(Caller(token), enabled=True)
    assert (status, answer["code"]) == (422, "bad_input")
    assert AutopilotConfig.objects.get().enabled is False
    status, answer = patch(Caller(token), enabled=True, universe={"replay": ["SPX"]})
    assert (status, answer["enabled"], answer["is_late"]) == (200, True, False)
    assert answer["next_at"] is not None


class TestRealMoney:
    WANTED: ClassVar[dict[str, Any]] = {"dry_run": False, "confirm": "autopilot live", "reason": "two weeks on paper"}

    @pytest.fixture
    def open_locks(self, kraken: KrakenLoopback, settings: Settings) -> None:
        live_desk(kraken, settings)
        choose(universe={"kraken": ["BTC/USD"]})

    def test_with_every_lock_open_it_is_set_live_and_audited(self, open_locks: None, token: str) -> None:
        status, answer = patch(Caller(token), **self.WANTED)
        assert (status, answer["dry_run"], answer["enabled"]) == (200, False, False)
        row = OperatorEvent.objects.get(action="autopilot_dry_run_changed")
        assert (row.actor, row.old, row.new, row.reason) == ("api:worker", "true", "false", "two weeks on paper")

    def test_each_shut_lock_is_a_reason_and_nothing_changes(
        self, open_locks: None, token: str, settings: Settings
    ) -> None:
        open_gates(settings, live=False)
        status, answer = patch(Caller(token), **self.WANTED)
        assert (status, answer["code"]) == (409, "denied")
        assert [one["code"] for one in answer["reasons"]] == ["LIVE_GATE_CLOSED"]
        assert AutopilotConfig.objects.get().dry_run is True
        assert not OperatorEvent.objects.filter(action="autopilot_dry_run_changed").exists()

    def test_recorded_prices_are_never_live(self, open_locks: None, token: str) -> None:
        choose()
        status, answer = patch(Caller(token), **self.WANTED)
        assert (status, answer["reasons"][0]["code"]) == (409, "LIVE_GATE_CLOSED")

    @pytest.mark.parametrize(
        "changes",
        [
            {"confirm": "Autopilot live"},
            {"confirm": ""},
            {"reason": " "},
            # What is set live has to be what was looked at.
            {"slots": 5},
            {"enabled": True},
        ],
    )
    def test_without_the_words_a_reason_or_by_itself_it_is_refused(
        self, open_locks: None, token: str, changes: dict[str, Any]
    ) -> None:
        assert patch(Caller(token), **{**self.WANTED, **changes})[0] == 422
        config = AutopilotConfig.objects.get()
        assert (config.dry_run, config.slots, config.enabled) == (True, 3, False)

    def test_session_takes_a_recent_sign_in(self, open_locks: None) -> None:
        status, answer = patch(Caller(group=RISK_MANAGER, recent=False), **self.WANTED)
        assert (status, answer["code"]) == (403, "sign_in_again")
        assert patch(Caller(group=RISK_MANAGER), **self.WANTED)[0] == 200

    def test_once_live_what_raises_a_risk_takes_more_and_what_shrinks_it_does_not(self, open_locks: None) -> None:
        choose(dry_run=False, enabled=True)
        operator, manager = Caller(group=OPERATOR), Caller(group=RISK_MANAGER, recent=False)
        for changes in ({"slots": 4}, {"enabled": False, "slots": 4}, {"enabled": True}):
            assert patch(operator, **changes)[0] == 403
            assert patch(manager, **changes)[1]["code"] == "sign_in_again"
        assert operator.post("/autopilot/run")[0] == 403
        assert AutopilotConfig.objects.get().slots == 3
        assert patch(operator, enabled=False)[1]["enabled"] is False
        assert patch(operator, dry_run=True)[1]["dry_run"] is True

    def test_back_on_paper_with_live_bots_left_it_takes_what_real_money_takes(self, open_locks: None) -> None:
        choose(enabled=True)
        maker = User.objects.create_superuser("maker")
        made = api_tokens.make("op", Scope.OPERATE, None, maker=maker, reason="a test", now=timezone.now())
        operator, scoped = Caller(group=OPERATOR), Caller(made[1])
        changes = {"close_mode": "flatten", "score_demote": 75}
        Bot.objects.update(by_autopilot=True)
        for caller in (operator, scoped):
            assert patch(caller, **changes)[0] == 403
            assert caller.post("/autopilot/run")[0] == 403
        assert patch(Caller(group=RISK_MANAGER, recent=False), **changes)[1]["code"] == "sign_in_again"
        assert patch(operator, enabled=False)[0] == 200
        # What was archived, or is a person's, is not in its hands.
        for others in ({"by_autopilot": False}, {"by_autopilot": True, "status": BotStatus.ARCHIVED}):
            Bot.objects.update(**others)
            assert patch(operator, **changes)[0] == 200
            assert patch(scoped, **changes)[0] == 200

    def test_set_live_while_symbols_are_looked_up_refuses_what_was_allowed_on_paper(
        self, open_locks: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Bot.objects.update(dry_run=True)
        monkeypatch.setattr(autopilot_config, "check_symbols", lambda *_: choose(dry_run=False))
        status, answer = patch(Caller(group=OPERATOR), universe={"kraken": ["ETH/USD"]})
        assert (status, answer["reasons"][0]["code"]) == (422, "dry_run")
        assert AutopilotConfig.objects.get().universe == {"replay": ["AAPL", "SPX"]}

    def test_paper_that_is_paper_already_changes_and_tells_nothing(self, token: str) -> None:
        assert patch(Caller(token), dry_run=True, slots=4)[1]["slots"] == 4
        assert not OperatorEvent.objects.filter(action="autopilot_dry_run_changed").exists()


class TestRun:
    def test_one_cycle_makes_bots_and_tells_why(self, token: str) -> None:
        choose(enabled=True)
        status, answer = Caller(token).post("/autopilot/run")
        assert status == 200
        assert (answer["cycle"]["status"], answer["cycle"]["trigger"]) == ("done", "api:worker")
        assert answer["cycle"]["summary"]["scanned"] == 2
        made = [one for one in answer["decisions"] if one["kind"] == "created"]
        assert {one["symbol"] for one in answer["decisions"]} == {"AAPL", "SPX"}
        assert [one["bot_id"] for one in made] == list(Bot.objects.order_by("-pk").values_list("pk", flat=True))
        assert made
        assert all("score" in one["reason"] for one in made)
        used = sum(bot.capital_usd for bot in Bot.objects.all())
        assert (answer["bots"], Decimal(answer["capital_used_usd"])) == (len(made), used)
        assert answer["heartbeat_at"] is not None
        assert answer == Caller(token).get(PATH)[1]
        scores = Caller(token).get("/recommendations")[1]["items"]
        assert {one["symbol"] for one in scores} == {"AAPL", "SPX"}

    def test_switched_off_it_runs_none(self, token: str) -> None:
        choose()
        status, answer = Caller(token).post("/autopilot/run")
        assert (status, answer["code"]) == (409, "autopilot_off")
        assert not AutopilotCycle.objects.exists()

    def test_while_one_is_under_way_it_is_409(self, token: str) -> None:
        choose(enabled=True)
        other = LeaseHolder("another host", 20.0)
        assert other.claim([cycle.LEASE], 1)
        status, answer = Caller(token).post("/autopilot/run")
        assert (status, answer["code"]) == (409, "cycle_running")
        other.release()
        assert Caller(token).post("/autopilot/run")[0] == 200

    def test_one_that_takes_longer_than_one_waits_goes_on_by_itself(self, token: str) -> None:
        choose(enabled=True)
        found = autopilot_runs.run_now("api:worker", wait_s=0)
        assert found is None or found.status == "running"
        wait_for_cycles()
        assert AutopilotCycle.objects.get().status == "done"

    def test_one_that_fails_is_told_as_failed(self, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        choose(enabled=True)
        monkeypatch.setattr(cycle, "plan", lambda situation: 1 / 0)
        status, answer = Caller(token).post("/autopilot/run")
        assert (status, answer["cycle"]["status"], answer["heartbeat_at"]) == (200, "failed", None)
        assert "ZeroDivisionError" in answer["cycle"]["error"]


def test_late_and_stopped_are_told(token: str) -> None:
    now = timezone.now()
    choose(enabled=True, scan_interval_s=60)
    AutopilotState.objects.update(heartbeat_at=now - timedelta(seconds=121), enabled_at=now - timedelta(hours=1))
    AutopilotLosses.objects.filter(is_live=False).update(stopped_until=now + timedelta(hours=1), stopped_by="a bad day")
    AutopilotLosses.objects.filter(is_live=True).update(stopped_until=now - timedelta(hours=1), stopped_by="long over")
    found = Caller(token).get(PATH)[1]
    assert found["is_late"] is True
    assert [(one["is_live"], one["reason"]) for one in found["stopped"]] == [(False, "a bad day")]
    AutopilotState.objects.update(heartbeat_at=now - timedelta(seconds=110))
    assert Caller(token).get(PATH)[1]["is_late"] is False


@pytest.mark.parametrize(("group", "expected"), [(VIEWER, 403), (OPERATOR, 200), (RISK_MANAGER, 200)])
def test_session_needs_the_right_where_no_token_is_set(group: str, expected: int) -> None:
    assert Caller(group=group).get(PATH)[0] == 200
    assert patch(Caller(group=group), slots=4)[0] == expected


def test_session_is_not_enough_where_a_token_is_set(token: str) -> None:
    caller = Caller(group=RISK_MANAGER)
    assert (patch(caller, slots=4)[0], caller.post("/autopilot/run")[0]) == (401, 401)


def test_recommendations_come_in_pages_newest_first(token: str) -> None:
    assert Caller(token).get("/recommendations") == (200, {"items": [], "next": None})
    for number in range(3):
        Recommendation.objects.create(
            venue="replay",
            symbol=f"S{number % 2}",
            timeframe="1m",
            score=number,
            score_before=number + 1 if number else None,
            trend=Decimal("-1.5") if number else None,
            parts={"trend": "0.5"},
            regime="range",
            confidence=Decimal("0.75"),
            action="no_trade",
            reasons=[{"code": "QUIET"}],
            scanned_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
    first = Caller(token).get("/recommendations?limit=2")[1]
    assert [one["score"] for one in first["items"]] == [2, 1]
    assert [(one["score_before"], one["trend"]) for one in first["items"]] == [(3, "-1.5"), (2, "-1.5")]
    rest = Caller(token).get(f"/recommendations?limit=2&cursor={first['next']}")[1]
    assert ([one["score"] for one in rest["items"]], rest["next"]) == ([0], None)
    one = rest["items"][0]
    assert (one["score_before"], one["trend"]) == (None, None)
    assert (one["confidence"], one["cost_bps"], one["scanned_at"]) == ("0.75", None, "2026-11-23T00:00:00.000000Z")
    assert [one["score"] for one in Caller(token).get("/recommendations?symbol=S1")[1]["items"]] == [1]
