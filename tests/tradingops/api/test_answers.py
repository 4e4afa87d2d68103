"""What every answer of the API has in common: one error shape, a request id, no secret, and a documented code."""

import ast
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.tradingops.test_api import database_down
from tests.tradingops.test_api_endpoints import BOT, TOKEN, halt, token
from tests.tradingops.test_api_endpoints import Caller as CallerOf
from tradingops import request_ids
from tradingops.api.errors import CODES

__all__ = ["token"]
pytestmark = pytest.mark.usefixtures("committed_db")
SHAPE = {"code", "message", "reasons"}
PLAIN_ID = re.compile(r"[0-9a-f]{32}")
BY_TOKEN = {"Authorization": f"Bearer {TOKEN}"}
DOCUMENT = Path(django_settings.BASE_DIR) / "docs" / "api.md"
#: A variable that is secret, and what stands in for it here.
SECRETS = {
    "worker_api_token": TOKEN,
    "worker_api_token_previous": "canary-previous-" + "p" * 32,
    "kraken_api_key": "canary-kraken-key",
    "kraken_api_secret": "canarykrakensecret==",
    "alpaca_api_key_live": "canary-alpaca-live-key",
    "alpaca_api_secret_live": "canary-alpaca-live-secret",
    "alpaca_api_key_paper": "canary-alpaca-paper-key",
    "alpaca_api_secret_paper": "canary-alpaca-paper-secret",
    "discord_webhook_url": "https://discord.com/api/webhooks/1/canary-webhook",
    "email_url": "smtp://canary:canary-mail@127.0.0.1:9",
    "heartbeat_url": "http://127.0.0.1:9/canary-heartbeat",
    "secret_key": django_settings.SECRET_KEY,
}


@contextmanager
def console_log() -> Iterator[StringIO]:
    """Collect what the console would write to stderr, as its own handler writes it."""
    log, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter(django_settings.LOGGING["formatters"]["line"]["format"]))
    handler.addFilter(request_ids.AddRequestId())
    root.addHandler(handler)
    try:
        yield log
    finally:
        root.removeHandler(handler)


@contextmanager
def fault_of_ours() -> Iterator[None]:
    """Let every query fail as no database fails: with an error that nobody catches."""

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a fault that nobody thought of")

    with connection.execute_wrapper(fail):
        yield


