"""The soak: live bots on both venues, real workers, faults at random, kill −9 of a worker every 20 s; at the end all agrees.

A minute here; ``python -m tests.faults.soak`` for longer. See docs/long-runs.md for what was run by hand.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from bots import manager
from bots.manager import BotActionError
from bots.models import Bot, BotStatus, Fill, Order, ReconciliationRun, VenueAccess
from bots.order_states import OPEN_STATES, OrderStatus
from bots.reconciliation.engine import reconcile
from bots.reconciliation.queries import view
from bots.strategies import registry
from safety.kill_switch import read_state, release
from safety.limit_fields import SWITCHABLE
from safety.models import ReadinessRun, RiskLimits
from tests.bots.alpaca_desk import live_stock_desk
from tests.bots.live import live_bot, live_desk, ready
from tests.conftest import CommittedDatabase
from tests.faults.churn import Restless
from tests.faults.mischief import COINS, SHARES, Mischief
from tests.faults.oracle import check
from tests.faults.venues import AlpacaSide, KrakenSide
from tests.loopback.client import AlpacaLoopback, KrakenLoopback
from tests.workers.conftest import MARK, ClusterUnderTest, wait_until

MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
BOTS = int(os.environ.get("SOAK_BOTS", "12"))
SEED = int(os.environ.get("SOAK_SEED", "20261122"))
KILL_EVERY_S, CARE_EVERY_S, READY_EVERY_S = 20.0, 3.0, 60.0
#: Looking for a lost order takes more than a minute, and on a small rate limit several of them wait for each other.
SETTLE_S = 300.0
#: In the short form that minute passes in the database, as in the tests of the matrix: so often, so much, after so long. The long
#: form waits for it.
PASSES, PASSES_S, PASSES_EVERY_S = (5 if MINUTES <= 1 else 0), 23, 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform != "linux", reason="starts workers and looks at them by /proc"),
    pytest.mark.timeout(MINUTES * 60 + SETTLE_S + 300),
]
ROOT = Path(__file__).resolve().parents[2]


class Cluster(ClusterUnderTest):
    """One ``manage.py qcluster`` with the soak's settings."""

    def __init__(self, name: str, environ: dict[str, str], log: Path) -> None:
        self._mark, self.log_path = f"soak-{name}-{os.getpid()}-{log.parent.name}", log
        with log.open("w") as stream:
            self.main = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster", "-n", name],
                cwd=ROOT, env={**environ, MARK: self._mark}, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip


