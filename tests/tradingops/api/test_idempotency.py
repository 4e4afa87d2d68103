"""Idempotency-Key: whoever asks again gets what the first request made, and nothing is ever made twice."""

import threading
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent, OrderEvent
from bots import hand_orders, manager
from bots.exposure import Market
from bots.hand_orders import HandOrder, Once
from bots.markets import market_for
from bots.models import Bot, Order
from bots.workers.housekeeping import forget_old_api_requests
from safety import api_requests, api_tokens
from safety.api_models import ApiToken
from safety.api_requests import CLAIM, KEPT, Asked, ClaimLostError, KeyReusedError
from safety.api_scopes import Scope
from safety.intents import OrderType, Side
from safety.models import ApiRequest, RiskLimits
from safety.permissions import OPERATOR, VIEWER
from tests.bots.builders import Floor, floor, make_bot
from tests.bots.live import live_desk
from tests.loopback.client import KrakenLoopback
from tests.tradingops.test_api import database_down
from tests.tradingops.test_api_endpoints import BOT, ORDER, TOKEN, token
from tests.tradingops.test_api_endpoints import Caller as AnyCaller
from tradingops.api import idempotency

__all__ = ["floor", "token"]
pytestmark = pytest.mark.usefixtures("committed_db")
KEY = "rebalance-1"
RESTS = {"side": "buy", "type": "limit", "quantity": "0.5", "limit_price": "90"}


class Caller(AnyCaller):
    """A client that sends a key."""

    def ask(self, path: str, key: str | None = KEY, **body: Any) -> tuple[int, Any]:
        headers = dict(self._headers)
        if key is not None:
            self._headers["Idempotency-Key"] = key
        try:
            return self.post(path, **body)
        finally:
            self._headers = headers


@pytest.fixture
def caller(token: str) -> Caller:
    return Caller(token)


@pytest.fixture
def bot(floor: Floor) -> Bot:
    return make_bot()


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for ten seconds."""
    monkeypatch.setattr(idempotency, "WAIT_S", 0.3)


def asked_for(body: str = "b", key: str = KEY, caller: str = "api:worker", endpoint: str = "POST /orders") -> Asked:
    return Asked(caller, key, endpoint, body)


def begun(asked: Asked, made: str = "", ago: timedelta = timedelta(0)) -> ApiRequest:
    row = api_requests.begin(asked, made, timezone.now() - ago)
    assert row is not None
    return row


def hashed(bot: Bot, **order: str) -> str:
    """Return the hash that the API keeps of an order's body, taken from one that was asked for and is forgotten again."""
    Caller(TOKEN).ask("/orders", "probe", bot_id=bot.pk, **order)
    found: str = ApiRequest.objects.get(key="probe").body_hash
    ApiRequest.objects.all().delete()
    return found


