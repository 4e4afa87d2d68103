"""The API's endpoints that part two brings: who may ask, what comes back, and that nothing passes the gate by this way."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent, OrderEvent
from bots.models import Bot, Order
from safety.models import TradingState
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from safety.sign_in_marks import CONFIRMED_AT
from tests.bots.builders import Floor, floor, make_bot
from tests.bots.live import live_bot, live_desk, open_gates
from tests.loopback.client import KrakenLoopback

__all__ = ["floor"]
pytestmark = pytest.mark.usefixtures("committed_db")
TOKEN = "t" * 40
ORDER = {"side": "buy", "type": "market", "quantity": "0.5"}
BOT = {"name": "by API", "venue": "replay", "symbol": "BTC-PERP", "strategy": "smart_dca", "capital_usd": "250"}


class Caller:
    """A client with a token, a session, both or neither."""

    def __init__(
        self, token: str | None = None, group: str | None = None, *, csrf: bool = True, recent: bool = True
    ) -> None:
        self._client = Client(enforce_csrf_checks=True)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if group is not None:
            user = User.objects.create_user(f"{group} {User.objects.count()}", is_staff=True)
            user.groups.add(Group.objects.get(name=group))
            self._client.force_login(user)
            session = self._client.session
            session[CONFIRMED_AT] = int(timezone.now().timestamp()) - (0 if recent else 3600)
            session.save()
            if csrf:
                self._client.get("/admin/login/")
                self._client.get("/admin/password_change/")
                self._headers["X-CSRFToken"] = self._client.cookies["csrftoken"].value

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        answer = self._client.post(
            f"/api{path}", json.dumps(body), content_type="application/json", headers=self._headers
        )
        return answer.status_code, answer.json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = self._client.generic(
            method.upper(), f"/api{path}", json.dumps(body), content_type="application/json", headers=self._headers
        )
        return answer.status_code, answer.json()

    def get(self, path: str) -> tuple[int, Any]:
        answer = self._client.get(f"/api{path}", headers=self._headers)
        return answer.status_code, answer.json()


@pytest.fixture
def token(settings: Settings) -> str:
    """Set the worker's token, and return it."""
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN, worker_api_token_previous="p" * 40)
    return TOKEN


def halt(caller: Caller, **changes: Any) -> tuple[int, Any]:
    return caller.post("/safety/kill-switch", **{"level": "halted", "reason": "a test", **changes})


@pytest.mark.parametrize("given", [None, "", "wrong", "t" * 39, "t" * 41])
def test_no_or_a_wrong_token_gets_401(token: str, given: str | None) -> None:
    for status, answer in (halt(Caller(given)), Caller(given).get("/safety"), Caller(given).post("/bots", **BOT)):
        assert status == 401
        assert set(answer) == {"code", "message", "reasons"}
    assert TradingState.objects.get(scope="global").level == "active"
    assert not Bot.objects.exists()


def test_wrong_token_does_not_fall_back_to_the_session(token: str) -> None:
    assert halt(Caller("wrong", RISK_MANAGER))[0] == 401


@pytest.mark.parametrize("given", [TOKEN, "p" * 40])
def test_current_and_previous_token_engage(token: str, given: str) -> None:
    status, answer = halt(Caller(given))
    assert status == 200
    assert answer["state"] == "halted"
    assert answer["drained"] is True
    assert answer["blocked_ms"] >= 0
    assert (answer["in_flight"], answer["cancel_failed"]) == ([], [])
    assert OperatorEvent.objects.filter(action="kill_switch_engaged", actor="api:worker").exists()


def test_with_a_token_set_a_session_alone_is_not_enough_for_what_is_live_sensitive(token: str) -> None:
    status, answer = halt(Caller(group=RISK_MANAGER))
    assert (status, answer["code"]) == (401, "token_needed")
    assert Caller(group=RISK_MANAGER).get("/safety")[0] == 200


@pytest.mark.parametrize("unset", [None, ""])
@pytest.mark.parametrize(("group", "expected"), [(VIEWER, 403), (OPERATOR, 200), (RISK_MANAGER, 200)])
def test_without_a_token_set_a_session_with_the_right_engages(
    settings: Settings, unset: str | None, group: str, expected: int
) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=unset or None)
    assert halt(Caller(group=group))[0] == expected


def test_session_without_its_csrf_token_changes_nothing() -> None:
    status, answer = halt(Caller(group=RISK_MANAGER, csrf=False))
    assert (status, answer["code"]) == (403, "csrf")
    assert TradingState.objects.get(scope="global").level == "active"


@pytest.mark.parametrize("current", [None, ""])
def test_previous_token_opens_nothing_once_the_token_was_taken_away(
    token: str, settings: Settings, current: str
) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=current)
    assert halt(Caller("p" * 40))[0] == 401
    assert Caller("p" * 40).get("/safety")[0] == 401


