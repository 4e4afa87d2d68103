"""What is kept of what was thought: every change and every act, once; and how long it stays."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bots import decision_chores, decisions
from bots.decision_chores import KEEP_AT_LEAST, KEEP_FOR, thin, thin_decisions
from bots.decisions import Thought, keep, remember
from bots.intelligence.values import Action, Assessment, Reason, Regime
from bots.models import Bot, BotDecision
from bots.workers.leases import SHARD_COUNT, Fence, LeaseLost, shard_lease, shard_of
from tests.bots.builders import Floor, Worker, buy, floor, make_bot

__all__ = ["floor"]
pytestmark = pytest.mark.django_db
CALM = Assessment(Action.TRADE_ALLOWED, Regime.RANGE, Decimal("0.8"), 60, {"trend": 50}, (), Decimal(84), {"bars": 512})
WILD = Assessment(
    Action.MANAGE_ONLY, Regime.HIGH_VOLATILITY, Decimal("0.9"), 60, {"trend": 50}, (Reason("HIGH_VOLATILITY", "wild"),)
)


@pytest.fixture
def bot(floor: Floor) -> Bot:
    return make_bot()


def fence(epoch: int = 1, holder: str = "worker") -> Fence:
    return Fence(holder, {shard_lease(shard): epoch for shard in range(SHARD_COUNT)})


def told(bot: Bot, *thoughts: Assessment, held: Fence | None = None, is_acted_on: bool = False) -> list[BotDecision]:
    """Keep what was thought in one tick after another; return the rows of the last."""
    rows: list[BotDecision] = []
    for thought in thoughts:
        rows = keep([Thought(bot.pk, thought, is_acted_on)], held or fence(), timezone.now())
        remember(rows, held or fence())
    return rows


def rows_of(bot: Bot) -> list[tuple[str, int]]:
    return list(BotDecision.objects.filter(bot=bot).order_by("id").values_list("action", "score"))


def test_first_thought_is_kept_whole(bot: Bot) -> None:
    told(bot, WILD)
    row = BotDecision.objects.get()
    assert (row.action, row.regime, row.confidence, row.score) == ("manage_only", "high_volatility", Decimal("0.9"), 60)
    assert row.reasons == [{"code": "HIGH_VOLATILITY", "message": "wild"}]
    assert (row.parts, row.cost_bps, row.inputs, row.version) == ({"trend": 50}, None, {}, WILD.version)
    told(bot, CALM)
    last = BotDecision.objects.latest("id")
    assert (last.cost_bps, last.inputs, last.reasons) == (Decimal(84), {"bars": 512}, [])


def test_unchanged_thought_is_not_kept_again_and_costs_no_query(bot: Bot) -> None:
    told(bot, CALM)
    with CaptureQueriesContext(connection) as queries:
        told(bot, CALM, replace(CALM, confidence=Decimal("0.1"), cost_bps=None, parts={}))
    assert len(queries) == 0
    assert BotDecision.objects.count() == 1


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        (replace(CALM, score=69), 1),
        (replace(CALM, score=70), 2),
        (replace(CALM, score=51), 1),
        (replace(CALM, score=50), 2),
        (replace(CALM, regime=Regime.TREND_UP), 2),
        (replace(CALM, action=Action.MANAGE_ONLY), 2),
        (replace(CALM, reasons=(Reason("STALE_QUOTE", "old"),)), 2),
    ],
)
def test_change_is_kept(bot: Bot, changed: Assessment, count: int) -> None:
    told(bot, CALM, changed)
    assert BotDecision.objects.count() == count


def test_slow_drift_of_the_score_is_kept_once_it_came_to_ten(bot: Bot) -> None:
    told(bot, *(replace(CALM, score=60 + step) for step in range(22)))
    assert [score for _, score in rows_of(bot)] == [60, 70, 80]


def test_other_words_or_order_of_the_same_reasons_are_no_news(bot: Bot) -> None:
    first, second = Reason("STALE_QUOTE", "13 s"), Reason("LOSS_LIMIT", "much")
    told(bot, replace(WILD, reasons=(first, second)), replace(WILD, reasons=(second, Reason("STALE_QUOTE", "14 s"))))
    assert BotDecision.objects.count() == 1


def test_act_is_kept_though_nothing_changed(bot: Bot) -> None:
    told(bot, CALM)
    told(bot, CALM, is_acted_on=True)
    assert BotDecision.objects.count() == 2


def test_restart_reads_what_was_kept_last(bot: Bot) -> None:
    told(bot, CALM, WILD)
    decisions.forget()
    told(bot, WILD)
    assert rows_of(bot) == [("trade_allowed", 60), ("manage_only", 60)]
    told(bot, CALM)
    assert BotDecision.objects.count() == 3


def test_many_bots_are_read_in_one_query_after_a_restart(floor: Floor) -> None:
    bots = [make_bot(f"bot {number}") for number in range(6)]
    for bot in bots:
        told(bot, CALM, WILD)
    decisions.forget()
    with CaptureQueriesContext(connection) as queries:
        assert keep([Thought(bot.pk, WILD) for bot in bots], fence(), timezone.now()) == []
    assert len(queries) == 1


def test_bot_that_was_with_another_worker_meanwhile_is_read_anew(bot: Bot) -> None:
    told(bot, CALM)
    # The other worker is another process: what it remembers is not shared.
    mine = dict(decisions._remembered)
    told(bot, WILD, held=fence(2, "other"))
    decisions._remembered.clear()
    decisions._remembered.update(mine)
    told(bot, CALM, held=fence(3))
    assert [action for action, _ in rows_of(bot)] == ["trade_allowed", "manage_only", "trade_allowed"]


def test_memory_is_bounded(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "REMEMBERED_MAX", 3)
    bots = [make_bot(f"bot {number}") for number in range(5)]
    for one in bots:
        told(one, CALM)
        assert len(decisions._remembered) <= 3
    for one in bots:
        told(one, CALM)
    assert BotDecision.objects.count() == 5


# In ticks.


def test_tick_keeps_what_it_thought_and_not_twice(floor: Floor) -> None:
    worker, bot = Worker(), make_bot(strategy=floor.strategy("idle").key)
    now = timezone.now()
    worker.tick(bot, now=now)
    worker.tick(bot, now=now + timedelta(seconds=2))
    [row] = BotDecision.objects.all()
    assert (row.bot_id, row.decided_at, row.action) == (bot.pk, now, "trade_allowed")


def test_order_and_its_decision_share_the_moment(floor: Floor) -> None:
    worker = Worker()
    wants: list[bool] = []
    bot = make_bot(strategy=floor.strategy("now and then", lambda view: [buy("1")] if wants else []).key)
    worker.tick(bot)
    assert BotDecision.objects.count() == 1
    wants.append(True)
    now = timezone.now() + timedelta(seconds=2)
    worker.tick(bot, now=now)
    order = bot.orders.get()
    held = BotDecision.objects.filter(bot=bot, decided_at__lte=order.created_at).order_by("-decided_at").first()
    assert held is not None
    assert (held.decided_at, held.action) == (now, "trade_allowed")


def test_tick_of_a_worker_that_lost_its_lease_keeps_and_remembers_nothing(floor: Floor) -> None:
    worker, bot = Worker(), make_bot(strategy=floor.strategy("idle").key)
    lost = worker.fence
    worker.leases.release([shard_lease(shard_of(bot.pk))])
    from bots.tick import tick_batch
    from bots.workers.schedule import DueTick

    with pytest.raises(LeaseLost):
        tick_batch([DueTick(bot.pk, timezone.now())], lost, timezone.now())
    assert not BotDecision.objects.exists()
    worker.leases.claim([shard_lease(shard_of(bot.pk))], 1)
    worker.tick(bot)
    assert BotDecision.objects.count() == 1


def test_bot_whose_tick_failed_keeps_nothing_and_the_others_do(floor: Floor) -> None:
    floor.strategy("faulty", lambda view: [1 / 0])  # type: ignore[list-item]
    faulty, idle = make_bot("faulty", strategy="faulty"), make_bot("idle", strategy=floor.strategy("idle").key)
    Worker().tick(faulty, idle)
    assert list(BotDecision.objects.values_list("bot_id", flat=True)) == [idle.pk]


# How long they stay.


def stored(bot: Bot, ages_days: Collection[float], now: datetime) -> None:
    BotDecision.objects.bulk_create(
        BotDecision(
            bot=bot, decided_at=now - timedelta(days=age), action="trade_allowed", regime="range",
            confidence=Decimal(1), score=50, version=1,
        )
        for age in ages_days
    )  # fmt: skip


def test_last_ones_stay_however_old_they_are(bot: Bot) -> None:
    now = timezone.now()
    stored(bot, [200 + number for number in range(KEEP_AT_LEAST)], now)
    assert thin(bot.pk, now) == 0
    stored(bot, [199], now)
    assert thin(bot.pk, now) == 1
    assert BotDecision.objects.count() == KEEP_AT_LEAST
    assert not BotDecision.objects.filter(decided_at__lt=now - timedelta(days=398.5)).exists()


@pytest.mark.parametrize(("older_by_s", "deleted"), [(-1, 0), (0, 0), (1, 1)])
def test_old_one_beyond_the_last_goes_after_ninety_days(bot: Bot, older_by_s: int, deleted: int) -> None:
    now = timezone.now()
    stored(bot, [0.001 * number for number in range(KEEP_AT_LEAST)], now)
    stored(bot, [(KEEP_FOR + timedelta(seconds=older_by_s)) / timedelta(days=1)], now)
    assert thin(bot.pk, now) == deleted


def test_no_bot_keeps_more_than_so_many(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_chores, "KEEP_AT_LEAST", 3)
    monkeypatch.setattr(decision_chores, "KEEP_AT_MOST", 5)
    monkeypatch.setattr(decision_chores, "ROWS_A_BOT", 4)
    now = timezone.now()
    stored(bot, [0.01 * number for number in range(12)], now)
    assert [thin(bot.pk, now) for _ in range(3)] == [4, 3, 0]
    kept = BotDecision.objects.order_by("-decided_at").values_list("decided_at", flat=True)
    assert list(kept) == [now - timedelta(days=0.01 * number) for number in range(5)]


def test_rounds_reach_every_bot(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_chores, "KEEP_AT_LEAST", 1)
    monkeypatch.setattr(decision_chores, "BOTS_A_ROUND", 2)
    monkeypatch.setattr(decision_chores, "_last_bot_id", 0)
    now = timezone.now()
    bots = [make_bot(f"bot {number}") for number in range(5)]
    for bot in bots:
        stored(bot, [1, 100], now)
    for left in (8, 6, 5, 5, 5):
        thin_decisions(now)
        assert BotDecision.objects.count() == left
    stored(bots[0], [120], now)
    thin_decisions(now)
    thin_decisions(now)
    assert BotDecision.objects.count() == 5
