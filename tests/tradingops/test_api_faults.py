"""The API where something is missing: the database, the market, a body that can be read. Nothing passes, and all is told."""

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from bots.brokers.base import OrderReport
from bots.brokers.factory import broker_for
from bots.hand_orders import HandOrder, place_order
from bots.manager import BotActionError
from bots.models import Bot, Order, Position
from bots.sweep import sweep
from safety import kill_switch
from safety.intents import OrderIntent, OrderType, Permit, Side
from safety.kill_file import kill_file
from safety.models import KillRun
from tests.bots.builders import Floor, floor, make_bot
from tests.bots.live import live_desk, open_gates
from tests.loopback.client import KrakenLoopback
from tests.tradingops.test_api import database_down
from tests.tradingops.test_api_endpoints import BOT, ORDER, TOKEN, Caller, halt, token

__all__ = ["floor", "token"]
pytestmark = pytest.mark.usefixtures("committed_db")


def test_without_the_database_the_token_halts_this_host_and_is_told_so(token: str) -> None:
    with database_down():
        status, answer = halt(Caller(token))
    assert (status, answer["state"], answer["host_only"]) == (200, "halted", True)
    assert kill_file().exists()


def test_without_database_and_file_the_answer_is_503_and_says_what_holds(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(kill_switch, "write_kill_file", full)
    with database_down():
        status, answer = halt(Caller(token))
    assert (status, answer["code"]) == (503, "not_safe_to_serve")
    assert "NOTHING halts this host" in answer["message"]


def test_without_the_database_all_else_is_503_in_the_one_error_shape(token: str) -> None:
    client = Client(raise_request_exception=False)
    by_token = {"Authorization": f"Bearer {token}"}
    with database_down():
        found = [
            client.get("/api/safety", headers=by_token),
            client.post("/api/bots", json.dumps(BOT), "application/json", headers=by_token),
            client.get("/api/safety", headers={"Cookie": "sessionid=" + "a" * 32}),
        ]
    for answer in found:
        assert (answer.status_code, answer.json()["code"]) == (503, "not_safe_to_serve")
        assert set(answer.json()) == {"code", "message", "reasons"}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff{}", b"[" * 100_000, b'{"bot_id": ' + b"9" * 5_000 + b"}", b"null"])
def test_body_that_can_not_be_read_is_422(token: str, body: bytes) -> None:
    answer = Client().post("/api/orders", body, "application/json", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "bad_input"


@pytest.mark.parametrize("has_token", [True, False])
def test_form_of_a_session_is_bad_input_and_stops_nothing(has_token: bool) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("owner"))
    client.get("/admin/password_change/")
    form = {"level": "halted", "reason": "a form", "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    if not has_token:
        del form["csrfmiddlewaretoken"]
    assert client.post("/api/safety/kill-switch", form).status_code == (422 if has_token else 403)
    assert not KillRun.objects.exists()


def test_name_that_is_taken_is_409(token: str) -> None:
    caller = Caller(token)
    assert caller.post("/bots", **BOT)[0] == 201
    status, answer = caller.post("/bots", **{**BOT, "name": f" {BOT['name']} "})
    assert (status, answer["code"]) == (409, "denied")


@pytest.mark.parametrize("venue", ["kraken", "alpaca"])
def test_live_order_without_a_market_is_denied_by_the_gate_and_audited_like_any_other(
    token: str, kraken: KrakenLoopback, settings: Settings, venue: str
) -> None:
    bot = live_desk(kraken, settings)
    open_gates(settings, live=False)
    Bot.objects.filter(pk=bot.pk).update(venue=venue, symbol="NOPE/USD")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    status, answer = Caller(TOKEN).post("/orders", bot_id=bot.pk, **ORDER)
    assert (status, answer["code"]) == (409, "LIVE_GATE_CLOSED")
    reasons = {one["code"] for one in answer["reasons"]}
    assert {"INVALID_MARKET_DATA", "INSTRUMENT_RULES", "MARKET_CLOSED"} <= reasons
    assert OrderEvent.objects.get(event="intent").details["quote_source"].startswith("none: ")
    assert OrderEvent.objects.get(event="denied").is_live == 1


def test_live_sale_without_a_market_is_denied_with_every_gate_open(
    token: str, kraken: KrakenLoopback, settings: Settings
) -> None:
    bot = live_desk(kraken, settings)
    Position.objects.create(bot=bot, is_live=True, quantity=Decimal(1), cost=Decimal(100))
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    Bot.objects.filter(pk=bot.pk).update(symbol="NOPE/USD")
    sale = {"side": "sell", "type": "limit", "quantity": "0.5", "limit_price": "90", "reduce_only": True}
    status, answer = Caller(TOKEN).post("/orders", bot_id=bot.pk, **sale)
    assert status == 409
    assert "INVALID_MARKET_DATA" in {one["code"] for one in answer["reasons"]}
    assert not kraken.log("AddOrder")


def test_paper_order_without_a_market_is_denied_and_audited(token: str, floor: Floor) -> None:
    bot = make_bot()
    Bot.objects.filter(pk=bot.pk).update(symbol="NOPE")
    status, answer = Caller(TOKEN).post("/orders", bot_id=bot.pk, **ORDER)
    assert (status, answer["code"]) == (409, "INVALID_MARKET_DATA")
    # The reason names what is missing, and no control gives up computing.
    assert "There is no price of NOPE" in answer["reasons"][0]["message"]
    assert not any(
        "could not be computed" in one["message"] for one in answer["reasons"] if one["code"] != "INSUFFICIENT_FUNDS"
    )
    assert OrderEvent.objects.filter(event="denied").count() == 1


def test_bot_that_is_set_live_between_the_asking_for_rights_and_the_order_gets_none(
    token: str, kraken: KrakenLoopback, settings: Settings
) -> None:
    bot = live_desk(kraken, settings)
    wanted = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.3"))
    with pytest.raises(BotActionError, match="meanwhile"):
        place_order(bot.pk, wanted, actor="operator", is_live=False)
    assert not OrderEvent.objects.exists()
    assert not kraken.log("AddOrder")


def test_database_that_goes_away_after_the_send_is_told_and_the_order_is_found_again(
    token: str, kraken: KrakenLoopback, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the 503 must not think that nothing was sent."""
    bot = live_desk(kraken, settings)
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
    with ExitStack() as outage:

        class CutOff:
            def submit(self, order: OrderIntent, permit: Permit, deadline: datetime) -> OrderReport:
                report = broker_for("kraken", is_live=True).submit(order, permit, deadline)
                outage.enter_context(database_down())
                return report

        monkeypatch.setattr("bots.executor.venue.broker_for", lambda *args, **kwargs: CutOff())
        caller = Caller(TOKEN)
        caller._client.raise_request_exception = False
        status, answer = caller.post("/orders", bot_id=bot.pk, **{**ORDER, "quantity": "0.3"})
    assert (status, answer["code"]) == (503, "not_safe_to_serve")
    assert "never send an order twice" in answer["message"]
    assert Order.objects.get().status == "submitting"
    for seconds in (20, 26):
        with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=False):
            sweep(timezone.now())
    assert Order.objects.get().status == "filled"
    assert len(kraken.log("AddOrder")) == 1