@pytest.fixture
def sides(
    committed_db: CommittedDatabase,
    kraken: KrakenLoopback,
    alpaca: AlpacaLoopback,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[KrakenSide, AlpacaSide]:
    """Return both venues with half of the bots each, all limits off that may be, and nothing in their way."""
    monkeypatch.setitem(registry._strategies, Restless.key, Restless())
    RiskLimits.objects.update_or_create(scope="global", defaults={"switched_off": list(SWITCHABLE)})
    VenueAccess.objects.update_or_create(account="kraken", defaults={"tier": "pro"})
    # A bot that sells what it bought must not meet the resting purchase of another: few bots share a symbol.
    kraken.set_balance("ZUSD", "1000000")
    changes: dict[str, Any] = {"strategy": Restless.key, "poll_seconds": 5}
    live_desk(kraken, settings, **changes)
    live_stock_desk(alpaca, settings, **changes)
    for coin, share in zip(COINS, SHARES, strict=True):
        kraken.set_price("99.9", "100.1", symbol=coin)
        alpaca.set_price("99.9", "100.1", symbol=share)
    for number in range(1, BOTS // 2):
        place = number % len(COINS)
        live_bot(f"coin {number}", symbol=COINS[place], **changes)
        live_bot(f"share {number}", venue="alpaca", symbol=SHARES[place], **changes)
    return KrakenSide(kraken), AlpacaSide(alpaca, is_live=True)


@pytest.fixture
def clusters(
    committed_db: CommittedDatabase, sides: tuple[KrakenSide, AlpacaSide], tmp_path: Path
) -> Iterator[list[Cluster]]:
    """Start both clusters on the test's database, pointed at both venues."""
    environ = committed_db.environ(**sides[0].environ() | sides[1].environ())
    environ |= {"DJANGO_SETTINGS_MODULE": "tests.faults.soak_settings"}
    started = [Cluster(name, environ, tmp_path / f"{name}.log") for name in ("runners", "slow")]
    yield started
    for one in started:
        one.end()


def care() -> None:
    """Do what a person does who wants it to go on: resume what paused, let entries go on, release what halted."""
    if read_state().reasons:
        release("the soak goes on", actor="test")
    Bot.objects.exclude(entries_held="").update(entries_held="")
    for bot in Bot.objects.exclude(status=BotStatus.RUNNING):
        with suppress(BotActionError):
            manager.start(bot.pk, actor="test")
    last = ReadinessRun.objects.order_by("-finished_at").first()
    if last is None or last.started_at < timezone.now() - timedelta(seconds=READY_EVERY_S):
        ready()


def kill_one(clusters: list[Cluster], chance: random.Random) -> int:
    """Kill one process of the workers, whichever; return how many were killed."""
    children = [child for cluster in clusters for child in cluster.children()]
    if not children:
        return 0
    with suppress(ProcessLookupError):
        os.kill(chance.choice(children).pid, signal.SIGKILL)
    return 1


def open_orders() -> int:
    return Order.objects.filter(bot__isnull=False, status__in=sorted(OPEN_STATES)).count()


def let_the_window_pass() -> None:
    """Let what nobody has found yet be looked for often and long enough. Faults are over; none lasts longer than 8 s."""
    wait_until(
        lambda: not Order.objects.filter(status=OrderStatus.SUBMITTING).exists(), 60, "every order was sent or not"
    )
    passed = timedelta(seconds=PASSES_S)
    moments = ("submitting_at", "deadline_at", "looked_up_at")
    unknown = Order.objects.filter(bot__isnull=False, status=OrderStatus.UNKNOWN)
    for _ in range(PASSES):
        if not unknown.exists():
            return
        # The workers sweep meanwhile.
        time.sleep(PASSES_EVERY_S)
        unknown.update(**{name: F(name) - passed for name in moments})


def agrees(venue: str) -> bool:
    """Return whether a whole round finds both sides equal."""
    run = reconcile(venue, is_live=True, trigger="test")
    return run.state == "agrees" and not view(venue, is_live=True).differences


def test_everything_agrees_after_faults_and_kills(
    sides: tuple[KrakenSide, AlpacaSide], alpaca: AlpacaLoopback, clusters: list[Cluster]
) -> None:
    kraken_side, alpaca_side = sides
    chance, killed = random.Random(SEED), 0
    # A price that jumped from the loopback's own history is let in once two more minutes have confirmed it.
    wait_until(lambda: Fill.objects.exists(), 240, "the bots trade")
    until_s = time.monotonic() + MINUTES * 60
    next_kill_s = time.monotonic() + KILL_EVERY_S / 2
    with Mischief(kraken_side, alpaca_side, alpaca, SEED) as mischief:
        while time.monotonic() < until_s:
            time.sleep(CARE_EVERY_S)
            care()
            if time.monotonic() >= next_kill_s:
                killed += kill_one(clusters, chance)
                next_kill_s += KILL_EVERY_S
    kraken_side.loopback.reveal()
    for bot in Bot.objects.all():
        with suppress(BotActionError):
            manager.stop(bot.pk, actor="test")
    let_the_window_pass()
    settled_s = wait_until(lambda: not open_orders(), SETTLE_S, "every order has ended")
    for cluster in clusters:
        cluster.stop(signal.SIGTERM, group=False)
    for side in sides:
        wait_until(lambda side=side: agrees(side.name), 120, f"both sides of {side.name} agree")  # type: ignore[misc]
    check(*sides)
    statuses = Counter(Order.objects.values_list("status", flat=True))
    told = {
        "seed": SEED,
        "kills": killed,
        "mischief": dict(mischief.done),
        "orders": dict(statuses),
        "settled_s": int(settled_s),
    }
    sys.stdout.write(f"{told}; {Fill.objects.count()} fills, {ReconciliationRun.objects.count()} rounds\n")
    assert killed >= MINUTES * 60 // KILL_EVERY_S - 1
    assert Fill.objects.count() > Decimal(MINUTES) * 5
