"""The chores that plan and send: in a thread of their own, bounded, and never in the way of another chore."""

import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from bots import notification_chores
from bots.workers import process
from bots.workers.aside import Aside, aside
from bots.workers.chores import load_chores
from safety.notification_models import Delivery, Notification
from safety.notifications import outbox, planning
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import Fault, Reply

pytestmark = pytest.mark.usefixtures("committed_db")


def test_chores_are_registered_with_their_pace() -> None:
    pace = {one.name: one.every_s for one in load_chores()}
    assert pace["bots.notification_chores.carry_notifications"] == 1
    assert pace["bots.notification_chores.forget_old_notifications"] == 3600


def test_what_is_told_arrives_without_the_chore_waiting_for_it(
    discord: DiscordLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_chores, "CARRY_S", 0)
    discord.fault(Fault(DISCORD_POST, delay_s=3.0))
    outbox.tell("order_unknown", "order:1", "Unknown")
    started_s = time.monotonic()
    notification_chores.carry_notifications(timezone.now())
    # The same again, while the first is still at it: nothing more is begun.
    notification_chores.carry_notifications(timezone.now())
    assert time.monotonic() - started_s < 2.5
    assert aside.settle(20)
    assert len(discord.messages()) == 1
    assert Delivery.objects.get().status == "delivered"


def test_one_thread_goes_on_for_a_while_so_that_a_slow_chore_delays_no_alarm(discord: DiscordLoopback) -> None:
    beside = Aside()
    beside.start("notifications", lambda: notification_chores.carry(3))
    time.sleep(0.3)
    outbox.tell("order_unknown", "order:1", "Unknown")
    discord.wait_until(discord.messages, lambda found: len(found) == 1, 10)
    assert beside.settle(20)


def test_it_stops_when_the_worker_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_own_stop", True)
    started_s = time.monotonic()
    notification_chores.carry(30)
    assert time.monotonic() - started_s < 5


def test_fault_of_the_channel_is_kept_and_not_raised(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, Reply.RESET))
    outbox.tell("risk_alert", "bot:1", "Loss")
    assert notification_chores.carry_once(timezone.now()) == 0
    assert Delivery.objects.get().status == "waiting"
    assert notification_chores.carry_once(timezone.now() + timedelta(seconds=2)) == 1


def test_all_that_is_to_be_told_is_planned_in_one_round(
    discord: DiscordLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "BATCH_MAX", 3)
    monkeypatch.setattr(planning.plan, "__defaults__", (3,))
    for number in range(10):
        outbox.tell("risk_alert", f"bot:{number}", "Loss")
    assert notification_chores.carry_once(timezone.now()) == 1
    assert Delivery.objects.get().count == 10


def test_old_ones_are_forgotten() -> None:
    outbox.tell("risk_alert", "bot:1", "Loss", at=timezone.now() - timedelta(days=31))
    planning.plan(timezone.now())
    notification_chores.forget_old_notifications(timezone.now())
    assert not Notification.objects.exists()


def test_threads_that_told_at_once_are_all_told_of(discord: DiscordLoopback) -> None:
    def tell(number: int) -> None:
        from django.db import connections

        try:
            outbox.tell("risk_alert", f"bot:{number}", "Loss")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=tell, args=[number]) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    notification_chores.carry_once(timezone.now())
    assert Delivery.objects.get().count == 8
