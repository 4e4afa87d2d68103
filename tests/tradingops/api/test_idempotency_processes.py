"""Idempotency-Key over the real web server: the same request twice at one moment, and web processes that are killed meanwhile."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from bots.models import Account, Bot, Order
from bots.sweep import sweep
from safety.api_requests import CLAIM
from safety.models import ApiRequest
from tests.bots.builders import make_bot
from tests.bots.live import live_desk
from tests.conftest import CommittedDatabase
from tests.faults.desk import Desk
from tests.faults.oracle import check, check_everything
from tests.faults.venues import KrakenSide
from tests.loopback import faults
from tests.loopback.client import KrakenLoopback
from tests.tradingops.api.served import BEARER, Served, serve
from tests.workers.conftest import wait_until

pytestmark = [
    pytest.mark.workers,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform == "win32", reason="gunicorn"),
]
ROUNDS = 20
LIVE_ROUNDS = 3
#: A slow machine is given time; nothing here depends on how fast it is.
WITHIN_S = 120
ANSWER_S = 60


@pytest.fixture
def console(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Served]:
    """Return a running console whose bots trade on paper."""
    with serve(committed_db, tmp_path / "console.log") as running:
        yield running


@pytest.fixture
def live_console(
    committed_db: CommittedDatabase,
    kraken: KrakenLoopback,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Served, Bot, KrakenSide]]:
    """Return a running console with a live bot at the loopback Kraken, and nothing in its way."""
    bot = live_desk(kraken, settings)
    venue = KrakenSide(kraken)
    for name, value in venue.environ().items():
        monkeypatch.setenv(name, value)
    with serve(committed_db, tmp_path / "console.log") as running:
        yield running, bot, venue


def ask(console: Served, path: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
    headers = {**BEARER, "Idempotency-Key": key}
    answer = requests.post(f"{console.url}/api{path}", json=body, headers=headers, timeout=ANSWER_S)
    return answer.status_code, answer.json()


def ask_twice(console: Served, path: str, key: str, body: dict[str, Any]) -> list[tuple[int, Any]]:
    """Ask the same by two connections at one moment; return both answers."""
    start = threading.Barrier(2)

    def one(_: int) -> tuple[int, Any]:
        start.wait(ANSWER_S)
        return ask(console, path, key, body)

    with ThreadPoolExecutor(2) as both:
        return list(both.map(one, range(2)))


def order_of(bot: Bot, quantity: str) -> dict[str, Any]:
    return {"bot_id": bot.pk, "side": "buy", "type": "market", "quantity": quantity}


def measured_now() -> None:
    """Do what the workers do every few seconds."""
    Account.objects.filter(measured_at__isnull=False).update(measured_at=timezone.now())


def test_two_identical_orders_at_one_moment_make_one_on_paper(console: Served) -> None:
    # SPY costs some hundred dollars; each round has a bot of its own, so that no limit on orders plays a part.
    bots = [make_bot(f"bot {number}", symbol="SPY") for number in range(ROUNDS)]
    for number, bot in enumerate(bots):
        first, second = ask_twice(console, "/orders", f"round {number}", order_of(bot, "0.05"))
        assert first == second
        assert first[0] == 201
        assert Order.objects.filter(bot=bot).count() == 1
    check_everything()


def test_two_identical_bots_at_one_moment_make_one(console: Served) -> None:
    for number in range(5):
        body = {
            "name": f"bot {number}", "venue": "replay", "symbol": "SPY", "strategy": "smart_dca", "capital_usd": "9",
        }  # fmt: skip
        answers = ask_twice(console, "/bots", f"round {number}", body)
        assert [status for status, _ in answers] == [201, 201]
        assert {bot["id"] for _, bot in answers} == {Bot.objects.get(name=f"bot {number}").pk}


def test_two_identical_live_orders_at_one_moment_make_one_at_the_venue(
    live_console: tuple[Served, Bot, KrakenSide],
) -> None:
    console, bot, venue = live_console
    ends_s, taken = time.monotonic() + WITHIN_S, 0
    for number in range(1000):
        measured_now()
        first, second = ask_twice(console, "/orders", f"round {number}", order_of(bot, f"0.1{number:03}"))
        # Its first price takes each process a moment: until then both are denied, in the same words.
        assert first == second
        taken += first[0] == 201
        assert Order.objects.filter(bot=bot).count() == number + 1
        assert len(venue.orders()) == taken
        if taken == LIVE_ROUNDS:
            break
        assert time.monotonic() < ends_s, f"denied: {first}"
    check(venue)


def test_web_processes_that_are_killed_in_the_middle_leave_one_order(
    live_console: tuple[Served, Bot, KrakenSide],
) -> None:
    console, bot, venue = live_console
    body = order_of(bot, "0.3")
    warm_up(console, bot)
    before = Order.objects.count()
    measured_now()
    venue.loopback.fault(faults.answer_lost(venue.add))
    asked = threading.Thread(target=cut_off, args=[console, body])
    asked.start()
    wait_until(lambda: bool(venue.orders()), WITHIN_S, "the order to be at the venue")
    for pid in workers_of(console):
        os.kill(pid, signal.SIGKILL)
    asked.join(ANSWER_S)
    wait_until(console.answers, WITHIN_S, "new web processes")
    ApiRequest.objects.update(claimed_at=F("claimed_at") - CLAIM, claimed_until=F("claimed_until") - CLAIM)
    status, answer = ask(console, "/orders", "once", body)
    order = Order.objects.get(client_order_id=answer["client_order_id"])
    assert (status, Order.objects.count()) == (201, before + 1)
    for _ in range(12):
        if order.status == "filled":
            break
        Desk.later(31)
        sweep(timezone.now())
        order.refresh_from_db()
    status, answer = ask(console, "/orders", "once", body)
    assert (status, answer["client_order_id"], answer["status"]) == (201, order.client_order_id, "filled")
    assert [one.client_order_id for one in venue.orders()] == [order.client_order_id]
    check(venue)


def warm_up(console: Served, bot: Bot) -> None:
    """Wait until each web process has a price, and denies for its size what is far too large, and for nothing else."""

    def is_warm() -> bool:
        body = {**order_of(bot, "0.1"), "type": "limit", "limit_price": "100000"}
        codes = [
            [one["code"] for one in ask(console, "/orders", f"warm {time.monotonic_ns()}", body)[1]["reasons"]]
            for _ in range(8)
        ]
        return all("INVALID_MARKET_DATA" not in found for found in codes)

    wait_until(is_warm, WITHIN_S, "a price in each web process")


def cut_off(console: Served, body: dict[str, Any]) -> None:
    """Ask, and get no answer."""
    with pytest.raises(requests.RequestException):
        ask(console, "/orders", "once", body)


def workers_of(console: Served) -> list[int]:
    """Return the web processes that serve, by gunicorn's own children."""
    listed = Path(f"/proc/{console.process.pid}/task/{console.process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]