class TestOrders:
    def test_same_key_and_body_gives_the_same_order_as_it_now_stands(self, caller: Caller, bot: Bot) -> None:
        first = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        assert (first[0], first[1]["status"]) == (201, "accepted")
        manager.cancel_order(Order.objects.get().pk, actor="test")
        status, again = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        assert (status, again["client_order_id"]) == (201, first[1]["client_order_id"])
        assert again["status"] == "canceled"
        assert Order.objects.count() == 1

    def test_without_a_key_each_request_makes_an_order(self, caller: Caller, bot: Bot) -> None:
        for quantity in ("0.4", "0.6"):
            assert caller.ask("/orders", None, bot_id=bot.pk, **{**RESTS, "quantity": quantity})[0] == 201
        assert Order.objects.count() == 2
        assert not ApiRequest.objects.exists()

    def test_what_means_the_same_is_the_same_body(self, caller: Caller, bot: Bot) -> None:
        caller.ask("/orders", bot_id=bot.pk, **RESTS)
        turned = dict(reversed((RESTS | {"quantity": "0.500"}).items()))
        assert caller.ask("/orders", **turned, bot_id=bot.pk)[0] == 201
        assert Order.objects.count() == 1

    @pytest.mark.parametrize("change", [{"quantity": "0.6"}, {"limit_price": "91"}, {"reduce_only": True}])
    def test_another_body_is_409_and_does_nothing(self, caller: Caller, bot: Bot, change: dict[str, Any]) -> None:
        caller.ask("/orders", bot_id=bot.pk, **RESTS)
        status, answer = caller.ask("/orders", bot_id=bot.pk, **{**RESTS, **change})
        assert (status, answer["code"]) == (409, "key_reused")
        assert Order.objects.count() == 1

    def test_another_endpoint_with_the_key_is_409(self, caller: Caller, bot: Bot) -> None:
        caller.ask("/orders", bot_id=bot.pk, **RESTS)
        status, answer = caller.ask("/bots", **BOT)
        assert (status, answer["code"]) == (409, "key_reused")
        assert Bot.objects.count() == 1

    def test_denial_is_told_again_with_every_reason_also_when_its_cause_is_gone(self, caller: Caller, bot: Bot) -> None:
        RiskLimits.objects.update_or_create(
            scope=f"bot:{bot.pk}", defaults={"notional_usd_max_paper": Decimal(1), "open_orders_bot_max": 1}
        )
        first = caller.ask("/orders", bot_id=bot.pk, **ORDER)
        assert first[0] == 409
        assert first[1]["reasons"]
        RiskLimits.objects.filter(scope=f"bot:{bot.pk}").delete()
        assert caller.ask("/orders", bot_id=bot.pk, **ORDER) == first
        assert Order.objects.get().status == "denied"
        assert OrderEvent.objects.filter(event="denied").count() == 1
        assert caller.ask("/orders", "another", bot_id=bot.pk, **ORDER)[0] == 201

    def test_denial_that_left_no_order_is_told_again(self, caller: Caller, bot: Bot) -> None:
        manager.archive(bot.pk, actor="test")
        first = caller.ask("/orders", bot_id=bot.pk, **ORDER)
        assert (first[0], first[1]["code"]) == (409, "denied")
        Bot.objects.filter(pk=bot.pk).update(status="stopped")
        assert caller.ask("/orders", bot_id=bot.pk, **ORDER) == first
        assert not Order.objects.exists()

    def test_order_of_a_bot_that_was_archived_since_is_still_told(self, caller: Caller, bot: Bot) -> None:
        made = caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["client_order_id"]
        manager.archive(bot.pk, actor="test")
        status, again = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        assert (status, again["client_order_id"], again["status"]) == (201, made, "canceled")

    def test_order_of_an_hour_ago_is_found_again(self, caller: Caller, bot: Bot) -> None:
        made = caller.ask("/orders", bot_id=bot.pk, **ORDER)[1]
        with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False):
            assert caller.ask("/orders", bot_id=bot.pk, **ORDER) == (201, made)


class TestWhose:
    def test_callers_do_not_see_each_others_keys(self, caller: Caller, bot: Bot, settings: Settings) -> None:
        ids = {caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["client_order_id"]}
        for one in (Caller(group=OPERATOR), Caller(group=OPERATOR)):
            status, answer = one.ask("/orders", bot_id=bot.pk, **{**RESTS, "quantity": f"0.{len(ids)}"})
            assert status == 201
            ids.add(answer["client_order_id"])
        assert len(ids) == Order.objects.count() == 3

    def test_token_and_the_one_before_it_are_one_caller(self, caller: Caller, bot: Bot) -> None:
        made = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        assert Caller("p" * 40).ask("/orders", bot_id=bot.pk, **RESTS) == made
        assert Order.objects.count() == 1

    def test_scoped_token_has_its_own_keys_also_under_a_name_that_another_had(self, caller: Caller, bot: Bot) -> None:
        owner, now = User.objects.create_superuser("owner"), timezone.now()
        ids = {caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["client_order_id"]}
        for quantity in ("0.3", "0.4"):
            row, text = api_tokens.make("desk", Scope.OPERATE, None, maker=owner, reason="a test", now=now)
            status, answer = Caller(text).ask("/orders", bot_id=bot.pk, **{**RESTS, "quantity": quantity})
            assert status == 201
            ids.add(answer["client_order_id"])
            ApiToken.objects.filter(pk=row.pk).delete()
        assert len(ids) == 3

    def test_person_keeps_the_keys_under_another_name(self, bot: Bot) -> None:
        person = Caller(group=OPERATOR)
        made = person.ask("/orders", bot_id=bot.pk, **RESTS)
        User.objects.update(username="renamed")
        assert person.ask("/orders", bot_id=bot.pk, **RESTS) == made
        assert Order.objects.count() == 1


