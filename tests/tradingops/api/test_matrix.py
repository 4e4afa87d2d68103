"""Every endpoint, asked by every kind of caller, with the live gate open and shut: what comes back is what the contract promises.

What was seen is the table in docs/api-rights.md. With WRITE_TABLES=1 this module writes it; else it has to agree, line by line.
"""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bots import executor, hand_orders
from bots.models import AutopilotConfig, Bot, Order
from safety import api_tokens
from safety.api_scopes import Scope
from safety.intents import OrderType, Side
from safety.sign_in_marks import CONFIRMED_AT
from tests.bots.live import live_bot, live_desk, live_intent, open_gates
from tests.loopback.client import DiscordLoopback, KrakenLoopback
from tests.tradingops.api.matrix import ACTS, CALLERS, SHORT, WRONG, Act, Who, expected
from tests.tradingops.test_api import worker_seen
from tradingops.api import api

PROJECT = Path(__file__).resolve().parents[3]
TABLE = PROJECT / "docs" / "api-rights.md"
WRITES = os.environ.get("WRITE_TABLES") == "1"
TOKEN, SHORT_TOKEN = "t" * 40, "short"
INTRODUCTION = """# Who may do what over the API

Every endpoint, asked by every kind of caller, with the live gate (`ALLOW_LIVE_TRADING`) open and shut. A test asks all of them
and compares this table with what came back; `WRITE_TABLES=1` in front of the test writes it. Two statuses are those with the gate
open and shut. 401: nobody that is known, or a session where a token is set and the act is live-sensitive. 403: known, and not
allowed. 409: allowed, and something said no: a shut gate, a bot that holds nothing, an autopilot that is off.

"Read token" and so on are scoped tokens that a person made in the admin. Sessions were asked without a `WORKER_API_TOKEN`, but
for the last column.

"""
seen: dict[str, str] = {}


class Asker:
    """One kind of caller, ready to ask for one act."""

    def __init__(self, who: Who, maker: User, act: Act) -> None:
        self.who, self._client = who, Client(enforce_csrf_checks=True)
        self._headers: dict[str, str] = {}
        if who.is_session:
            self._sign_in(who, wants_csrf=who.has_csrf and not act.is_read)
        elif who.name != "no token":
            self._headers["Authorization"] = f"Bearer {_token_of(who, maker)}"

    def ask(self, act: Act, values: dict[str, Any]) -> int:
        """Ask, and return the status."""
        answer = self._client.generic(
            act.method,
            act.path.format(**values),
            json.dumps(_filled(act.body, values)) if act.body else "",
            content_type="application/json",
            headers=self._headers,
        )
        answer.close()
        return answer.status_code

    def _sign_in(self, who: Who, *, wants_csrf: bool) -> None:
        user = User.objects.create_user(who.name, is_staff=True)
        user.groups.add(Group.objects.get(name=who.name.removesuffix(" without CSRF").removesuffix(", token set")))
        self._client.force_login(user)
        session = self._client.session
        session[CONFIRMED_AT] = int(timezone.now().timestamp())
        session.save()
        if wants_csrf:
            self._client.get("/admin/password_change/")
            self._headers["X-CSRFToken"] = self._client.cookies["csrftoken"].value


class Desk:
    """Bots and orders for one attempt each, with every lock but the gate open."""

    def __init__(self, kraken: KrakenLoopback, settings: Settings) -> None:
        self._first = live_desk(kraken, settings, name="first")
        worker_seen(age_s=0)
        self._made = 0

    def values(self, act: Act) -> dict[str, Any]:
        """Return what the path and the body of an act may name. Gates are open meanwhile: an order has to get to its venue."""
        self._made += 1
        new = {"bot_id": self._first.pk, "new": f"new {self._made}"}
        if "autopilot" in act.path:
            is_live = "live autopilot" in act.title
            AutopilotConfig.objects.update(dry_run=not is_live, enabled=False, universe={"kraken": ["BTC/USD"]})
        if not act.names_one:
            return new
        running = not act.path.endswith("/start") and not (act.method == "POST" and act.title.startswith("Set a bot"))
        bot = live_bot(f"bot {self._made}", running=running)
        if not act.is_live:
            Bot.objects.filter(pk=bot.pk).update(dry_run=True, went_live_at=None)
        found = {**new, "bot_id": bot.pk, "name": bot.name, "client_order_id": "none"}
        if "client_order_id" in act.path:
            found["client_order_id"] = _rest(Bot.objects.get(pk=bot.pk), self._made)
        return found


