"""An idle live desk on Kraken's smallest tier: what all chores ask of it together, and that it leaves room for what matters.

The sum is in docs/adr/0010-rate-budget.md. Time is made to pass; the requests are real, and counted at the loopback.
"""

from collections import Counter
from datetime import timedelta
from importlib import import_module

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from bots import dead_man
from bots.brokers import kraken_budget
from bots.brokers.factory import broker_for, forget_brokers
from bots.models import KrakenTier, RateCounter
from bots.order_states import OrderStatus
from bots.readiness_venues import _ask as ask_for_readiness
from bots.workers.chores import Chore, load_chores
from tests.bots.live import live_desk, live_intent, send
from tests.conftest import CommittedDatabase, on_sqlite
from tests.loopback import limits
from tests.loopback.client import KrakenLoopback

MINUTES = 10
#: What makes requests, or might. The others ask no venue for an account.
ASKING = ("bots.account_chores", "bots.dead_man", "bots.key_watch", "bots.reconciliation.chores", "bots.sweep")
STARTER = limits.REAL[KrakenTier.STARTER].requests
READINESS_EVERY_S = 300


def asking() -> list[Chore]:
    """Return the chores that ask a venue."""
    return [one for one in load_chores() if one.name.rpartition(".")[0] in ASKING]


def cost(kraken: KrakenLoopback, after_id: int) -> tuple[int, Counter[str]]:
    """Return what the signed requests since then count at Kraken, and how many of each there were."""
    costs = {name.removeprefix("post_"): units for name, units in kraken_budget.COSTS.items()}
    asked = Counter(entry.path for entry in kraken.log(after_id=after_id) if entry.nonce)
    return sum(costs.get(path.lower(), 1) * count for path, count in asked.items()), asked


def idle_for(minutes: int, chores: list[Chore]) -> None:
    """Let so many minutes pass, second by second, and do what is due."""
    due = dict.fromkeys([one.name for one in chores], 0.0)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for second in range(minutes * 60):
            for one in chores:
                if second >= due[one.name]:
                    due[one.name] = second + one.every_s
                    one.work(timezone.now())
            if second % READINESS_EVERY_S == 0:
                ask_for_readiness(broker_for("kraken", is_live=True))
            clock.shift(timedelta(seconds=1))


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.timeout(600)
@pytest.mark.parametrize("has_switch", [False, True], ids=["usual", "with the dead-man switch"])
def test_idle_desk_with_five_resting_orders_leaves_room_on_the_smallest_tier(
    committed_db: CommittedDatabase,
    kraken: KrakenLoopback,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    has_switch: bool,
) -> None:
    bot = live_desk(kraken, settings)
    for price in ("95", "95.1", "95.2", "95.3", "95.4"):
        assert send(live_intent(bot, limit=price, quantity="0.3")).order.status == OrderStatus.ACCEPTED
    if has_switch:
        dead_man.set_wanted("kraken", True, actor="test", reason="a test")
    if on_sqlite():
        # PostgreSQL's own clock, by which the budget counts, can't be made to pass: there the requests alone are counted.
        limits.restore(monkeypatch)
    forget_brokers()
    RateCounter.objects.all().delete()
    before = kraken.last_id()
    idle_for(MINUTES, asking())
    units, asked = cost(kraken, before)
    assert asked["OpenOrders"] >= 2 * MINUTES
    assert bool(asked["CancelAllOrdersAfter"]) == has_switch
    # On an idle machine 38 %, and 51 % with the dead-man switch; a busy one asks some questions again.
    falls_off = MINUTES * 60_000 / STARTER.ms_per_unit
    assert units < falls_off * (0.7 if has_switch else 0.6), asked
    # Under the budget that ships, nothing of it was ever held back.
    assert list(RateCounter.objects.filter(held_back__gt=0)) == []
    assert not [entry for entry in kraken.log(after_id=before) if "Rate limit" in entry.outcome]


def test_every_chore_that_can_reach_a_broker_is_counted_above() -> None:
    load_chores()
    named = {one.name.rpartition(".")[0] for one in load_chores()}
    reaching = {name for name in named if "broker_for" in vars(import_module(name))}
    assert reaching <= set(ASKING) | {"bots.executor.shadow"}
    assert set(ASKING) <= named
