"""Bots over the API: looked at, changed, started, paused, stopped, sold out and retired."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent, OrderEvent
from bots import manager
from bots.manager import BotActionError
from bots.models import Account, Bot, BotTick, Order, Position
from safety import kill_switch
from safety.intents import Level, Side
from safety.permissions import OPERATOR, RISK_MANAGER, VIEWER
from tests.bots.builders import Floor, actions_on, floor, make_bot, no_market, position_of, trade
from tests.bots.live import live_desk, open_gates
from tests.loopback.client import KrakenLoopback
from tests.tradingops.api.asking import TOKEN, Script, fits, script
from tradingops.api.bot_shapes import BotOut, BotPage

__all__ = ["floor", "script"]
ACTS = (
    ("POST", "start"),
    ("POST", "stop"),
    ("POST", "pause"),
    ("POST", "close-position"),
    ("PATCH", ""),
    ("DELETE", ""),
)


def act(script: Script, bot: Bot, what: str, body: Any = None) -> tuple[int, Any]:
    return script.post(f"/bots/{bot.pk}/{what}", body)


class TestLooking:
    def test_bot_is_shown_whole_and_alike_by_itself_and_in_the_list(self, script: Script, floor: Floor) -> None:
        bot = make_bot(capital_usd=Decimal("1000.50"))
        trade(bot, Side.BUY, "0.5")
        floor.feed.move_to("110", "110.02")
        one, page = script.ok(f"/bots/{bot.pk}"), script.ok("/bots")
        fits(BotOut, one)
        fits(BotPage, page)
        for told in (one, page["items"][0]):
            # The one moves with the clock.
            told["position"].pop("mark_seen_at")
        assert page == {"items": [one], "next": None}
        assert (one["capital_usd"], one["dry_run"], one["status"], one["paper_broker"]) == (
            "1000.5",
            True,
            "running",
            "built_in",
        )
        assert one["position"] == {
            "is_live": False, "quantity": "0.5", "cost": "50.02", "average_price": "100.04", "mark_price": "110",
            "mark_is_stale": False, "value": "55", "reason": None,
        }  # fmt: skip
        assert (one["pnl"]["unrealised"], one["pnl"]["reason"]) == ("4.98", None)
        assert Decimal(one["pnl"]["total"]) == Decimal(one["pnl"]["realised"]) + Decimal("4.98")
        assert one["blocked_by"] == []

    def test_list_takes_one_statement_and_tells_of_each_bot_what_is_told_of_it_alone(
        self, script: Script, floor: Floor
    ) -> None:
        """Whether it never ticked and has no book yet, has ticked, or has a book of each kind."""
        make_bot("bare")
        said = [{"code": "COOLDOWN", "message": "It waits.", "limit": "60 s", "actual": "5 s"}]
        ticked = make_bot("ticked")
        BotTick.objects.update_or_create(bot=ticked, defaults={"ticked_at": timezone.now(), "blocked_by": said})
        live = make_bot("live", venue="kraken", symbol="BTC/USD", running=False)
        Bot.objects.filter(pk=live.pk).update(dry_run=False)
        for is_live, quantity in ((False, "0.25"), (True, "0.5")):
            Position.objects.create(
                bot=live, is_live=is_live, quantity=Decimal(quantity), cost=Decimal(20), realised_pnl=Decimal("-1.5"),
                fees=Decimal("0.25"), mark_price=Decimal(50), marked_at=timezone.now(),
            )  # fmt: skip
        script.ok("/bots")
        with CaptureQueriesContext(connection) as asked:
            items = script.ok("/bots")["items"]
        assert sum("bots" in query["sql"] for query in asked.captured_queries) == 1
        assert [one["name"] for one in items] == ["live", "ticked", "bare"]
        alone = [script.ok(f"/bots/{one['id']}") for one in items]
        for told in (*items, *alone):
            # The one moves with the clock.
            told["position"].pop("mark_seen_at")
        assert items == alone
        assert (items[0]["position"]["is_live"], items[0]["position"]["value"]) == (True, "25")
        assert said[0] in items[1]["blocked_by"]
        assert items[1]["ticked_at"] is not None
        assert (items[2]["position"]["quantity"], items[2]["ticked_at"]) == ("0", None)

    def test_every_column_of_the_table_is_there(self, script: Script, floor: Floor) -> None:
        columns = {field.name for field in Bot._meta.concrete_fields}
        assert columns <= set(script.ok(f"/bots/{make_bot().pk}"))

    def test_figures_without_a_price_are_null_with_the_reason_and_never_zero(
        self, script: Script, floor: Floor
    ) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        Position.objects.update(mark_price=None, marked_at=None)
        floor.feed.broken = no_market()
        one = script.ok(f"/bots/{bot.pk}")
        assert (one["position"]["value"], one["position"]["mark_price"]) == (None, None)
        assert (one["pnl"]["unrealised"], one["pnl"]["total"]) == (None, None)
        assert "the feed is out" in one["pnl"]["reason"]
        assert one["position"]["cost"] == "50.02"
        assert [(block["code"], block["message"]) for block in one["blocked_by"]] == [
            ("MARKET_DATA", "the feed is out")
        ]

    def test_stored_price_is_said_to_be_old(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        floor.feed.broken = no_market()
        position = script.ok(f"/bots/{bot.pk}")["position"]
        assert (position["mark_is_stale"], position["value"]) == (True, "50.02")
        assert "the feed is out" in position["reason"]

    def test_flat_bot_without_a_feed_is_worth_zero_and_blocked(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        floor.feed.broken = no_market()
        one = script.ok(f"/bots/{bot.pk}")
        assert (one["position"]["value"], one["pnl"]["total"], one["position"]["reason"]) == ("0", "0", None)
        assert one["blocked_by"][0]["code"] == "MARKET_DATA"

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, ["c", "b", "a"]),
            ({"name": "b"}, ["b"]),
            ({"name": "B"}, []),
            ({"venue": "replay"}, ["c", "b", "a"]),
            ({"venue": "kraken"}, []),
            ({"symbol": "SPY"}, ["b"]),
            ({"strategy": "sma_cross"}, ["c"]),
            ({"status": "stopped"}, ["c"]),
            ({"dry_run": True}, ["c", "b", "a"]),
            ({"dry_run": False}, []),
            ({"status": "running", "symbol": "BTC-PERP"}, ["a"]),
        ],
    )
    def test_filters_find_what_they_say(
        self, script: Script, floor: Floor, query: dict[str, Any], expected: list[str]
    ) -> None:
        make_bot("a")
        make_bot("b", symbol="SPY")
        make_bot("c", strategy="sma_cross", running=False)
        assert [row["name"] for row in script.ok("/bots", **query)["items"]] == expected

    @pytest.mark.parametrize("bot_id", [987_654, 2**63 - 1])
    def test_bot_that_is_not_there_is_404(self, script: Script, bot_id: int) -> None:
        assert script.get(f"/bots/{bot_id}")[0] == 404

    @pytest.mark.parametrize("bot_id", ["0", str(2**63), "9" * 400])
    def test_number_that_no_bot_can_have_is_bad_input(self, script: Script, bot_id: str) -> None:
        assert script.get(f"/bots/{bot_id}")[0] == 422

    def test_page_costs_as_many_queries_with_60_bots_live_ones_too_as_with_two(
        self, script: Script, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        first = live_desk(kraken, settings)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
        fields = {name: getattr(first, name) for name in ("venue", "symbol", "strategy", "capital_usd", "status")}

        def add(name: str, **changes: Any) -> None:
            bot = Bot.objects.create(name=name, **{**fields, "dry_run": False, **changes})
            Position.objects.create(bot=bot, is_live=bot.is_live)

        add("paper", dry_run=True)
        script.ok("/bots")
        with CaptureQueriesContext(connection) as few:
            assert len(script.ok("/bots", limit=500)["items"]) == 2
        for number in range(29):
            add(f"live {number}")
            add(f"paper {number}", dry_run=True)
        with CaptureQueriesContext(connection) as many:
            assert len(script.ok("/bots", limit=500)["items"]) == 60
        assert len(many) == len(few), [query["sql"][:80] for query in many.captured_queries]


class TestBlockedBy:
    def test_live_bot_names_every_shut_lock(self, script: Script, kraken: KrakenLoopback, settings: Settings) -> None:
        bot = live_desk(kraken, settings)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
        assert script.ok(f"/bots/{bot.pk}")["blocked_by"] == []
        open_gates(settings, live=False)
        (block,) = script.ok(f"/bots/{bot.pk}")["blocked_by"]
        assert (block["code"], block["limit"], block["actual"]) == (
            "LIVE_GATE_CLOSED",
            "open",
            "ALLOW_LIVE_TRADING shut",
        )
        assert "ALLOW_LIVE_TRADING=1" in block["message"]

    def test_venue_that_is_off_in_a_rehearsal_says_so(
        self, script: Script, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        bot = live_desk(kraken, settings)
        # Alpaca's address is a loopback one, and Kraken's is not.
        away = replace(settings.ENVIRONMENT.kraken_base_url, is_loopback=False)
        here = replace(settings.ENVIRONMENT.alpaca_data_url, is_loopback=True)
        settings.ENVIRONMENT = replace(
            settings.ENVIRONMENT, worker_api_token=TOKEN, kraken_base_url=away, alpaca_data_url=here
        )
        told = {block["code"]: block["message"] for block in script.ok(f"/bots/{bot.pk}")["blocked_by"]}
        assert "In a rehearsal Kraken is off" in told["MARKET_DATA"]

    def test_venue_without_a_key_has_no_feed_and_takes_no_order(self, script: Script, settings: Settings) -> None:
        """Of two things that keep a bot on Alpaca's paper account from trading there, both are told."""
        bot = Bot.objects.create(
            name="stock",
            venue="alpaca",
            symbol="AAPL",
            strategy="smart_dca",
            capital_usd=Decimal(100),
            paper_broker="venue",
        )
        told = {block["code"]: block["message"] for block in script.ok(f"/bots/{bot.pk}")["blocked_by"]}
        assert len(told) == 2
        assert "MARKET_DATA" in told
        assert all("ALPACA_API_KEY_PAPER" in message for message in told.values())

    def test_halt_and_an_account_that_is_not_known_are_told(
        self, script: Script, kraken: KrakenLoopback, settings: Settings
    ) -> None:
        bot = live_desk(kraken, settings)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN)
        kill_switch.engage(Level.REDUCING, "a drill", actor="test", scope=f"bot:{bot.pk}")
        Account.objects.update(measured_at=timezone.now() - timedelta(hours=1))
        codes = [block["code"] for block in script.ok(f"/bots/{bot.pk}")["blocked_by"]]
        assert codes == ["KILL_SWITCH", "ACCOUNT_UNKNOWN"]


