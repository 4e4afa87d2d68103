"""The notification preferences over the API, and the test message that says what really became of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from audit.models import OperatorEvent
from safety.models import NotificationPrefs, Setting
from safety.notifications.messages import EVENTS
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import Fault, Reply
from tests.tradingops.test_api_endpoints import TOKEN, Caller

pytestmark = pytest.mark.usefixtures("committed_db")
PREFS, TEST = "/notification/prefs", "/notification/test"


@pytest.fixture
def token(settings: Settings) -> str:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    return TOKEN


def test_preferences_name_every_event(token: str) -> None:
    status, found = Caller(token).get(PREFS)
    assert status == 200
    assert found == {
        "enabled": True,
        "discord": True,
        "email": True,
        "events": dict.fromkeys(EVENTS, True),
        "quiet_hours": {"from": None, "until": None},
    }


def test_what_is_named_changes_and_the_rest_stays(token: str) -> None:
    quiet = {"from": "22:00", "until": "06:30"}
    wanted = {"discord": False, "email": False, "events": {"risk_alert": False}, "quiet_hours": quiet}
    changed = Caller(token).post(PREFS, **wanted, reason="night")
    assert changed[0] == 200
    found = Caller(token).get(PREFS)[1]
    assert [found[name] for name in ("enabled", "discord", "email", "quiet_hours")] == [True, False, False, quiet]
    assert [name for name, is_on in found["events"].items() if not is_on] == ["risk_alert"]
    assert json.loads(Setting.objects.get(key="notification_prefs").value)["quiet_hours"] == quiet
    rows = OperatorEvent.objects.filter(action__startswith="notification_").order_by("seq")
    assert [(one.action, one.object, one.old, one.new, one.reason) for one in rows] == [
        ("notification_discord_changed", "notification_prefs", "True", "False", "night"),
        ("notification_email_changed", "notification_prefs", "True", "False", "night"),
        ("notification_quiet_hours_changed", "notification_prefs", "[null,null]", '["22:00","06:30"]', "night"),
        ("notification_event_changed", "notification_prefs:risk_alert", "on", "off", "night"),
    ]
    assert Caller(token).post(PREFS, quiet_hours={"from": None, "until": None})[1]["quiet_hours"]["from"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": {"no_such_event": True}},
        {"events": {"risk_alert": "maybe"}},
        {"quiet_hours": {"from": "22:00"}},
        {"quiet_hours": {"from": "24:00", "until": "06:00"}},
        {"quiet_hours": {"from": "9:00", "until": "10:00"}},
        {"enabeld": False},
        {"reason": "x" * 501},
        {"reason": "null\0"},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(token: str, wrong: dict[str, Any]) -> None:
    before = NotificationPrefs.objects.get().as_text()
    status, answer = Caller(token).post(PREFS, discord=False, **wrong)
    assert (status, answer["code"]) == (422, "bad_input")
    assert NotificationPrefs.objects.get().as_text() == before


@pytest.mark.parametrize(("group", "expected"), [(VIEWER, 403), (OPERATOR, 200), (RISK_MANAGER, 200)])
def test_session_needs_the_right_where_no_token_is_set(group: str, expected: int) -> None:
    caller = Caller(group=group)
    assert caller.get(PREFS)[0] == 200
    changed = caller.post(PREFS, discord=False)[0]
    assert (changed, caller.post(TEST)[0]) == (expected, expected)


def test_session_is_not_enough_where_a_token_is_set(token: str) -> None:
    assert [Caller(group=RISK_MANAGER).post(one)[0] for one in (PREFS, TEST)] == [401, 401]


def test_test_message_arrives_and_says_so(token: str, discord: DiscordLoopback) -> None:
    status, answer = Caller(token).post(TEST)
    assert (status, answer["delivered"]) == (200, True)
    assert [(one["channel"], one["state"]) for one in answer["channels"]] == [
        ("discord", "delivered"),
        ("email", "not_configured"),
    ]
    assert len(discord.messages()) == 1
    row = OperatorEvent.objects.get(action="notification_test")
    assert (row.actor, row.new) == ("api:worker", '{"discord":"delivered","email":"not_configured"}')


def test_test_message_that_failed_is_told_without_the_address(token: str, discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=503))
    status, answer = Caller(token).post(TEST)
    assert (status, answer["delivered"], answer["channels"][0]["state"]) == (200, False, "try_again")
    discord.control("set_gone", is_gone=True)
    gone = Caller(token).post(TEST)[1]["channels"][0]
    assert gone["state"] == "refused"
    assert discord.webhook_url.rsplit("/", 1)[-1] not in json.dumps(answer) + json.dumps(gone)


def test_channel_that_is_switched_off_is_left_alone(token: str, discord: DiscordLoopback) -> None:
    Caller(token).post(PREFS, discord=False)
    assert Caller(token).post(TEST)[1]["channels"][0]["state"] == "switched_off"
    assert discord.messages() == []


def test_without_a_webhook_the_answer_says_what_to_set(token: str) -> None:
    found = Caller(token).post(TEST)[1]["channels"][0]
    assert (found["state"], "DISCORD_WEBHOOK_URL" in found["detail"]) == ("not_configured", True)