def _rest(bot: Bot, number: int) -> str:
    """Let a purchase rest in a bot's book, at a price that no other has, and return its id."""
    limit = f"{80 - number / 10:.1f}"
    if bot.is_live:
        intent = live_intent(bot, Side.BUY, "0.3", limit)
        submission = executor.submit_to_venue(intent, hand_orders.market_of(bot))
    else:
        wanted = hand_orders.HandOrder(Side.BUY, OrderType.LIMIT, Decimal("0.3"), Decimal(limit))
        submission = hand_orders.place_order(bot.pk, wanted, actor="test")
    assert not submission.is_denied, submission.denials
    assert submission.order.status == "accepted"
    return str(submission.order.client_order_id)


def _token_of(who: Who, maker: User) -> str:
    if who.name == WRONG:
        return "w" * 40
    if who.name == SHORT:
        return SHORT_TOKEN
    scope = who.name.removesuffix(" token")
    if scope not in list(Scope):
        return TOKEN
    life = timedelta(days=1)
    return api_tokens.make(who.name, Scope(scope), life, maker=maker, reason="a test", now=timezone.now())[1]


def _filled(body: Any, values: dict[str, Any]) -> Any:
    if isinstance(body, dict):
        return {name: _filled(value, values) for name, value in body.items()}
    if body == "{bot_id}":
        return values["bot_id"]
    return body.format(**values) if isinstance(body, str) else body


def line_of(act: Act, found: dict[str, tuple[int, int]]) -> str:
    """Return an act's line of the table."""
    cells = [str(opened) if opened == shut else f"{opened} / {shut}" for opened, shut in found.values()]
    return f"| {act.title} | `{act.method} {act.path}` | {' | '.join(cells)} |"


@pytest.fixture
def desk(kraken: KrakenLoopback, discord: DiscordLoopback, settings: Settings, committed_db: object) -> Iterator[Desk]:
    yield Desk(kraken, settings)
    # What was asked of the stream was hung up on; its reader must be gone before its database is.
    for thread in threading.enumerate():
        if thread.name == "event streams":
            thread.join(30)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the table after the last line was seen, where that is wanted."""
    yield
    if WRITES:
        heads = ["", "Endpoint", *(one.name for one in CALLERS)]
        rows = [
            f"| {' | '.join(heads)} |",
            f"|{' --- |' * len(heads)}",
            *(seen[act.title] for act in ACTS if act.title in seen),
        ]
        TABLE.write_text(INTRODUCTION + "\n".join(rows) + "\n")


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.timeout(300)
@pytest.mark.parametrize("act", ACTS, ids=[act.title for act in ACTS])
def test_every_caller_gets_what_the_contract_promises(act: Act, desk: Desk, settings: Settings) -> None:
    maker = User.objects.create_superuser("maker")
    found: dict[str, tuple[int, int]] = {}
    wrong = []
    for who in CALLERS:
        token = SHORT_TOKEN if who.name == SHORT else TOKEN if who.is_token_set else None
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, worker_api_token=token)
        asker = Asker(who, maker, act)
        statuses = []
        for is_open in (True, False):
            open_gates(settings)
            values = desk.values(act)
            open_gates(settings, live=is_open)
            statuses.append(asker.ask(act, values))
            if statuses[-1] != expected(act, who, is_open=is_open):
                wrong.append((who.name, is_open, statuses[-1], expected(act, who, is_open=is_open)))
        found[who.name] = (statuses[0], statuses[1])
    assert wrong == []
    seen[act.title] = line_of(act, found)
    if not WRITES:
        assert seen[act.title] in TABLE.read_text().splitlines(), "WRITE_TABLES=1 writes docs/api-rights.md anew"
    # A shut gate: nothing of these attempts rests at the venue but what an open one let through.
    if act.status_shut:
        live = Order.objects.filter(is_live=True, status="denied") if "Place" in act.title else None
        assert live is None or live.count() == sum(shut == 409 for _, shut in found.values())


def test_every_endpoint_is_in_the_matrix() -> None:
    promised = {(method.upper(), path) for path, one in api.get_openapi_schema()["paths"].items() for method in one}
    tried = {(act.method, act.path) for act in ACTS} - {("GET", "/metrics")}
    assert tried == promised


def test_table_has_no_other_line() -> None:
    lines = [one for one in TABLE.read_text().splitlines() if one.startswith("| ")]
    assert [one.split(" | ")[0].removeprefix("| ") for one in lines[2:]] == [act.title for act in ACTS]