class TestKey:
    @pytest.mark.parametrize("key", ["a", "k" * 255, "a b~!\"'{}", "0"])
    def test_printable_ascii_up_to_255_is_a_key(self, caller: Caller, bot: Bot, key: str) -> None:
        assert caller.ask("/orders", key, bot_id=bot.pk, **RESTS)[0] == 201
        assert ApiRequest.objects.get().key == key

    @pytest.mark.parametrize("key", ["", "k" * 256, "ключ", "é", "tab\there", "\x7f"])
    @pytest.mark.parametrize("path", ["/orders", "/bots"])
    def test_anything_else_is_422_and_does_nothing(self, caller: Caller, bot: Bot, key: str, path: str) -> None:
        body = {"bot_id": bot.pk, **RESTS} if path == "/orders" else BOT
        status, answer = caller.ask(path, key, **body)
        assert (status, answer["code"]) == (422, "bad_input")
        assert "Idempotency-Key" in answer["reasons"][0]["message"]
        assert not Order.objects.exists()
        assert not ApiRequest.objects.exists()


class TestKeepsNothing:
    def test_what_is_refused_before_it_begins(self, caller: Caller, bot: Bot) -> None:
        assert Caller("wrong" * 9).ask("/orders", bot_id=bot.pk, **ORDER)[0] == 401
        assert Caller(group=VIEWER).ask("/orders", bot_id=bot.pk, **ORDER)[0] == 403
        assert caller.ask("/orders", bot_id=bot.pk, **{**ORDER, "quantity": "0"})[0] == 422
        assert caller.ask("/orders", bot_id=bot.pk + 1, **ORDER)[0] == 404
        assert not ApiRequest.objects.exists()
        assert caller.ask("/orders", bot_id=bot.pk, **ORDER)[0] == 201

    def test_bot_with_bad_parameters_leaves_the_key_free_for_a_better_body(self, caller: Caller) -> None:
        assert caller.ask("/bots", **BOT, params={"nonsense": 1})[0] == 422
        assert caller.ask("/bots", **{**BOT, "venue": "nowhere"})[0] == 422
        assert not ApiRequest.objects.exists()
        assert caller.ask("/bots", **BOT)[0] == 201

    @pytest.mark.usefixtures("short_wait")
    def test_database_that_goes_away_leaves_the_key_to_be_tried_again_when_the_claim_has_run_out(
        self, caller: Caller, bot: Bot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caller._client.raise_request_exception = False
        with ExitStack() as outage:

            def cut_off(venue: str, symbol: str, now: datetime) -> Market:
                found = market_for(venue, symbol, now)
                outage.enter_context(database_down())
                return found

            monkeypatch.setattr(hand_orders, "market_for", cut_off)
            assert caller.ask("/orders", bot_id=bot.pk, **ORDER)[0] == 503
        monkeypatch.setattr(hand_orders, "market_for", market_for)
        row = ApiRequest.objects.get()
        assert caller.ask("/orders", bot_id=bot.pk, **ORDER)[1]["code"] == "still_running"
        assert not Order.objects.exists()
        with time_machine.travel(row.claimed_until, tick=False):
            status, answer = caller.ask("/orders", bot_id=bot.pk, **ORDER)
        assert (status, answer["client_order_id"], answer["status"]) == (201, row.made, "filled")
        assert Order.objects.count() == 1

    def test_fault_of_ours_leaves_the_key_to_be_tried_again_at_once(
        self, caller: Caller, floor: Floor, bot: Bot
    ) -> None:
        caller._client.raise_request_exception = False
        floor.feed.broken = ZeroDivisionError("by zero")
        assert caller.ask("/orders", bot_id=bot.pk, **ORDER)[0] == 500
        row = ApiRequest.objects.get()
        floor.feed.broken = None
        status, answer = caller.ask("/orders", bot_id=bot.pk, **ORDER)
        assert (status, answer["client_order_id"]) == (201, row.made)


class TestBots:
    def test_same_key_and_body_gives_the_same_bot_as_it_now_stands(self, caller: Caller) -> None:
        first = caller.ask("/bots", **BOT)
        assert first[0] == 201
        Bot.objects.update(name="renamed")
        status, again = caller.ask("/bots", **BOT)
        assert (status, again["id"], again["name"]) == (201, first[1]["id"], "renamed")
        assert Bot.objects.count() == 1
        assert OperatorEvent.objects.filter(action="bot_created").count() == 1

    def test_name_that_is_taken_is_denied_again_also_when_it_is_free(self, caller: Caller) -> None:
        caller.ask("/bots", None, **BOT)
        first = caller.ask("/bots", **BOT)
        assert first[0] == 409
        Bot.objects.update(name="renamed")
        assert caller.ask("/bots", **BOT) == first
        assert Bot.objects.count() == 1

    def test_another_body_is_409(self, caller: Caller) -> None:
        caller.ask("/bots", **BOT)
        assert caller.ask("/bots", **{**BOT, "name": "second"})[1]["code"] == "key_reused"
        assert Bot.objects.count() == 1

    def test_attempt_that_was_overtaken_makes_no_bot(self, caller: Caller) -> None:
        row = begun(asked_for(endpoint="POST /bots"), ago=CLAIM)
        assert api_requests.take_over(ApiRequest.objects.get(), timezone.now())
        new = manager.NewBot("late", "replay", "BTC-PERP", "smart_dca", Decimal(250), {})
        with pytest.raises(ClaimLostError):
            manager.create(new, actor="test", also=lambda bot: api_requests.keep_made(row, str(bot.pk)))
        assert not Bot.objects.exists()
        assert not OperatorEvent.objects.filter(action="bot_created").exists()


@pytest.mark.usefixtures("short_wait")
class TestWhileTheFirstRuns:
    def test_another_is_told_so_after_waiting_and_nothing_is_made(self, caller: Caller, bot: Bot) -> None:
        begun(asked_for(hashed(bot, **RESTS)), "mfirst")
        status, answer = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        assert (status, answer["code"]) == (409, "still_running")
        assert not Order.objects.filter(client_order_id="mfirst").exists()

    def test_another_gets_the_first_ones_order_as_soon_as_it_is_there(
        self, caller: Caller, bot: Bot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(idempotency, "WAIT_S", 30.0)
        begun(asked_for(hashed(bot, **RESTS)), "mfirst")
        answers: list[tuple[int, Any]] = []

        def ask() -> None:
            try:
                answers.append(caller.ask("/orders", bot_id=bot.pk, **RESTS))
            finally:
                connection.close()

        second = threading.Thread(target=ask)
        second.start()
        wanted = HandOrder(Side.BUY, OrderType.LIMIT, Decimal("0.4"), Decimal(91))
        hand_orders.place_order(bot.pk, wanted, actor="test", once=Once("mfirst", timezone.now()))
        second.join(30)
        assert [(status, body["client_order_id"]) for status, body in answers] == [(201, "mfirst")]

    def test_no_more_wait_than_leave_a_thread_for_the_kill_switch(
        self, caller: Caller, bot: Bot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(idempotency, "WAIT_S", 3600.0)
        begun(asked_for(hashed(bot, **RESTS)), "mfirst")
        for _ in range(idempotency.WAITING_MAX):
            assert idempotency._waiting.acquire(blocking=False)
        try:
            assert caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["code"] == "still_running"
        finally:
            for _ in range(idempotency.WAITING_MAX):
                idempotency._waiting.release()

    @pytest.mark.parametrize(("after_s", "takes_over"), [(29.9, False), (30, True), (30.1, True)])
    def test_it_is_taken_over_when_its_time_is_up(
        self, caller: Caller, bot: Bot, after_s: float, takes_over: bool
    ) -> None:
        now = timezone.now()
        asked = asked_for(hashed(bot, **RESTS))
        with time_machine.travel(now, tick=False):
            begun(asked, "mfirst")
        with time_machine.travel(now + timedelta(seconds=after_s), tick=False):
            row = ApiRequest.objects.get()
            assert api_requests.take_over(row, timezone.now()) is takes_over
            assert api_requests.is_claimed(ApiRequest.objects.get(), timezone.now())

    def test_claim_from_far_in_the_future_holds_nobody_up(self) -> None:
        row = begun(asked_for(), "mfirst", ago=timedelta(days=-1))
        assert not api_requests.is_claimed(row, timezone.now())

    def test_of_two_that_take_over_one_does(self) -> None:
        begun(asked_for(), "mfirst", ago=CLAIM)
        rows = [ApiRequest.objects.get(), ApiRequest.objects.get()]
        assert [api_requests.take_over(row, timezone.now()) for row in rows] == [True, False]

    def test_what_got_done_at_the_last_moment_is_not_taken_over(self) -> None:
        row = begun(asked_for(endpoint="POST /bots"), ago=CLAIM)
        seen = ApiRequest.objects.get()
        api_requests.keep_made(row, "1")
        assert not api_requests.take_over(seen, timezone.now())


class TestLate:
    WANTED = HandOrder(Side.BUY, OrderType.LIMIT, Decimal("0.5"), Decimal(90))

    @pytest.mark.parametrize(("age_s", "status"), [(29, "accepted"), (31, "denied")])
    def test_attempt_that_froze_sends_nothing_that_is_older_than_an_intent_may_be(
        self, bot: Bot, age_s: float, status: str
    ) -> None:
        once = Once("mlate", timezone.now() - timedelta(seconds=age_s))
        made = hand_orders.place_order(bot.pk, self.WANTED, actor="test", once=once)
        assert Order.objects.get().status == status
        assert ("INTENT_EXPIRED" in {one.code for one in made.denials}) is (status == "denied")

    def test_attempt_that_froze_finds_the_order_of_the_one_that_took_over(self, bot: Bot) -> None:
        now = timezone.now()
        hand_orders.place_order(bot.pk, self.WANTED, actor="test", once=Once("monce", now))
        for later_s in (1, 3600):
            with time_machine.travel(now + timedelta(seconds=later_s), tick=False):
                again = hand_orders.place_order(bot.pk, self.WANTED, actor="test", once=Once("monce", now))
                assert (again.is_denied, again.order.client_order_id) == (True, "monce")
        assert Order.objects.get().status == "accepted"

    def test_live_attempt_that_froze_finds_the_order_and_sends_nothing(
        self, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        bot = live_desk(kraken, settings)
        wanted = HandOrder(Side.BUY, OrderType.MARKET, Decimal("0.3"))
        for _ in range(2):
            found = hand_orders.place_order(bot.pk, wanted, actor="test", once=Once("monce", timezone.now()))
            assert found.order.status == "filled"
        assert len(kraken.log("AddOrder")) == 1

    def test_denial_is_read_past_the_row_of_an_attempt_to_use_the_id_again(self, caller: Caller, bot: Bot) -> None:
        RiskLimits.objects.update_or_create(scope=f"bot:{bot.pk}", defaults={"notional_usd_max_paper": Decimal(1)})
        first = caller.ask("/orders", bot_id=bot.pk, **RESTS)
        order = Order.objects.get()
        hand_orders.place_order(bot.pk, self.WANTED, actor="x", once=Once(order.client_order_id, timezone.now()))
        assert OrderEvent.objects.filter(event="denied").count() == 2
        assert caller.ask("/orders", bot_id=bot.pk, **RESTS) == first


class TestKept:
    def test_key_is_remembered_for_thirty_days_and_new_after_that(self, caller: Caller, bot: Bot) -> None:
        made = caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["client_order_id"]
        created_at = ApiRequest.objects.get().created_at
        assert api_requests.forget_old(created_at + KEPT) == 0
        assert caller.ask("/orders", bot_id=bot.pk, **RESTS)[1]["client_order_id"] == made
        assert api_requests.forget_old(created_at + KEPT + timedelta(seconds=1)) == 1
        answer = caller.ask("/orders", bot_id=bot.pk, **{**RESTS, "quantity": "0.4"})[1]
        assert answer["client_order_id"] != made

    def test_chore_forgets_what_is_old(self, caller: Caller, bot: Bot) -> None:
        begun(asked_for(), "mold", ago=KEPT + timedelta(days=1))
        begun(asked_for(key="young"), "myoung")
        forget_old_api_requests(timezone.now())
        assert [row.made for row in ApiRequest.objects.all()] == ["myoung"]


class TestClaim:
    def test_is_refused_inside_a_transaction_that_could_be_rolled_back(self) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError):
            begun(asked_for())

    def test_second_claim_of_a_key_is_none(self) -> None:
        begun(asked_for())
        assert api_requests.begin(asked_for(), "other", timezone.now()) is None

    @pytest.mark.parametrize("other", [asked_for("c"), asked_for(endpoint="POST /bots")])
    def test_key_of_another_request_is_refused(self, other: Asked) -> None:
        begun(asked_for())
        with pytest.raises(KeyReusedError):
            api_requests.find(other)

    def test_row_without_an_id_goes_when_it_is_released_and_one_with_an_id_stays(self) -> None:
        api_requests.release(begun(asked_for()))
        assert not ApiRequest.objects.exists()
        api_requests.release(begun(asked_for(), "mstays"))
        assert not api_requests.is_claimed(ApiRequest.objects.get(), timezone.now())

    def test_attempt_that_was_overtaken_neither_releases_nor_keeps(self) -> None:
        row = begun(asked_for(), "mfirst", ago=CLAIM)
        api_requests.take_over(ApiRequest.objects.get(), timezone.now())
        api_requests.release(row)
        api_requests.keep_denial(row, {"message": "late"})
        now = ApiRequest.objects.get()
        assert now.outcome is None
        assert api_requests.is_claimed(now, timezone.now())
