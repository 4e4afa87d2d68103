"""kill -9 of the web process at each step of an order that carries an Idempotency-Key, and the same request again.

Real processes that serve the request with the shipped API, the real client and the loopback venue's own ledger. FAULTS.md
rows 2, 4 to 7 as whoever asks over the API sees them: however often one asks, one order.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from audit.decimals import decimal_text
from audit.models import OperatorEvent
from bots.markets import market_for
from bots.models import Account, Bot, Order
from safety.api_requests import CLAIM
from safety.models import ApiRequest
from tests.bots.builders import make_bot
from tests.conftest import CommittedDatabase
from tests.faults.desk import Desk
from tests.faults.nursery import SIGKILLED, Nursery
from tests.faults.oracle import check
from tests.loopback import faults
from tests.tradingops.test_api_endpoints import TOKEN

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

BEFORE_THE_CLAIM = {"asked for, not claimed": "+safety.api_requests.begin"}
CLAIMED = {
    "claimed, nothing done": "-safety.api_requests.begin",
    "claimed, market looked at": "-bots.hand_orders.market_for",
    "order written, before its commit": "-audit.log.append_rows",
}
COMMITTED = {
    "order committed, before the broker": "-bots.executor.venue._claim",
    "before the second look": "+bots.executor.steps.second_look",
}
SENT = {
    "sent and answered, before its transaction": "+bots.executor.venue.apply",
    "all written, before the commit": "-audit.log.append_rows:2",
    "all committed, nobody told": "-bots.executor.venue.apply",
    "answered, before the answer left": "-tradingops.api.idempotency._attempt",
}
ON_PAPER = (
    BEFORE_THE_CLAIM
    | CLAIMED
    | {
        "filled, not booked": "-bots.brokers.paper.PaperBroker.submit",
        "committed, nobody told": "-bots.hand_orders._on_paper",
        "answered, before the answer left": "-tradingops.api.idempotency._attempt",
    }
)
A_BOT = {
    "claimed, nothing done": "-safety.api_requests.begin",
    "written, not kept": "+safety.api_requests.keep_made",
    "kept, before the commit": "-audit.log.append_rows",
    "committed, nobody told": "-tradingops.api.idempotency._attempt",
}
KEY = "one-and-only"
NEW_BOT = {"name": "made once", "venue": "replay", "symbol": "BTC-PERP", "strategy": "smart_dca", "capital_usd": "250"}


class Web:
    """Web processes that serve one request each, with the same key."""

    def __init__(self, nursery: Nursery, answer_to: Path, path: str, body: dict[str, Any], **options: Any) -> None:
        self._nursery, self._answer_to = nursery, answer_to
        headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": KEY}
        self.request = {"path": path, "body": body, "headers": headers, "answer_to": str(answer_to), **options}

    def killed_at(self, point: str) -> None:
        """Ask, and have the process killed at this point: no answer comes."""
        assert self._nursery.run("post", [], point=point, **self.request) == SIGKILLED
        assert not self._answer_to.exists()

    def ask(self) -> tuple[int, Any]:
        """Ask, and return the status and the answer."""
        assert self._nursery.run("post", [], **self.request) == 0
        return self.answer()

    def answer(self) -> tuple[int, Any]:
        """Return the answer that was written last."""
        status, body = json.loads(self._answer_to.read_text())
        self._answer_to.unlink()
        return status, body

    @staticmethod
    def claim_runs_out() -> None:
        """Let so much time have passed that nobody waits any longer for a process that died."""
        ApiRequest.objects.update(claimed_at=F("claimed_at") - CLAIM, claimed_until=F("claimed_until") - CLAIM)


@pytest.fixture
def live_web(kraken_desk: Desk, tmp_path: Path) -> Web:
    """Return web processes that are asked for a live order of the desk's bot."""
    return web_of(kraken_desk, tmp_path)


def web_of(desk: Desk, tmp_path: Path) -> Web:
    desk.nursery.common["environ"]["WORKER_API_TOKEN"] = TOKEN
    body = {"bot_id": desk.bot.pk, "side": "buy", "type": "market", "quantity": "0.3"}
    prices = [[desk.bot.venue, desk.bot.symbol]]
    return Web(desk.nursery, tmp_path / "answer", "/api/orders", body, prices_of=prices)


@pytest.fixture
def paper_bot(committed_db: CommittedDatabase) -> Bot:
    return make_bot()


@pytest.fixture
def paper_web(paper_bot: Bot, nursery: Nursery, committed_db: CommittedDatabase, tmp_path: Path) -> Web:
    """Return web processes that are asked for an order of a bot on the built-in paper broker, of about 50 USD."""
    nursery.common = {"environ": {"WORKER_API_TOKEN": TOKEN}, "var_dir": str(committed_db.var_dir)}
    ask = market_for("replay", paper_bot.symbol, timezone.now()).view.quote.ask
    quantity = decimal_text((50 / ask).quantize(Decimal("0.0001")))
    body = {"bot_id": paper_bot.pk, "side": "buy", "type": "market", "quantity": quantity}
    return Web(nursery, tmp_path / "answer", "/api/orders", body)


def measured_now() -> None:
    """Do what the workers do every few seconds: on a slow machine the desk's own measurement would be too old by now."""
    Account.objects.filter(measured_at__isnull=False).update(measured_at=timezone.now())


def asked_until_settled(desk: Desk, web: Web) -> Order:
    """Ask again when the claim has run out, and once more when every outcome is known; return the one order there is."""
    web.claim_runs_out()
    measured_now()
    status, first = web.ask()
    assert status == 201
    desk.settle()
    status, again = web.ask()
    order = Order.objects.get(bot=desk.bot)
    assert (status, again["client_order_id"], again["status"]) == (201, order.client_order_id, order.status)
    assert first["client_order_id"] == order.client_order_id
    check(desk.venue)
    return order


