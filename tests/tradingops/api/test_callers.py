"""Who is let into the API, by which way, and how often: tokens with a scope, wrong tokens, limits."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from bots.models import Bot
from safety import api_tokens
from safety.api_scopes import Scope
from safety.kill_file import kill_file
from safety.models import ApiToken, TradingState
from safety.permissions import RISK_MANAGER
from tests.bots.builders import Floor, floor, make_bot
from tests.bots.live import live_bot
from tests.loopback.client import KrakenLoopback
from tests.tradingops.test_api import database_down
from tests.tradingops.test_api_endpoints import BOT, ORDER, TOKEN, Caller, halt, token
from tradingops.api import auth

__all__ = ["floor", "token"]
pytestmark = pytest.mark.usefixtures("committed_db")
Give = Callable[..., str]
WRONG = "w" * 40


@pytest.fixture
def maker() -> User:
    user = User.objects.create_user("maker", is_staff=True)
    user.groups.add(Group.objects.get(name=RISK_MANAGER))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def give(maker: User) -> Give:
    """Return what makes a token of a scope and gives its text."""

    def made(scope: Scope, life: timedelta | None = api_tokens.LIFE) -> str:
        name = f"{scope.value} {ApiToken.objects.count()}"
        return api_tokens.make(name, scope, life, maker=maker, reason="a test", now=timezone.now())[1]

    return made


@dataclass
class Asked:
    """One answer, whatever it is."""

    answer: Any

    @property
    def told(self) -> tuple[int, str]:
        return self.answer.status_code, json.loads(self.answer.content).get("code", "")


def ask(header: str | None, path: str = "/safety", client: Client | None = None, **how: Any) -> Asked:
    headers = {} if header is None else {"Authorization": header}
    return Asked((client or Client()).get(f"/api{path}", headers={**headers, **how.pop("headers", {})}, **how))


def limited(settings: Settings, requests: int, writes: int = 1_000) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, api_requests_per_minute=requests, api_writes_per_minute=writes)


class TestScopes:
    """The table of docs/api.md, column by column. The matrix over all endpoints is another test's."""

    @pytest.mark.parametrize("scope", Scope)
    def test_each_looks(self, give: Give, scope: Scope) -> None:
        assert Caller(give(scope)).get("/safety")[0] == 200

    @pytest.mark.parametrize(
        ("scope", "expected"), [(Scope.READ, 403), (Scope.ENGAGE, 200), (Scope.OPERATE, 200), (Scope.TRADE, 200)]
    )
    @pytest.mark.parametrize("is_workers_set", [True, False])
    def test_all_but_read_halt(
        self, give: Give, settings: Settings, scope: Scope, expected: int, is_workers_set: bool
    ) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=TOKEN if is_workers_set else None)
        assert halt(Caller(give(scope)))[0] == expected
        if expected == 200:
            assert OperatorEvent.objects.get(action="kill_switch_engaged").actor.startswith(f"api:token:{scope.value} ")

    @pytest.mark.parametrize(
        ("scope", "expected"), [(Scope.READ, 403), (Scope.ENGAGE, 403), (Scope.OPERATE, 201), (Scope.TRADE, 201)]
    )
    def test_operate_makes_paper_bots_and_paper_orders(
        self, give: Give, floor: Floor, scope: Scope, expected: int
    ) -> None:
        caller, bot = Caller(give(scope)), make_bot()
        assert caller.post("/bots", **BOT)[0] == expected
        assert caller.post("/orders", bot_id=bot.pk, **ORDER)[0] == expected

    @pytest.mark.parametrize(
        ("scope", "expected"), [(Scope.READ, 403), (Scope.ENGAGE, 403), (Scope.OPERATE, 403), (Scope.TRADE, 200)]
    )
    def test_trade_alone_sets_live(self, give: Give, kraken: KrakenLoopback, scope: Scope, expected: int) -> None:
        bot = live_bot(running=False)
        Bot.objects.filter(pk=bot.pk).update(dry_run=True)
        wanted = {"dry_run": False, "confirm": "live", "reason": "a test"}
        assert Caller(give(scope)).post(f"/bots/{bot.pk}/dry-run", **wanted)[0] == expected
        assert Bot.objects.get(pk=bot.pk).dry_run is (expected != 200)

    @pytest.mark.parametrize("scope", Scope)
    def test_none_releases(self, give: Give, token: str, scope: Scope) -> None:
        halt(Caller(TOKEN))
        assert halt(Caller(give(scope)), level="active")[0] == 403
        assert TradingState.objects.get(scope="global").level == "halted"

    def test_right_that_the_maker_lost_is_lost_at_once(self, give: Give, floor: Floor) -> None:
        text, group = give(Scope.OPERATE), Group.objects.get(name=RISK_MANAGER)
        assert Caller(text).post("/bots", **BOT)[0] == 201
        group.permissions.remove(group.permissions.get(codename="add_bot"))
        assert Caller(text).post("/bots", **{**BOT, "name": "another"})[0] == 403


