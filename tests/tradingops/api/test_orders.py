"""Orders over the API: found by every filter, and asked back with an honest answer."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from audit.models import OrderEvent
from bots.models import Bot, Order
from bots.order_states import OrderStatus
from safety import kill_switch
from safety.intents import Level, OrderType, Side
from tests.bots.builders import Floor, events_of, floor, make_bot, trade
from tests.bots.live import live_desk, live_intent, open_gates, send
from tests.loopback import faults
from tests.loopback.client import BTC, KrakenLoopback
from tests.tradingops.api.asking import TOKEN, Script, fits, script
from tradingops.api.order_shapes import OrderOut, OrderPage

__all__ = ["floor", "script"]


def stored(number: int, status: str = OrderStatus.FILLED, **changes: Any) -> Order:
    """Keep an order as it might have been made."""
    now = timezone.now()
    fields: dict[str, Any] = {
        "client_order_id": f"x-{number}", "venue": "kraken", "symbol": BTC, "side": Side.BUY, "type": OrderType.MARKET,
        "status": status, "quantity": Decimal(1), "is_live": False, "leg": "leg", "actor": "test", "created_at": now,
        "updated_at": now, **changes,
    }  # fmt: skip
    return Order.objects.create(**fields)


class TestLooking:
    def test_order_is_shown_whole_and_alike_by_itself_and_in_the_list(self, script: Script, floor: Floor) -> None:
        order = trade(make_bot(), Side.BUY, "0.50").order
        body = script.ok("/orders")
        fits(OrderPage, body)
        one = script.ok(f"/orders/{order.client_order_id}")
        fits(OrderOut, one)
        assert body == {"items": [one], "next": None}
        assert (one["status"], one["quantity"], one["filled_quantity"]) == ("filled", "0.5", "0.5")
        assert (one["limit_price"], one["cancel_requested_at"], one["is_live"]) == (None, None, False)
        assert one["average_price"] == "100.04"
        assert one["created_at"].endswith("Z")

    @pytest.mark.parametrize("order_id", ["nothing", "%F0%9F%92%A9", "..%2F..", "x" * 64, "' OR 1=1 --"])
    def test_order_that_is_not_there_is_404(self, script: Script, order_id: str) -> None:
        status, body = script.get(f"/orders/{order_id}")
        assert (status, body["code"]) == (404, "not_found")

    def test_id_that_is_longer_than_any_is_bad_input(self, script: Script) -> None:
        assert script.get(f"/orders/{'x' * 65}")[0] == 422

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, [5, 4, 3, 2, 1]),
            ({"venue": "alpaca"}, [3]),
            ({"symbol": "ETH/USD"}, [2]),
            ({"status": "unknown"}, [4]),
            ({"is_live": True}, [5]),
            ({"side": "sell"}, [2]),
            ({"side": "sell", "symbol": BTC}, []),
            ({"status": "filled", "is_live": False, "venue": "kraken", "side": "buy"}, [1]),
        ],
    )
    def test_filters_find_what_they_say(self, script: Script, query: dict[str, Any], expected: list[int]) -> None:
        stored(1)
        stored(2, symbol="ETH/USD", side=Side.SELL)
        stored(3, venue="alpaca", symbol="AAPL")
        stored(4, OrderStatus.UNKNOWN)
        stored(5, is_live=True)
        found = [row["client_order_id"] for row in script.ok("/orders", **query)["items"]]
        assert found == [f"x-{number}" for number in expected]

    def test_orders_of_one_bot_and_those_of_nobody(self, script: Script, floor: Floor) -> None:
        one, other = make_bot("one"), make_bot("other")
        mine = trade(one, Side.BUY, "0.5").order
        trade(other, Side.BUY, "0.5")
        stored(1, OrderStatus.EXTERNAL, is_live=True)
        rows = script.ok("/orders", bot_id=one.pk)["items"]
        assert [row["client_order_id"] for row in rows] == [mine.client_order_id]
        assert script.ok("/orders", status="external")["items"][0]["bot_id"] is None

    def test_since_is_included_and_until_is_not(self, script: Script) -> None:
        for number, minute in enumerate((0, 1, 2)):
            stored(number, created_at=timezone.now().replace(2026, 1, 31, 12, minute, 0, 0))
        query = {"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:02:00Z"}
        assert [row["client_order_id"] for row in script.ok("/orders", **query)["items"]] == ["x-1", "x-0"]
        assert script.ok("/orders", since="2026-01-31T12:02:00.000001Z")["items"] == []

    def test_page_costs_as_many_queries_with_200_orders_as_with_one(self, script: Script) -> None:
        stored(1)
        script.ok("/orders")
        with CaptureQueriesContext(connection) as one:
            script.ok("/orders")
        for number in range(2, 202):
            stored(number)
        with CaptureQueriesContext(connection) as many:
            assert len(script.ok("/orders", limit=200)["items"]) == 200
        assert len(many) == len(one)


class TestCancelOnPaper:
    def resting(self) -> Order:
        return trade(make_bot(), Side.BUY, "0.5", "90").order

    def test_resting_order_is_cancelled_at_once_with_the_reason_kept(self, script: Script, floor: Floor) -> None:
        order = self.resting()
        status, body = script.post(f"/orders/{order.client_order_id}/cancel", {"reason": "not wanted"})
        assert (status, body["status"]) == (200, "canceled")
        assert body["cancel_requested_at"] is not None
        asked = OrderEvent.objects.get(event="cancel_requested")
        assert (asked.actor, asked.reason) == ("api:worker", "not wanted")

    def test_body_may_be_left_out(self, script: Script, floor: Floor) -> None:
        order = self.resting()
        assert script.post(f"/orders/{order.client_order_id}/cancel")[0] == 200

    def test_order_that_has_ended_is_409_and_says_so(self, script: Script, floor: Floor) -> None:
        order = trade(make_bot(), Side.BUY, "0.5").order
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert (status, body["code"]) == (409, "denied")
        assert "ended already: it is filled" in body["message"]

    def test_second_cancel_says_that_it_is_cancelled_and_adds_nothing(self, script: Script, floor: Floor) -> None:
        order = self.resting()
        script.post(f"/orders/{order.client_order_id}/cancel")
        rows = events_of(order)
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert status == 409
        assert "it is canceled" in body["message"]
        assert events_of(order) == rows

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            ("pending", "not sent yet"),
            ("submitting", "on its way"),
            ("unknown", "nobody knows yet"),
            ("not_sent", "is not sent"),
        ],
    )
    def test_order_that_does_not_rest_is_409_with_what_is_the_case(
        self, script: Script, floor: Floor, status: str, said: str
    ) -> None:
        stored(1, status, bot=make_bot())
        code, body = script.post("/orders/x-1/cancel")
        assert code == 409
        assert said in body["message"]
        assert not OrderEvent.objects.exists()

    def test_order_of_somebody_else_is_left_alone(self, script: Script) -> None:
        stored(1, OrderStatus.EXTERNAL)
        code, body = script.post("/orders/x-1/cancel")
        assert code == 409
        assert "cancel it there" in body["message"]

    def test_unknown_field_and_no_text_are_bad_input(self, script: Script, floor: Floor) -> None:
        order = self.resting()
        bodies: list[Any] = [
            {"why": "x"},
            {"reason": 7},
            {"reason": "x" * 501},
            {"reason": "a\0b"},
            {"reason": "\ud800"},
            [],
            "x",
        ]
        for body in bodies:
            assert script.post(f"/orders/{order.client_order_id}/cancel", body)[0] == 422, body
        assert Order.objects.get().status == "accepted"


class TestCancelLive:
    @pytest.fixture
    def bot(self, script: Script, kraken: KrakenLoopback, settings: Settings) -> Bot:
        bot = live_desk(kraken, settings)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
        return bot

    def resting(self, bot: Bot) -> Order:
        order = send(live_intent(bot, limit="99")).order
        assert order.status == "accepted"
        return order

    def test_live_order_is_asked_back_at_the_venue(self, script: Script, bot: Bot, kraken: KrakenLoopback) -> None:
        order = self.resting(bot)
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert (status, body["status"]) == (200, "canceled")
        assert len(kraken.log("CancelOrder")) == 1

    def test_halted_trading_and_a_bot_on_paper_keep_no_cancel_back(self, script: Script, bot: Bot) -> None:
        order = self.resting(bot)
        kill_switch.engage(Level.HALTED, "a drill", actor="test", cancel_resting=False)
        Bot.objects.filter(pk=bot.pk).update(dry_run=True)
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert (status, body["status"]) == (200, "canceled")

    def test_shut_gate_denies_it_with_every_lock_and_audits_that(
        self, script: Script, bot: Bot, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        order = self.resting(bot)
        open_gates(settings, live=False)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, kraken_api_key="")
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert (status, body["code"]) == (409, "LIVE_GATE_CLOSED")
        assert {reason["actual"] for reason in body["reasons"]} == {"ALLOW_LIVE_TRADING shut", "KEYS shut"}
        assert not kraken.log("CancelOrder")
        row = OrderEvent.objects.get(event="denied")
        assert (row.is_live, row.actor, row.status, row.details["what"]) == (1, "api:worker", "accepted", "cancel")
        assert Order.objects.get(pk=order.pk).cancel_requested_at is None

    def test_cancel_that_the_venue_does_not_answer_is_told_as_not_confirmed(
        self, script: Script, bot: Bot, kraken: KrakenLoopback
    ) -> None:
        order = self.resting(bot)
        kraken.fault(faults.request_lost("CancelOrder"))
        status, body = script.post(f"/orders/{order.client_order_id}/cancel")
        assert (status, body["status"]) == (200, "accepted")
        assert body["cancel_requested_at"] is not None
        assert script.ok(f"/orders/{order.client_order_id}")["cancel_requested_at"] is not None