@pytest.mark.fault(2)
@pytest.mark.parametrize("point", BEFORE_THE_CLAIM | CLAIMED)
def test_killed_before_the_order_commits_and_asked_again_sends_one(
    kraken_desk: Desk, live_web: Web, point: str
) -> None:
    live_web.killed_at((BEFORE_THE_CLAIM | CLAIMED)[point])
    assert not Order.objects.exists()
    assert kraken_desk.sent() == 0
    order = asked_until_settled(kraken_desk, live_web)
    assert (order.status, kraken_desk.sent()) == ("filled", 1)
    kraken_desk.note(f"web process: {point}", "asked again: one order, filled")


@pytest.mark.fault(4)
@pytest.mark.parametrize("point", COMMITTED)
def test_killed_with_the_order_committed_and_asked_again_sends_none(
    kraken_desk: Desk, live_web: Web, point: str
) -> None:
    live_web.killed_at(COMMITTED[point])
    assert Order.objects.get().status == "submitting"
    order = asked_until_settled(kraken_desk, live_web)
    assert (order.status, kraken_desk.sent()) == ("not_sent", 0)
    kraken_desk.note(f"web process: {point}", "asked again: the same order, not_sent in the end")


@pytest.mark.fault(7)
@pytest.mark.parametrize("point", SENT)
def test_killed_after_the_send_and_asked_again_gets_the_order_that_was_sent(
    kraken_desk: Desk, live_web: Web, point: str
) -> None:
    live_web.killed_at(SENT[point])
    assert kraken_desk.sent() == 1
    order = asked_until_settled(kraken_desk, live_web)
    assert (order.status, kraken_desk.sent()) == ("filled", 1)
    kraken_desk.note(f"web process: {point}", "asked again: the same order, filled")


@pytest.mark.fault(6)
def test_killed_while_the_venue_has_the_order_and_asked_again_gets_it(kraken_desk: Desk, live_web: Web) -> None:
    desk = kraken_desk
    desk.venue.loopback.fault(faults.answer_lost(desk.venue.add))
    web = desk.nursery.spawn("post", [], **live_web.request)
    desk.venue.loopback.wait_until(desk.venue.orders, bool, 30)
    desk.nursery.kill(web)
    order = asked_until_settled(desk, live_web)
    assert (order.status, desk.sent()) == ("filled", 1)
    desk.note("web process: the request had left, no answer yet", "asked again: the same order, filled")


@pytest.mark.fault(2, 7)
@pytest.mark.parametrize("alpaca_desk", ["live", "paper"], indirect=True)
@pytest.mark.parametrize("point", ["claimed, nothing done", "sent and answered, before its transaction"])
def test_killed_at_alpaca_and_asked_again_makes_one_order(alpaca_desk: Desk, tmp_path: Path, point: str) -> None:
    web = web_of(alpaca_desk, tmp_path)
    web.killed_at((CLAIMED | SENT)[point])
    order = asked_until_settled(alpaca_desk, web)
    assert (order.status, alpaca_desk.sent()) == ("filled", 1)
    alpaca_desk.note(f"web process: {point}", "asked again: one order, filled")


def test_asked_again_at_once_is_told_to_wait_for_the_claim_of_a_process_that_died(
    kraken_desk: Desk, live_web: Web
) -> None:
    live_web.killed_at(CLAIMED["claimed, nothing done"])
    status, answer = live_web.ask()
    assert (status, answer["code"]) == (409, "still_running")
    assert not Order.objects.exists()


def test_process_that_froze_finds_the_order_of_the_one_that_took_over(kraken_desk: Desk, live_web: Web) -> None:
    desk = kraken_desk
    frozen = desk.nursery.freeze("post", [], point="-bots.hand_orders.market_for", **live_web.request)
    live_web.claim_runs_out()
    measured_now()
    taken_over = live_web.ask()
    assert (taken_over[0], taken_over[1]["status"]) == (201, "filled")
    assert desk.nursery.thaw(frozen) == 0
    status, late = live_web.answer()
    assert (status, late["client_order_id"]) == (201, taken_over[1]["client_order_id"])
    assert desk.sent() == 1
    check(desk.venue)


@pytest.mark.fault(2)
@pytest.mark.parametrize("point", ON_PAPER)
def test_killed_on_paper_and_asked_again_makes_one_order(paper_bot: Bot, paper_web: Web, point: str) -> None:
    paper_web.killed_at(ON_PAPER[point])
    paper_web.claim_runs_out()
    status, answer = paper_web.ask()
    order = Order.objects.get()
    assert (status, answer["client_order_id"], answer["status"]) == (201, order.client_order_id, "filled")
    assert paper_web.ask() == (201, answer)
    assert Order.objects.count() == 1
    check()


@pytest.mark.parametrize("point", A_BOT)
def test_killed_while_it_makes_a_bot_and_asked_again_makes_one(
    nursery: Nursery, committed_db: CommittedDatabase, tmp_path: Path, point: str
) -> None:
    nursery.common = {"environ": {"WORKER_API_TOKEN": TOKEN}, "var_dir": str(committed_db.var_dir)}
    web = Web(nursery, tmp_path / "answer", "/api/bots", NEW_BOT)
    web.killed_at(A_BOT[point])
    assert Bot.objects.exists() is (point == "committed, nobody told")
    web.claim_runs_out()
    status, answer = web.ask()
    assert (status, answer["id"]) == (201, Bot.objects.get().pk)
    assert web.ask()[1]["id"] == answer["id"]
    assert Bot.objects.count() == 1
    assert OperatorEvent.objects.filter(action="bot_created").count() == 1
    check()