class TestWrongTokens:
    @pytest.mark.parametrize(
        "header",
        [
            "", "Bearer", "Bearer ", "bearer \t ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}", f"Bearer,{TOKEN}",
            f"Bearer {TOKEN},Bearer {TOKEN}", "Bearer é", "Bearer \x80\xff", f"Bearer {TOKEN}\x00", "Bearer ٠", "x" * 200_000,
            f"Bearer {'x' * 200_000}", f"Token {TOKEN}", f"Bearer={TOKEN}", "Bearer top_00000000_" + "0" * 64,
            f"Bearer '{TOKEN}'",
        ],
    )  # fmt: skip
    def test_odd_header_is_a_clean_401(self, token: str, header: str) -> None:
        asked = ask(header)
        assert asked.told == (401, "not_signed_in")
        assert asked.answer["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} ", f"Bearer\t{TOKEN}"])
    def test_right_token_may_be_written_as_people_write_it(self, token: str, header: str) -> None:
        assert ask(header).answer.status_code == 200

    @pytest.mark.parametrize(
        "name", ["token", "access_token", "api_key", "key", "Authorization", "authorization", "bearer"]
    )
    def test_token_in_the_address_opens_nothing(self, token: str, name: str) -> None:
        assert ask(None, f"/safety?{name}={TOKEN}").told == (401, "not_signed_in")
        assert ask(None, f"/safety?{name}=Bearer%20{TOKEN}").told == (401, "not_signed_in")

    def test_wrong_expired_revoked_and_stopped_are_answered_alike(self, give: Give, maker: User) -> None:
        revoked, expired, stopped = give(Scope.READ), give(Scope.READ, timedelta(microseconds=1)), give(Scope.READ)
        api_tokens.revoke(ApiToken.objects.get(name="read 0"), actor="maker", now=timezone.now())
        answers = [ask(f"Bearer {text}").answer for text in (revoked, expired, WRONG)]
        User.objects.filter(pk=maker.pk).update(is_active=False)
        answers.append(ask(f"Bearer {stopped}").answer)
        assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}

    def test_wrong_token_never_falls_back_to_a_session(self, give: Give) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("owner"))
        assert ask(None, client=client).answer.status_code == 200
        for header in ("", "Bearer", f"Bearer {WRONG}", "Basic b3duZXI6eA=="):
            assert ask(header, client=client).told == (401, "not_signed_in")

    def test_twentyfirst_in_five_minutes_waits_and_is_told_how_long(self, token: str) -> None:
        with time_machine.travel(timezone.now(), tick=False) as clock:
            assert [ask(f"Bearer {WRONG}").told[0] for _ in range(20)] == [401] * 20
            asked = ask(f"Bearer {WRONG}")
            assert asked.told == (429, "too_many_requests")
            assert asked.answer["Retry-After"] == "300"
            clock.shift(300)
            assert ask(f"Bearer {WRONG}").told == (401, "not_signed_in")

    def test_right_token_passes_while_its_address_has_to_wait(self, token: str, give: Give) -> None:
        scoped = give(Scope.ENGAGE)
        with time_machine.travel(timezone.now(), tick=False):
            assert [ask(f"Bearer {WRONG}").told[0] for _ in range(25)][-1] == 429
            assert ask(f"Bearer {TOKEN}").answer.status_code == 200
            assert halt(Caller(scoped))[0] == 200
            assert halt(Caller(TOKEN))[0] == 200

    def test_right_token_halts_this_host_while_its_address_has_to_wait_and_the_database_is_away(
        self, token: str
    ) -> None:
        for _ in range(25):
            ask(f"Bearer {WRONG}")
        with database_down():
            status, answer = halt(Caller(TOKEN))
        assert (status, answer["host_only"]) == (200, True)
        assert kill_file().exists()

    def test_wrong_token_that_can_not_be_counted_is_503(self, token: str) -> None:
        client = Client(raise_request_exception=False)
        with database_down():
            assert ask(f"Bearer {WRONG}", client=client).told == (503, "not_safe_to_serve")

    def test_nobody_without_a_token_is_counted(self, token: str) -> None:
        assert {ask(None).told for _ in range(30)} == {(401, "not_signed_in")}
        assert not OperatorEvent.objects.filter(action="api_token_refused").exists()

    def test_audit_names_the_address_and_never_the_token(self, token: str) -> None:
        ask(f"Bearer {WRONG}", REMOTE_ADDR="203.0.113.9")
        event = OperatorEvent.objects.get(action="api_token_refused")
        assert (event.actor, event.object) == ("stranger", "address:203.0.113.9")
        assert WRONG not in repr(list(OperatorEvent.objects.values_list()))


class TestShortToken:
    def test_works_with_one_warning_that_does_not_repeat_it(
        self, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "_warned", set())
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token="shortish")
        with caplog.at_level(logging.WARNING):
            assert [halt(Caller("shortish"))[0] for _ in range(3)] == [200] * 3
        warnings = [one.getMessage() for one in caplog.records if "shorter than 32" in one.getMessage()]
        assert len(warnings) == 1
        assert "shortish" not in warnings[0]

    def test_long_one_gets_none(
        self, token: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "_warned", set())
        ask(f"Bearer {TOKEN}")
        assert "shorter than" not in caplog.text