class TestShape:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("get", "/api/", 404, "not_found"),
            ("get", "/api/nowhere", 404, "not_found"),
            ("get", "/api/bots/x", 404, "not_found"),
            ("put", "/api/bots", 405, "method_not_allowed"),
            ("get", "/api/safety/kill-switch", 405, "method_not_allowed"),
            ("post", "/api/health", 405, "method_not_allowed"),
            ("post", "/api/redoc", 405, "method_not_allowed"),
            ("get", "/api/bots/%00", 422, "bad_input"),
            ("get", "/api/bots?limit=%00", 422, "bad_input"),
        ],
    )
    def test_what_django_refuses_has_it_too(self, token: str, method: str, path: str, status: int, code: str) -> None:
        answer = getattr(Client(raise_request_exception=False), method)(path, headers=BY_TOKEN)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert set(answer.json()) == SHAPE

    def test_host_that_is_not_ours_is_told_in_it(self) -> None:
        answer = Client().get("/api/health", headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")

    def test_405_keeps_what_the_address_does_take(self, token: str) -> None:
        assert "POST" in Client().get("/api/safety/kill-switch", headers=BY_TOKEN)["Allow"]

    def test_pages_of_the_console_keep_their_own(self) -> None:
        answer = Client().get("/nowhere")
        assert answer.status_code == 404
        assert answer["Content-Type"].startswith("text/html")

    def test_fault_of_ours_names_the_request_and_tells_nothing_else(self, token: str) -> None:
        client = Client(raise_request_exception=False)
        with console_log() as log, fault_of_ours():
            answer = client.post("/api/bots", json.dumps(BOT), "application/json", headers=BY_TOKEN)
        assert answer.status_code == 500
        assert set(answer.json()) == SHAPE
        assert answer["X-Request-ID"] in answer.json()["message"]
        assert "nobody thought of" not in answer.content.decode()
        [line] = [line for line in log.getvalue().splitlines() if "Internal Server Error" in line]
        assert f"[{answer['X-Request-ID']}]" in line


class TestRequestId:
    @pytest.mark.parametrize("given", ["a", "A-1", "x" * 64, "0123-abcd"])
    def test_plain_one_is_kept(self, given: str) -> None:
        assert Client().get("/api/health", headers={"X-Request-ID": given})["X-Request-ID"] == given

    @pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a_b", "a.b", "é", "a;b", "<b>", "a\r\nSet-Cookie: x", "٠"])
    def test_other_one_is_replaced(self, given: str) -> None:
        found = Client().get("/api/health", headers={"X-Request-ID": given})["X-Request-ID"]
        assert PLAIN_ID.fullmatch(found)

    @pytest.mark.parametrize(
        "path", ["/api/health", "/api/bots", "/api/nowhere", "/api/bots/%00", "/admin/", "/nowhere"]
    )
    def test_every_answer_has_one_of_its_own(self, path: str) -> None:
        found = [Client().get(path)["X-Request-ID"] for _ in range(2)]
        assert all(PLAIN_ID.fullmatch(one) for one in found)
        assert found[0] != found[1]

    def test_answer_without_the_database_has_one(self) -> None:
        with database_down():
            answer = Client(raise_request_exception=False).get("/api/bots", headers={"Cookie": f"sessionid={'a' * 32}"})
        assert (answer.status_code, bool(PLAIN_ID.fullmatch(answer["X-Request-ID"]))) == (503, True)

    def test_is_in_each_line_that_the_request_logs_and_in_no_other(self, token: str) -> None:
        with console_log() as log:
            Client().get("/api/bots", headers={"X-Request-ID": "mine-1"})
            logging.getLogger("tests").warning("between")
            Client().get("/api/bots", headers={"X-Request-ID": "mine-2"})
        lines = log.getvalue().splitlines()
        assert [re.search(r" \[(mine-\d)\]: ", line) is not None for line in lines] == [True, False, True]
        assert "between" in lines[1]
        assert request_ids.current() == ""


class TestSecrets:
    def test_are_in_no_answer_and_in_no_log_whatever_goes_wrong(self, settings: Settings) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **SECRETS)
        client = Client(raise_request_exception=False)
        client.force_login(User.objects.create_superuser("owner"))
        with console_log() as log:
            answers = list(self.asked(client))
        told = "\n".join([log.getvalue(), *answers])
        assert len(answers) > 60
        assert "Internal Server Error" in told
        assert [name for name, secret in SECRETS.items() if secret in told] == []
        assert not any(piece in told for piece in ("canary", SECRETS["worker_api_token_previous"][:20], TOKEN[:20]))

    def asked(self, client: Client) -> Iterator[str]:
        headers = [BY_TOKEN, {}, *({"Authorization": f"Bearer {secret}x"} for secret in SECRETS.values())]
        for one in headers:
            for path in ("/api/bots", "/api/safety", "/api/nowhere", f"/api/bots?token={TOKEN}"):
                yield self.text_of(client.get(path, headers=one))
            yield self.text_of(client.post("/api/bots", b"{", "application/json", headers=one))
        for path in ("/api/openapi.json", "/api/docs", "/api/redoc", "/api/health"):
            yield self.text_of(client.get(path))
        with database_down():
            yield self.text_of(client.get("/api/bots", headers=BY_TOKEN))
            yield self.text_of(client.get("/api/bots", headers={"Authorization": f"Bearer {TOKEN}x"}))
        with fault_of_ours():
            yield self.text_of(client.get("/api/bots", headers=BY_TOKEN))

    def text_of(self, answer: Any) -> str:
        return f"{answer.serialize_headers().decode()}\n{answer.content.decode()}"


class TestSchema:
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = Client().get("/api/openapi.json").json()
        return found

    def operations(self) -> list[tuple[str, dict[str, Any]]]:
        paths = self.schema()["paths"]
        return [(f"{method} {path}", told) for path, methods in paths.items() for method, told in methods.items()]

    def test_names_token_and_session(self) -> None:
        schemes = self.schema()["components"]["securitySchemes"]
        assert {(one["type"], one.get("scheme") or one.get("in")) for one in schemes.values()} == {
            ("http", "bearer"),
            ("apiKey", "cookie"),
        }
        for where, told in self.operations():
            assert where == "get /api/health" or {name for one in told["security"] for name in one} == set(schemes), (
                where
            )

    def test_names_every_error_that_any_endpoint_may_answer(self) -> None:
        for where, told in self.operations():
            if where != "get /api/health":
                for status in ("401", "403", "422", "429", "503"):
                    content = told["responses"][status]["content"]["application/json"]
                    assert content["schema"]["$ref"].endswith("/ErrorOut"), (where, status)


def codes_in_use() -> set[str]:
    """Return the codes that the API's modules answer with: those of statuses, and those that are given by name."""
    found = {*CODES.values(), "error"}
    for path in (Path(django_settings.BASE_DIR) / "tradingops" / "api").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            given = [one.value for one in node.keywords if one.arg == "code"]
            if name in ("BodyError", "reason"):
                given += node.args[:1]
            found |= {str(one.value) for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def test_every_code_is_documented_and_no_other() -> None:
    section = DOCUMENT.read_text().split("## Errors")[1].split("\n## ")[0]
    in_table = set(re.findall(r"^\| [0-9]{3} \| `(\w+)`", section, flags=re.MULTILINE))
    of_bodies = set(re.findall(r"`(\w+)`", section.split("What can be wrong with a body")[1]))
    assert codes_in_use() == in_table | (of_bodies - {"bad_input"})


def test_every_refusal_of_halting_is_in_the_shape(token: str) -> None:
    for caller, changes in (
        (CallerOf("wrong"), {}),
        (CallerOf(token), {"level": "active"}),
        (CallerOf(token), {"scope": "x"}),
    ):
        assert set(halt(caller, **changes)[1]) == SHAPE
