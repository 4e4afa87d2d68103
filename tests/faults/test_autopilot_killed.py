"""kill -9 at each step of an autopilot's cycle: run again, it makes and closes nothing twice, and leaves nothing half.

Real processes, the real replay market, and the database alone as the witness.
"""

import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OperatorEvent
from bots.autopilot import config
from bots.autopilot.cycle import LEASE, run
from bots.markets import market_for
from bots.models import (
    AutopilotBot,
    AutopilotConfig,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotState,
    Bot,
    BotStatus,
    CycleStatus,
    Lease,
)
from safety.intents import Side
from safety.models import Notification
from tests.bots.autopilot.test_act_faults import refused_by_the_database
from tests.bots.builders import trade
from tests.faults import oracle
from tests.faults.killer import LEASE_TAKEN
from tests.faults.nursery import SIGKILLED, Nursery

pytestmark = [
    pytest.mark.workers,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

MAKING = {
    "its row written, nothing looked at": "+bots.autopilot.cycle.scan",
    "all looked at, nothing kept": "-bots.autopilot.cycle.gather",
    "scores kept, no bot made": "+bots.autopilot.acts.Acts._create",
    "in the middle of a bot, before its row": "+bots.manager.create",
    "in the middle of a bot, its row written": "-bots.manager.create",
    "in the middle of a bot, started": "-bots.autopilot.acts.set_running",
    "in the middle of a bot, told of, not committed": "-bots.autopilot.acts.tell_created",
    "one bot made": "-bots.autopilot.acts.Acts._create",
    "in the middle of the second bot": "-bots.manager.create:2",
    "all made, not ended": "+bots.autopilot.cycle._Cycle._end",
    "ended, the lease not given back": "+bots.autopilot.cycle._give_back",
}
CLOSING = {
    "before it is paused": "+bots.autopilot.acts.Acts._send_off",
    "paused, not committed": "-bots.manager.pause",
    "on its way out, not sold": "+bots.manager.close_position",
    "sold, not archived": "-bots.manager.close_position",
    "archived, not committed": "-bots.manager.archive",
    "archived": "-bots.autopilot.acts.Acts._close",
}


@pytest.fixture
def bots_wanted(nursery: Nursery) -> None:
    """Let the autopilot want a bot for every symbol in which some strategy begins."""
    universe = {"replay": ["AAPL", "BTC-PERP", "SPX", "SPY"]}
    wanted = {"enabled": True, "universe": universe, "slots": 4, "sector_slots": 4, "score_demote": 0, "score_min": 0}
    config.change({**wanted, "close_mode": "flatten", "cooldown_minutes": 0}, actor="anna", reason="a test")


def cut_off(nursery: Nursery, point: str) -> None:
    """Kill a cycle at a point, see that the next is kept out while the dead one's lease holds, and let that run out."""
    assert nursery.run("autopilot", [], point=point) == SIGKILLED, f"{point} was never reached"
    assert nursery.run("autopilot", []) == LEASE_TAKEN
    Lease.objects.filter(name=LEASE).update(expires_at=timezone.now() - timedelta(seconds=1))


def check_nothing_twice() -> None:
    """Fail unless each bot of the autopilot was made once and whole, was closed at most once, and nothing is left running."""
    bots = list(Bot.objects.filter(by_autopilot=True).order_by("pk"))
    assert [one.pk for one in bots] == list(AutopilotBot.objects.order_by("pk").values_list("pk", flat=True))
    open_symbols = Counter(one.symbol for one in bots if one.status != BotStatus.ARCHIVED)
    assert set(open_symbols.values()) <= {1}, open_symbols
    told = Counter(Notification.objects.values_list("event", "subject", "title"))
    for bot in bots:
        decided = Counter(AutopilotDecision.objects.filter(bot=bot).values_list("kind", flat=True))
        acts = Counter(OperatorEvent.objects.filter(object=f"bot:{bot.pk} {bot.name}").values_list("action", flat=True))
        is_over = bot.status == BotStatus.ARCHIVED
        assert (decided["created"], decided["closed"]) == (1, is_over), f"{bot}: {decided}"
        assert (acts["bot_created"], acts["bot_archived"]) == (1, is_over), f"{bot}: {acts}"
        said = Counter(
            event for (event, subject, _), count in told.items() if subject == f"bot:{bot.pk}" for _ in range(count)
        )
        assert said["autopilot_bot_created"] == 1, f"{bot}: {told}"
        closed = [
            title for _, subject, title in told.elements() if subject == f"bot:{bot.pk}" and " closed its " in title
        ]
        assert len(closed) == is_over, f"{bot}: {closed}"
    capital = sum((one.capital_usd for one in bots if one.status != BotStatus.ARCHIVED), Decimal(0))
    assert capital <= AutopilotConfig.objects.get().total_capital_usd
    assert not AutopilotCycle.objects.filter(status=CycleStatus.RUNNING).exists()


def close_all() -> None:
    """Let no score be good enough for one cycle, in this process."""
    AutopilotConfig.objects.update(score_demote=100, score_min=100)
    run("schedule", timezone.now())
    AutopilotConfig.objects.update(score_demote=0, score_min=0)


def buy_some(bot: Bot) -> None:
    """Let a bot hold about 20 USD of its symbol."""
    ask = market_for(bot.venue, bot.symbol, timezone.now()).view.quote.ask
    assert not trade(bot, Side.BUY, str((20 / ask).quantize(Decimal("0.00001")))).is_denied


@pytest.mark.fault(56)
@pytest.mark.usefixtures("bots_wanted")
def test_cycle_killed_while_it_makes_bots_makes_none_twice(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    for number, point in enumerate(MAKING.values()):
        heartbeat = AutopilotState.objects.get().heartbeat_at
        cut_off(nursery, point)
        ended_well = point.endswith("_give_back")
        assert (AutopilotState.objects.get().heartbeat_at != heartbeat) == ended_well
        assert nursery.run("autopilot", []) == 0
        check_nothing_twice()
        lost = AutopilotCycle.objects.filter(status=CycleStatus.LOST).count()
        assert lost == number + (not ended_well), point
        made = Bot.objects.filter(by_autopilot=True).exclude(status=BotStatus.ARCHIVED)
        assert made.count() >= 2
        assert set(made.values_list("status", flat=True)) == {BotStatus.RUNNING}
        # What was made is closed again, which makes room for the next point.
        close_all()
        check_nothing_twice()
    oracle.check()
    record_property("struck", "; ".join(MAKING))
    record_property("happened", "each bot made once, whole, told of once")


@pytest.mark.fault(56)
@pytest.mark.usefixtures("bots_wanted")
def test_cycle_killed_while_it_closes_bots_closes_each_once(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    for point in CLOSING.values():
        AutopilotConfig.objects.update(score_demote=0, score_min=0)
        assert nursery.run("autopilot", []) == 0
        held = list(Bot.objects.filter(by_autopilot=True, status=BotStatus.RUNNING).order_by("pk"))
        assert len(held) >= 2
        # The first closes by being sold, the others hold nothing.
        buy_some(held[0])
        AutopilotConfig.objects.update(score_demote=100, score_min=100)
        cut_off(nursery, point)
        for _ in range(2):
            assert nursery.run("autopilot", []) == 0
        check_nothing_twice()
        assert not Bot.objects.filter(by_autopilot=True).exclude(status=BotStatus.ARCHIVED).exists()
    oracle.check()
    record_property("struck", "; ".join(CLOSING))
    record_property("happened", "each bot sold once, archived once, told of once")


@pytest.mark.fault(56)
@pytest.mark.usefixtures("bots_wanted")
def test_cycle_killed_after_an_act_of_it_failed_makes_none_twice(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    points = {"an act failed, not logged": "+bots.autopilot.acts.Acts._note_fault"}
    points |= {
        "an act failed, logged": "-bots.autopilot.acts.Acts._note_fault",
        "all tried, not ended": MAKING["all made, not ended"],
    }
    for point in points.values():
        with refused_by_the_database("INSERT"):
            cut_off(nursery, point)
            assert nursery.run("autopilot", []) == 0
            made = set(Bot.objects.filter(by_autopilot=True, status=BotStatus.RUNNING).values_list("symbol", flat=True))
            assert len(made) >= 1
            assert "AAPL" not in made
            assert AutopilotCycle.objects.latest("pk").status == CycleStatus.FAILED
            check_nothing_twice()
        assert nursery.run("autopilot", []) == 0
        check_nothing_twice()
        assert AutopilotCycle.objects.latest("pk").status == CycleStatus.DONE
        assert Bot.objects.filter(by_autopilot=True, status=BotStatus.RUNNING, symbol="AAPL").exists()
        close_all()
        check_nothing_twice()
    oracle.check()
    record_property("struck", "; ".join(points))
    record_property("happened", "what failed is made later, once; nothing else twice")


@pytest.mark.fault(56)
@pytest.mark.usefixtures("bots_wanted")
def test_cycle_frozen_past_its_lease_writes_nothing_beside_the_one_that_took_over(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    frozen = nursery.freeze("autopilot", [], point="+bots.autopilot.acts.Acts._create")
    assert nursery.run("autopilot", []) == LEASE_TAKEN
    Lease.objects.filter(name=LEASE).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert nursery.run("autopilot", []) == 0
    made = set(Bot.objects.filter(by_autopilot=True).values_list("pk", flat=True))
    assert len(made) >= 2
    assert nursery.thaw(frozen) == LEASE_TAKEN
    assert set(Bot.objects.filter(by_autopilot=True).values_list("pk", flat=True)) == made
    check_nothing_twice()
    statuses = list(AutopilotCycle.objects.order_by("pk").values_list("status", flat=True))
    assert statuses == [CycleStatus.LOST, CycleStatus.DONE]
    oracle.check()
    record_property("struck", "SIGSTOP before the first bot, past the lease, then SIGCONT")
    record_property("happened", "fenced: the other cycle's bots alone")
