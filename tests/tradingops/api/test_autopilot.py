"""The autopilot's settings over the API: kept and audited; nothing can be switched on before there is an autopilot."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from audit.models import OperatorEvent
from bots.models import AutopilotConfig, Recommendation
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from tests.tradingops.api.test_notifications import token
from tests.tradingops.test_api_endpoints import Caller

__all__ = ["token"]
pytestmark = pytest.mark.usefixtures("committed_db")
PATH = "/autopilot"


def patch(caller: Caller, **changes: Any) -> tuple[int, Any]:
    return caller.send("patch", PATH, changes)


def test_it_is_off_and_on_paper_from_the_start(token: str) -> None:
    status, found = Caller(token).get(PATH)
    assert status == 200
    assert (found["enabled"], found["dry_run"], found["profile"]) == (False, True, "conservative")
    assert (found["heartbeat_at"], found["decisions"]) == (None, [])
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


@pytest.mark.parametrize("change", [{"enabled": True}, {"dry_run": False}])
def test_nothing_can_be_switched_on_that_is_not_there(token: str, change: dict[str, Any]) -> None:
    status, answer = patch(Caller(token), slots=9, **change)
    assert (status, answer["code"]) == (409, "autopilot_unavailable")
    assert AutopilotConfig.objects.get().slots == 3
    assert Caller(token).post("/autopilot/run")[1]["code"] == "autopilot_unavailable"


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
            parts={"trend": "0.5"},
            regime="range",
            confidence=Decimal("0.75"),
            action="no_trade",
            reasons=[{"code": "QUIET"}],
            scanned_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
    first = Caller(token).get("/recommendations?limit=2")[1]
    assert [one["score"] for one in first["items"]] == [2, 1]
    rest = Caller(token).get(f"/recommendations?limit=2&cursor={first['next']}")[1]
    assert ([one["score"] for one in rest["items"]], rest["next"]) == ([0], None)
    one = rest["items"][0]
    assert (one["confidence"], one["cost_bps"], one["scanned_at"]) == ("0.75", None, "2026-11-23T00:00:00.000000Z")
    assert [one["score"] for one in Caller(token).get("/recommendations?symbol=S1")[1]["items"]] == [1]
