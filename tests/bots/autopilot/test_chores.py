"""When a cycle is queued, that silence is told once, and what is forgotten."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from bots.autopilot import chores, state
from bots.models import (
    AutopilotConfig,
    AutopilotCycle,
    AutopilotDecision,
    AutopilotState,
    CycleStatus,
    Recommendation,
)
from bots.workers.q2 import cluster_settings
from safety.models import Notification

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def settings(*, enabled: bool = True, **fields: Any) -> None:
    AutopilotConfig.objects.update(enabled=enabled, scan_interval_s=60)
    AutopilotState.objects.update(**fields)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


class TestQueue:
    @pytest.mark.parametrize(
        ("next_in_s", "expected"),
        [(None, True), (-1, True), (0, True), (1, False), (60, False), (61, True)],
    )
    def test_cycle_is_queued_when_it_is_due_or_the_clock_was_set_back(
        self, next_in_s: float | None, expected: bool
    ) -> None:
        settings(next_at=None if next_in_s is None else ago(-next_in_s))
        assert chores.queue_if_due(NOW) == expected
        assert OrmQ.objects.count() == expected

    def test_cycle_that_waits_is_not_queued_again(self) -> None:
        settings(next_at=ago(1))
        assert chores.queue_if_due(NOW)
        assert state.read().next_at == NOW + timedelta(seconds=60)
        assert not chores.queue_if_due(NOW + timedelta(seconds=61))
        task = OrmQ.objects.get()
        assert (task.key, task.func()) == ("slow", "bots.tasks.run_autopilot")
        task.delete()
        assert chores.queue_if_due(NOW + timedelta(seconds=61))

    def test_nothing_is_queued_while_it_is_off(self) -> None:
        settings(enabled=False, next_at=ago(1))
        chores.queue_cycle(NOW)
        assert not OrmQ.objects.exists()

    def test_task_ends_before_the_queue_would_hand_it_out_again(self) -> None:
        assert cluster_settings(chores.CLUSTER)["retry"] > chores.TASK_TIMEOUT_S


class TestHeartbeat:
    @pytest.mark.parametrize(
        ("fields", "late"),
        [
            ({"heartbeat_at": ago(120), "enabled_at": ago(9999)}, False),
            ({"heartbeat_at": ago(120.1), "enabled_at": ago(9999)}, True),
            ({"heartbeat_at": ago(9999), "enabled_at": ago(120)}, False),
            ({"heartbeat_at": ago(9999), "enabled_at": ago(121)}, True),
            ({"heartbeat_at": None, "enabled_at": ago(121)}, True),
            ({"heartbeat_at": None, "enabled_at": None}, False),
        ],
    )
    def test_it_is_late_after_twice_the_interval(self, fields: dict[str, Any], late: bool) -> None:
        settings(**fields)
        assert state.is_late(NOW) == late
        chores.watch_heartbeat(NOW)
        assert Notification.objects.filter(event="worker_down", subject="autopilot").count() == late

    def test_silence_is_told_once_and_again_after_the_next_heartbeat(self) -> None:
        settings(heartbeat_at=ago(200), enabled_at=ago(9999))
        for _ in range(3):
            chores.watch_heartbeat(NOW)
        assert Notification.objects.count() == 1
        AutopilotState.objects.update(heartbeat_at=NOW)
        chores.watch_heartbeat(NOW)
        chores.watch_heartbeat(NOW + timedelta(seconds=121))
        assert Notification.objects.count() == 2

    def test_it_is_told_with_what_became_of_the_last_cycle(self) -> None:
        settings(heartbeat_at=ago(200), enabled_at=ago(9999))
        AutopilotCycle.objects.create(
            trigger="schedule", holder="x", status=CycleStatus.FAILED, error="KeyError: 'x'", started_at=ago(10)
        )
        chores.watch_heartbeat(NOW)
        text = Notification.objects.get().text
        assert "failed. KeyError: 'x'" in text
        assert "11:56:40 UTC" in text

    def test_nobody_is_told_while_it_is_off(self) -> None:
        settings(enabled=False, heartbeat_at=ago(9999), enabled_at=ago(9999))
        chores.watch_heartbeat(NOW)
        assert not Notification.objects.exists()
        assert not state.is_late(NOW)

    @pytest.mark.parametrize(
        ("enabled", "fields", "age_s"),
        [
            (True, {"heartbeat_at": ago(30), "enabled_at": ago(99)}, 30.0),
            (True, {"heartbeat_at": ago(-5), "enabled_at": ago(99)}, 0.0),
            (True, {"heartbeat_at": ago(100), "enabled_at": ago(99)}, None),
            (True, {"heartbeat_at": None, "enabled_at": ago(99)}, None),
            (False, {"heartbeat_at": ago(30), "enabled_at": ago(99)}, None),
        ],
    )
    def test_age_counts_from_the_last_whole_cycle(
        self, enabled: bool, fields: dict[str, Any], age_s: float | None
    ) -> None:
        settings(enabled=enabled, **fields)
        assert state.heartbeat_age_s(NOW) == age_s


def test_what_is_older_than_it_is_kept_is_forgotten_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "FORGET_AT_ONCE", 2)
    now = timezone.now()
    for age in (chores.KEEP + timedelta(seconds=1), chores.KEEP - timedelta(seconds=1)):
        for _ in range(3):
            at = now - age
            one = AutopilotCycle.objects.create(trigger="x", holder="x", status=CycleStatus.DONE, started_at=at)
            AutopilotDecision.objects.create(cycle=one, decided_at=at, kind="kept", code="score", reason="x")
            Recommendation.objects.create(
                cycle=one, venue="replay", symbol="SPY", timeframe="1m", score=1, regime="range", confidence=1,
                action="trade_allowed", scanned_at=at,
            )  # fmt: skip
    chores.forget_old(now)
    assert (AutopilotDecision.objects.count(), Recommendation.objects.count()) == (4, 4)
    chores.forget_old(now)
    chores.forget_old(now)
    left = [model.objects.count() for model in (AutopilotCycle, AutopilotDecision, Recommendation)]
    assert left == [3, 3, 3]