class TestChanging:
    def test_settings_change_and_each_is_an_operator_event(self, script: Script, floor: Floor) -> None:
        bot = make_bot(running=False)
        status, body = script.patch(
            f"/bots/{bot.pk}", name=" renamed ", capital_usd="250.50", poll_seconds=60, symbol="SPY"
        )
        assert status == 200, body
        found = (body["name"], body["capital_usd"], body["poll_seconds"], body["symbol"], body["revision"])
        assert found == ("renamed", "250.5", 60, "SPY", bot.revision + 1)
        actions = {action: (actor, new) for action, actor, _, new in actions_on(Bot.objects.get(pk=bot.pk))}
        assert actions["bot_capital_usd_changed"] == ("api:worker", "250.5")
        assert {"bot_name_changed", "bot_poll_seconds_changed", "bot_symbol_changed"} <= set(actions)

    def test_params_are_laid_over_those_that_it_has(self, script: Script, floor: Floor) -> None:
        bot = make_bot(running=False, strategy="sma_cross")
        name = next(key for key, value in bot.params.items() if isinstance(value, int) and not isinstance(value, bool))
        status, body = script.patch(f"/bots/{bot.pk}", params={name: bot.params[name] + 1})
        assert status == 200, body
        assert body["params"] == bot.params | {name: bot.params[name] + 1}

    def test_parameter_that_the_strategy_does_not_have_is_bad_input_by_name(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        status, body = script.patch(f"/bots/{bot.pk}", params={"no_such": 1})
        assert (status, body["reasons"][0]["code"]) == (422, "no_such")
        assert Bot.objects.get().params == bot.params

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"dry_run": False}, "/dry-run"),
            ({"dry_run": True, "name": "x"}, "/dry-run"),
            ({"status": "running"}, "/start"),
            ({"entries_held": ""}, "by a person"),
            ({"venue": "kraken"}, "make another one"),
            ({"strategy": "breakout"}, "make another one"),
            ({}, "say what to change"),
            ({"paper_equity_usd": "5"}, "paper_equity_usd"),
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": "x" * 61}, "name"),
            ({"name": "a\0b"}, "null character"),
            ({"name": "\udc00"}, "surrogate"),
            ({"capital_usd": 250}, "as a text"),
            ({"capital_usd": "0"}, "capital_usd"),
            ({"capital_usd": "1e3"}, "as a text"),
            ({"capital_usd": None}, "as a text"),
            ({"poll_seconds": 0}, "poll_seconds"),
            ({"poll_seconds": 86_401}, "poll_seconds"),
            ({"poll_seconds": "5"}, "poll_seconds"),
            ({"poll_seconds": True}, "poll_seconds"),
            ({"poll_seconds": 10**30}, "poll_seconds"),
            ({"score_min": -1}, "score_min"),
            ({"score_min": 101}, "score_min"),
            ({"score_min": "60"}, "score_min"),
            ({"by_autopilot": True}, "who made a bot"),
            ({"params": []}, "params"),
        ],
    )
    def test_bad_change_is_bad_input_that_says_why_and_changes_nothing(
        self, script: Script, floor: Floor, change: dict[str, Any], said: str
    ) -> None:
        bot = make_bot()
        status, body = script.patch(f"/bots/{bot.pk}", **change)
        assert status == 422
        assert said in body["reasons"][0]["message"]
        assert Bot.objects.get().revision == bot.revision

    @pytest.mark.parametrize("score_min", [0, 100])
    def test_least_score_can_be_any_score(self, script: Script, floor: Floor, score_min: int) -> None:
        bot = make_bot(score_min=50)
        status, body = script.patch(f"/bots/{bot.pk}", score_min=score_min)
        assert (status, body["score_min"], body["by_autopilot"]) == (200, score_min, False)
        assert ("bot_score_min_changed", "api:worker", "50", str(score_min)) in actions_on(bot)

    @pytest.mark.parametrize("poll_seconds", [1, 86_400])
    def test_shortest_and_longest_poll_are_taken(self, script: Script, floor: Floor, poll_seconds: int) -> None:
        assert script.patch(f"/bots/{make_bot(poll_seconds=5).pk}", poll_seconds=poll_seconds)[0] == 200

    def test_symbol_that_the_venue_does_not_have_or_while_something_is_held_is_409(
        self, script: Script, floor: Floor
    ) -> None:
        bot = make_bot()
        assert script.patch(f"/bots/{bot.pk}", symbol="NOPE")[0] == 409
        trade(bot, Side.BUY, "0.5")
        status, body = script.patch(f"/bots/{bot.pk}", symbol="SPY")
        assert status == 409
        assert "holds nothing" in body["message"]

    def test_name_of_another_bot_is_409(self, script: Script, floor: Floor) -> None:
        make_bot("taken")
        status, body = script.patch(f"/bots/{make_bot('mine').pk}", name=" taken ")
        assert (status, body["message"]) == (409, "Another bot has this name already.")

    def test_what_somebody_else_changed_meanwhile_stays(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        Bot.objects.filter(pk=bot.pk).update(capital_usd=Decimal(77))
        bot.poll_seconds = 9
        changed = manager.update(bot, actor="test", only=["poll_seconds"])
        assert (changed.capital_usd, changed.poll_seconds) == (Decimal(77), 9)

    def test_bot_that_was_set_live_meanwhile_is_neither_changed_nor_started(self, script: Script, floor: Floor) -> None:
        bot = make_bot(running=False)
        with pytest.raises(BotActionError, match="meanwhile"):
            manager.update(bot, actor="test", is_live=True)
        with pytest.raises(BotActionError, match="meanwhile"):
            manager.start(bot.pk, actor="test", is_live=True)
        assert Bot.objects.get().status == "stopped"


class TestActs:
    def test_start_pause_and_stop_with_the_reason_kept(self, script: Script, floor: Floor) -> None:
        bot = make_bot(running=False)
        assert act(script, bot, "start")[1]["status"] == "running"
        paused = act(script, bot, "pause", {"reason": "lunch"})[1]
        assert (paused["status"], paused["status_reason"]) == ("paused", "lunch")
        assert [block["code"] for block in paused["blocked_by"]] == ["ENTRIES_HELD"]
        stopped = act(script, bot, "stop", {})[1]
        assert (stopped["status"], stopped["status_reason"]) == ("stopped", "")
        assert OperatorEvent.objects.get(action="bot_paused").reason == "lunch"

    def test_stopped_bot_can_not_be_paused(self, script: Script, floor: Floor) -> None:
        status, body = act(script, make_bot(running=False), "pause")
        assert (status, body["code"]) == (409, "denied")
        assert "Start it first" in body["message"]

    @pytest.mark.parametrize(
        ("what", "body"), [("start", {"reason": "x"}), ("close-position", {"now": True}), ("stop", {"x": 1})]
    )
    def test_field_that_the_act_does_not_know_is_bad_input(
        self, script: Script, floor: Floor, what: str, body: dict[str, Any]
    ) -> None:
        bot = make_bot()
        assert act(script, bot, what, body)[0] == 422
        assert Bot.objects.get().status == "running"

    def test_close_position_sells_all_and_answers_with_the_order(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        resting = trade(bot, Side.BUY, "0.1", "90").order
        status, order = act(script, bot, "close-position")
        assert (status, order["side"], order["quantity"], order["status"]) == (200, "sell", "0.5", "filled")
        assert position_of(bot).quantity == 0
        assert Order.objects.get(pk=resting.pk).status == "canceled"
        assert script.ok(f"/bots/{bot.pk}")["status"] == "paused"

    def test_close_position_of_a_flat_bot_is_409(self, script: Script, floor: Floor) -> None:
        status, body = act(script, make_bot(), "close-position")
        assert status == 409
        assert "nothing to close" in body["message"]

    def test_close_position_that_is_denied_is_409_with_every_reason(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        kill_switch.engage(Level.HALTED, "a drill", actor="test")
        status, body = act(script, bot, "close-position")
        assert (status, body["code"]) == (409, "KILL_SWITCH")
        assert body["message"] == "The sale was denied. Nothing was sold."
        assert OrderEvent.objects.filter(event="denied").count() == 1

    def test_close_position_without_a_market_is_409(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        floor.feed.broken = no_market()
        assert act(script, bot, "close-position")[0] == 409

    def test_flat_bot_is_archived_and_its_history_stays(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        trade(bot, Side.BUY, "0.5")
        status, body = script.delete(f"/bots/{bot.pk}")
        assert status == 409
        assert "Close the position first" in body["message"]
        act(script, bot, "close-position")
        status, body = script.delete(f"/bots/{bot.pk}")
        assert (status, body["status"]) == (200, "archived")
        assert len(script.ok("/orders", bot_id=bot.pk)["items"]) == 2
        for what in ("start", "pause", "stop"):
            assert act(script, bot, what)[0] == 409
        assert script.delete(f"/bots/{bot.pk}")[0] == 409


class Person:
    """A signed-in person with a CSRF token."""

    def __init__(self, group: str) -> None:
        self._client = Client(enforce_csrf_checks=True)
        user = User.objects.create_user(f"{group} {User.objects.count()}", is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        self._client.force_login(user)
        self._client.get("/admin/password_change/")
        self._csrf = self._client.cookies["csrftoken"].value

    def asks(self, method: str, path: str, body: str = "{}") -> int:
        headers = {"X-CSRFToken": self._csrf}
        return self._client.generic(method, f"/api{path}", body, "application/json", headers=headers).status_code


class TestRights:
    @pytest.mark.parametrize(("group", "is_allowed"), [(VIEWER, False), (OPERATOR, True), (RISK_MANAGER, True)])
    def test_paper_bot_takes_the_right_to_operate(
        self, script: Script, floor: Floor, group: str, is_allowed: bool
    ) -> None:
        bot, person = make_bot(), Person(group)
        for method, what in ACTS:
            path = f"/bots/{bot.pk}/{what}".rstrip("/")
            status = person.asks(method, path, '{"poll_seconds": 7}' if method == "PATCH" else "{}")
            assert (status != 403) is is_allowed, (method, what, status)

    @pytest.mark.parametrize(("method", "what"), ACTS)
    def test_live_bot_is_live_sensitive_whatever_is_done_to_it(
        self, script: Script, floor: Floor, settings: Settings, method: str, what: str
    ) -> None:
        bot = make_bot(running=False)
        Bot.objects.filter(pk=bot.pk).update(dry_run=False, venue="kraken", symbol="BTC/USD")
        path = f"/bots/{bot.pk}/{what}".rstrip("/")
        body = '{"poll_seconds": 7}' if method == "PATCH" else "{}"
        # With a token set, a session alone is not enough.
        assert Person(RISK_MANAGER).asks(method, path, body) == 401
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token="")
        raises_risk = method == "PATCH" or what == "start"
        assert (Person(OPERATOR).asks(method, path, body) == 403) is raises_risk
        assert Person(RISK_MANAGER).asks(method, path, body) in (200, 409)

    def test_without_a_right_nobody_learns_whether_a_bot_is_there(self, script: Script, floor: Floor) -> None:
        bot = make_bot()
        viewer = Person(VIEWER)
        found = {viewer.asks("POST", f"/bots/{pk}/start") for pk in (bot.pk, 987_654)}
        assert found == {403}