class TestLimits:
    def test_caller_who_asks_too_often_waits_and_others_do_not(
        self, token: str, settings: Settings, give: Give
    ) -> None:
        limited(settings, requests=2)
        assert [ask(f"Bearer {TOKEN}").told[0] for _ in range(2)] == [200, 200]
        asked = ask(f"Bearer {TOKEN}")
        assert asked.told == (429, "too_many_requests")
        assert 1 <= int(asked.answer["Retry-After"]) <= 30
        assert ask(f"Bearer {give(Scope.READ)}").answer.status_code == 200

    def test_current_and_previous_token_share_one_bucket(self, token: str, settings: Settings) -> None:
        limited(settings, requests=1)
        assert ask(f"Bearer {TOKEN}").told[0] == 200
        assert ask(f"Bearer {'p' * 40}").told[0] == 429

    def test_session_has_a_bucket_of_its_person(self, settings: Settings) -> None:
        limited(settings, requests=1)
        owner = User.objects.create_superuser("owner")
        found = []
        for _ in range(2):
            client = Client()
            client.force_login(owner)
            found.append(ask(None, client=client).told[0])
        assert found == [200, 429]

    def test_changes_have_a_smaller_bucket(self, token: str, settings: Settings) -> None:
        limited(settings, requests=1_000, writes=1)
        caller = Caller(TOKEN)
        assert caller.post("/bots", **BOT)[0] == 201
        assert caller.post("/bots", **{**BOT, "name": "another"})[0] == 429
        assert caller.get("/safety")[0] == 200
        assert Bot.objects.count() == 1

    def test_halting_is_never_limited(self, token: str, settings: Settings) -> None:
        limited(settings, requests=1, writes=1)
        ask(f"Bearer {TOKEN}")
        assert ask(f"Bearer {TOKEN}").told[0] == 429
        assert [halt(Caller(TOKEN))[0] for _ in range(3)] == [200] * 3

    def test_threads_get_no_more_than_the_limit(self, token: str, settings: Settings) -> None:
        limited(settings, requests=5)

        def attempt(_: int) -> int:
            try:
                return ask(f"Bearer {TOKEN}", "/bots?limit=1").told[0]
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(attempt, range(12)))
        # A slow machine lets the bucket refill by a few meanwhile, one each twelve seconds.
        assert 5 <= found.count(200) <= 9
        assert set(found) == {200, 429}


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "kind", "code"),
        [
            (b"{}" + b" " * 65_536, "application/json", "body_too_large"),
            (b"x" * 3_000_000, "application/json", "body_too_large"),
            (b'{"level": "halted", "level": "active"}', "application/json", "name_twice"),
            (b'{"level": NaN}', "application/json", "not_finite"),
            (b"[" * 1_000, "application/json", "too_deep"),
            (b'{"level": "halted", "reason": "x"}', "text/plain", "content_type"),
            (b'{"level": "halted", "reason": "x"}', "application/x-www-form-urlencoded", "content_type"),
            (b'{"level": "halted", "reason": "x"}', "", "content_type"),
            (b'{"level": "halted", "reason": "\\u0000"}', "application/json", "null_character"),
            (b'{"level": "halted", "reason": "\\udc00"}', "application/json", "half_character"),
        ],
    )
    def test_bad_one_is_422_with_the_reason_and_halts_nothing(
        self, token: str, body: bytes, kind: str, code: str
    ) -> None:
        answer = Client().post("/api/safety/kill-switch", body, kind, headers={"Authorization": f"Bearer {token}"})
        told = answer.json()
        assert (answer.status_code, told["code"], [one["code"] for one in told["reasons"]]) == (
            422,
            "bad_input",
            [code],
        )
        assert TradingState.objects.get(scope="global").level == "active"

    def test_charset_in_the_content_type_is_no_matter(self, token: str) -> None:
        answer = Client().post(
            "/api/safety/kill-switch",
            b'{"level": "halted", "reason": "x"}',
            "application/json; charset=utf-8",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200

    def test_large_one_of_a_session_is_422_too(self) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create_superuser("owner"))
        answer = client.post("/api/bots", b" " * 3_000_000, "application/json")
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (422, "body_too_large")

    def test_large_one_of_a_stranger_is_401(self, token: str) -> None:
        assert Client().post("/api/bots", b" " * 3_000_000, "application/json").status_code == 401

    @pytest.mark.parametrize("length", ["-1", "x", "٣", "9" * 30, "1e3"])
    def test_length_that_is_no_number_is_422(self, token: str, length: str) -> None:
        answer = Client().post(
            "/api/bots", b"{}", "application/json", headers={"Authorization": f"Bearer {token}"}, CONTENT_LENGTH=length
        )
        assert answer.status_code == 422