def test_nobody_releases_over_the_api(token: str) -> None:
    halt(Caller(TOKEN))
    status, answer = halt(Caller(TOKEN), level="active")
    assert (status, answer["code"]) == (403, "person_needed")
    assert TradingState.objects.get(scope="global").level == "halted"


@pytest.mark.parametrize(
    "bad",
    [
        {"level": "stop"},
        {"reason": ""},
        {"scope": "venue:"},
        {"scope": "everything"},
        {"scope": "venue:krakn"},
        {"scope": "bot:987654"},
        {"cancel_resting": "perhaps"},
    ],
)
def test_bad_input_stops_nothing_and_says_why(token: str, bad: dict[str, Any]) -> None:
    status, answer = halt(Caller(TOKEN), **bad)
    assert status == 422
    assert answer["message"]
    assert set(TradingState.objects.values_list("level", flat=True)) == {"active"}


def test_engaging_cancels_what_rests_and_names_it(token: str, floor: Floor) -> None:
    bot = make_bot()
    caller = Caller(TOKEN)
    status, order = caller.post("/orders", bot_id=bot.pk, **{**ORDER, "type": "limit", "limit_price": "90"})
    assert (status, order["status"]) == (201, "accepted")
    assert halt(caller)[1]["canceled"] == [order["client_order_id"]]
    assert Order.objects.get().status == "canceled"


def test_safety_says_what_holds_live_trading_back(token: str) -> None:
    halt(Caller(TOKEN), level="reducing", scope="venue:kraken")
    status, answer = Caller(TOKEN).get("/safety")
    assert status == 200
    assert answer["live_ready"] is False
    assert all(set(one) >= {"id", "title", "found", "remedy"} for one in answer["blockers"])
    assert answer["blockers"]
    gate = next(one for one in answer["locks"] if (one["venue"], one["id"]) == ("kraken", "ALLOW_LIVE_TRADING"))
    assert (gate["open"], gate["source"]) == (False, "default")
    assert "ALLOW_LIVE_TRADING=1" in gate["reason"]
    # A lock of each bot by itself, and of no venue.
    assert not any(one["id"].endswith("DRY_RUN") for one in answer["locks"])
    assert TOKEN not in json.dumps(answer)
    lines = {one["title"]: one for one in answer["checklist"]}
    assert set(lines) == {"API token", "Allow live", "Kill switch", "Kraken (crypto)", "Alpaca (stocks)", "Live ready"}
    assert (lines["API token"]["state"], lines["Allow live"]["state"]) == ("ok", "shut")
    assert all(set(one) == {"title", "state", "found", "remedy"} for one in lines.values())


def test_bot_is_made_on_paper_and_stopped(token: str) -> None:
    status, answer = Caller(TOKEN).post("/bots", **BOT)
    assert status == 201
    assert (answer["dry_run"], answer["status"], answer["capital_usd"]) == (True, "stopped", "250")
    assert answer["position"]["quantity"] == "0"
    assert OperatorEvent.objects.get(action="bot_created").actor == "api:worker"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"capital_usd": 250.5}, 422),
        ({"capital_usd": "NaN"}, 422),
        ({"capital_usd": "-1"}, 422),
        ({"params": {"no_such": 1}}, 422),
        ({"poll_seconds": 0}, 422),
        ({"symbol": "NOPE"}, 422),
        ({"venue": "nowhere"}, 422),
        ({"strategy": "magic"}, 422),
        ({"name": " "}, 422),
        ({"name": "a\0b"}, 422),
        ({"capital_usd": "1" + "0" * 28}, 422),
        ({"capital_usd": "0." + "0" * 28 + "1"}, 422),
        ({"capital_usd": "1e3"}, 422),
    ],
)
def test_bad_bot_is_refused_with_a_reason(token: str, change: dict[str, Any], expected: int) -> None:
    status, answer = Caller(TOKEN).post("/bots", **{**BOT, **change})
    assert status == expected
    assert answer["message"]
    assert not Bot.objects.exists()


@pytest.mark.parametrize(("group", "expected"), [(VIEWER, 403), (OPERATOR, 201), (RISK_MANAGER, 201)])
def test_session_makes_bots_and_paper_orders_by_its_rights(token: str, floor: Floor, group: str, expected: int) -> None:
    bot = make_bot()
    caller = Caller(group=group)
    assert caller.post("/bots", **BOT)[0] == expected
    assert caller.post("/orders", bot_id=bot.pk, **ORDER)[0] == expected


def test_paper_order_fills_and_is_shown_as_text(token: str, floor: Floor) -> None:
    bot = make_bot()
    status, order = Caller(TOKEN).post("/orders", bot_id=bot.pk, **ORDER)
    assert status == 201
    assert (order["status"], order["quantity"], order["filled_quantity"]) == ("filled", "0.5", "0.5")
    assert order["is_live"] is False
    assert isinstance(order["average_price"], str)


