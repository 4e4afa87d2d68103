"""The proof of the promise that after ``drained`` no further order reaches any venue: by the venue's own log.

Several processes send live orders as fast as they can, each past its own check; another one throws the switch at a random
moment. KILL_RACE_REPEATS says how often (20 unless set; 200 by hand).
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone
from pytest_django import Settings

from bots.models import Bot, KrakenTier, Order, VenueAccess
from bots.order_states import OrderStatus
from bots.sweep import sweep
from safety.kill_switch import release
from safety.limit_fields import SWITCHABLE
from safety.models import KillRun, RiskLimits
from tests.bots.live import live_bot, live_desk, measured, ready
from tests.conftest import CommittedDatabase
from tests.faults.oracle import check_chains
from tests.loopback.client import KrakenLoopback
from tests.loopback.faults import FOR_EVER, Fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="processes and their clock"),
]

ROOT = Path(__file__).resolve().parents[2]
REPEATS = int(os.environ.get("KILL_RACE_REPEATS", "20"))
PROCESSES, BOTS_EACH = 3, 2
LATENCY_S = 0.1
#: How long the venue is watched after the drain: a sender between its check and its socket would be through by then.
WATCHED_S = 0.4


class Runner:
    """One process of tests/faults/sender.py."""

    def __init__(self, environ: dict[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sender", *arguments],
            cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        if self.process.stdout is None:
            raise RuntimeError("no output")
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def tell(self, line: str) -> None:
        if self.process.stdin is None:
            raise RuntimeError("no input")
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def racers(committed_db: CommittedDatabase, kraken: KrakenLoopback, settings: Settings) -> Iterator[list[Runner]]:
    """Start the processes that send, and last the one that throws the switch. Trading is halted until the first round."""
    first = live_desk(kraken, settings, capital_usd=Decimal(1_000_000))
    kraken.set_balance("ZUSD", "100000000")
    RiskLimits.objects.update_or_create(scope="global", defaults={"switched_off": list(SWITCHABLE)})
    bots = [
        first,
        *(live_bot(f"live {number}", capital_usd=Decimal(1_000_000)) for number in range(PROCESSES * BOTS_EACH - 1)),
    ]
    kraken.fault(Fault("AddOrder", count=FOR_EVER, delay_s=LATENCY_S))
    # Our own budget of Kraken's limit on orders must not be what slows the senders down.
    VenueAccess.objects.update_or_create(account="kraken", defaults={"tier": KrakenTier.PRO})
    measured("100000000")
    environ = committed_db.environ(ALLOW_LIVE_TRADING="1", **kraken.environ())
    runners = [Runner(environ, "send", *(str(bot.pk) for bot in bots[n::PROCESSES])) for n in range(PROCESSES)]
    runners.append(Runner(environ, "throw"))
    for runner in runners:
        assert runner.answer() == {"ready": True}
    yield runners
    for runner in runners:
        runner.end()


def let_go() -> None:
    """Let trading go on, as a person does who releases and clears what holds the entries."""
    if KillRun.objects.exists():
        release("another round", actor="test")
    Bot.objects.update(entries_held="")
    measured("100000000")
    ready()


def claimed_after_all() -> QuerySet[Order]:
    """Return the orders whose claim, begun before the halt, committed after the drain; their senders look again, and stop."""
    claimed = list(Order.objects.filter(status=OrderStatus.SUBMITTING).values_list("pk", flat=True))
    rows = Order.objects.filter(pk__in=claimed)
    give_up_s = time.monotonic() + 15
    while rows.filter(status=OrderStatus.SUBMITTING).exists():
        assert time.monotonic() < give_up_s, "a sender neither stopped nor said what became of its order"
        time.sleep(0.05)
    return rows


def settle() -> None:
    """Let the sweep ask for what a busy machine left unanswered, or the next round would be held up by it."""
    give_up_s = time.monotonic() + 120
    while Order.objects.filter(status=OrderStatus.UNKNOWN).exists():
        assert time.monotonic() < give_up_s, "an order's outcome is still not known"
        sweep(timezone.now())
        time.sleep(0.2)


# On an idle machine 20 rounds take a minute; where the sweep has to wait for a venue's window, a round takes 20 s by itself.
@pytest.mark.timeout(120 + 20 * REPEATS)
def test_after_drained_no_order_reaches_the_venue(racers: list[Runner], kraken: KrakenLoopback) -> None:
    chance = random.Random()
    thrower = racers[-1]
    under_way = 0
    for number in range(REPEATS):
        let_go()
        before = kraken.last_id()
        kraken.wait_until(lambda: len(kraken.log("AddOrder", after_id=before)), lambda count: count >= 2, 20)  # noqa: B023
        thrower.tell(str(chance.uniform(0, 0.3)))
        thrown = thrower.answer()
        assert thrown["drained"], (number, thrown)
        assert thrown["state"] == "halted"
        stragglers = claimed_after_all()
        time.sleep(WATCHED_S)
        sent = kraken.log("AddOrder", after_id=before)
        late = [one for one in sent if one.received > thrown["drained_s"]]
        assert not late, f"round {number}: {len(late)} orders reached the venue after the drain: {late[:3]}"
        unanswered = [one for one in sent if one.answered is None or one.answered > thrown["drained_s"]]
        assert not unanswered, f"round {number}: an order was still on its way at the drain: {unanswered[:3]}"
        assert set(stragglers.values_list("status", flat=True)) <= {OrderStatus.DENIED}
        # Sent, and not answered yet or not even there, when the switch was thrown: what the drain has to wait for.
        under_way += sum(one.answered is None or one.answered > thrown["engaged_s"] for one in sent)
        settle()
    # The drain had something to wait for, or this proved nothing.
    assert under_way >= REPEATS / 10, f"{under_way} orders were under way when the switch was thrown {REPEATS} times"
    check_chains()