def test_denied_order_is_409_with_every_reason(token: str, floor: Floor) -> None:
    bot = make_bot(capital_usd=Decimal(20))
    halt(Caller(TOKEN))
    status, answer = Caller(TOKEN).post("/orders", bot_id=bot.pk, **ORDER)
    assert status == 409
    codes = [reason["code"] for reason in answer["reasons"]]
    assert {"KILL_SWITCH", "BOT_CAPITAL_EXCEEDED"} <= set(codes)
    assert all(set(reason) == {"code", "message", "limit", "actual"} for reason in answer["reasons"])
    assert OrderEvent.objects.filter(event="denied").count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0.5},
        {"quantity": "0"},
        {"quantity": "1e999"},
        {"side": "hold"},
        {"bot_id": 0},
        {"limit_price": "x"},
        {"limit_price": "90"},
        {"type": "limit"},
        {"type": "limit", "limit_price": None},
        {"type": "limit", "limit_price": "0." + "0" * 28 + "1"},
        {"quantity": "1" + "0" * 28},
        {"quantity": "1e-400"},
        {"quantity": "1_000"},
        {"quantity": " 1 "},
        {"quantity": "١"},
    ],
)
def test_bad_order_is_422_and_leaves_nothing(token: str, floor: Floor, change: dict[str, Any]) -> None:
    bot = make_bot()
    assert Caller(TOKEN).post("/orders", **{"bot_id": bot.pk, **ORDER, **change})[0] == 422
    assert not Order.objects.exists()


def test_order_of_no_bot_is_404(token: str) -> None:
    assert Caller(TOKEN).post("/orders", bot_id=987_654, **ORDER)[0] == 404


def test_live_order_behind_a_shut_gate_is_409_and_reaches_no_venue(
    token: str, kraken: KrakenLoopback, settings: Settings
) -> None:
    bot = live_desk(kraken, settings)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    open_gates(settings, live=False)
    status, answer = Caller(TOKEN).post("/orders", bot_id=bot.pk, **{**ORDER, "quantity": "0.3"})
    assert (status, answer["code"]) == (409, "LIVE_GATE_CLOSED")
    assert not kraken.log("AddOrder")
    assert OrderEvent.objects.get(event="denied").is_live == 1


def test_live_order_is_sent_from_here_with_every_lock_open(
    kraken: KrakenLoopback, settings: Settings, token: str
) -> None:
    bot = live_desk(kraken, settings)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    status, order = Caller(TOKEN).post("/orders", bot_id=bot.pk, **{**ORDER, "quantity": "0.3"})
    assert (status, order["status"], order["is_live"]) == (201, "filled", True)
    assert len(kraken.log("AddOrder")) == 1
    assert Caller(group=RISK_MANAGER).post("/orders", bot_id=bot.pk, **ORDER)[0] == 401


def test_going_live_takes_the_name_and_a_reason_and_says_what_blocks(token: str, kraken: KrakenLoopback) -> None:
    bot = live_bot(running=False)
    Bot.objects.filter(pk=bot.pk).update(dry_run=True)
    caller, path = Caller(TOKEN), f"/bots/{bot.pk}/dry-run"
    assert caller.post(path, dry_run=False, confirm="wrong", reason="r")[0] == 409
    assert caller.post(path, dry_run=False, confirm="live", reason="")[0] == 409
    status, answer = caller.post(path, dry_run=False, confirm="live", reason="a test")
    assert (status, answer["dry_run"]) == (200, False)
    assert any("ALLOW_LIVE_TRADING" in block["message"] for block in answer["blocked_by"])
    status, answer = caller.post(path, dry_run=True)
    assert (status, answer["dry_run"]) == (200, True)


@pytest.mark.parametrize(
    ("group", "recent", "expected"),
    [(VIEWER, True, 403), (OPERATOR, True, 403), (RISK_MANAGER, False, 403), (RISK_MANAGER, True, 200)],
)
def test_session_goes_live_only_with_the_right_and_a_recent_sign_in(
    kraken: KrakenLoopback, group: str, recent: bool, expected: int
) -> None:
    bot = live_bot(running=False)
    Bot.objects.filter(pk=bot.pk).update(dry_run=True)
    status, _ = Caller(group=group, recent=recent).post(
        f"/bots/{bot.pk}/dry-run", dry_run=False, confirm="live", reason="a test"
    )
    assert status == expected
    assert Bot.objects.get(pk=bot.pk).dry_run is (expected != 200)


def test_replay_bot_can_never_be_live(token: str) -> None:
    bot = make_bot(running=False)
    status, answer = Caller(TOKEN).post(f"/bots/{bot.pk}/dry-run", dry_run=False, confirm=bot.name, reason="a test")
    assert status == 409
    assert "recorded" in answer["message"]
