"""What /metrics tells of the outbox: what waits, what was given up, what fails, and what nobody has seen."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from safety.notification_models import ChannelState, Delivery
from safety.notifications import acts, delivery, outbox, planning
from safety.notifications.messages import EVENTS
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import FOR_EVER, Fault, Reply
from tests.tradingops.test_metrics import scrape

pytestmark = pytest.mark.usefixtures("committed_db")
NAMES = ("notification_messages", "notification_oldest_age_seconds", "notification_failing_seconds")


def test_without_a_channel_only_what_is_to_be_told_is_counted() -> None:
    outbox.tell("order_unknown", "order:1", "Unknown")
    found = scrape()
    assert (found["notifications_unplanned"], found["notifications_unseen"]) == ({(): 1}, {(): 1})
    assert not found.keys() & set(NAMES)
    planning.plan(timezone.now())
    found = scrape()
    assert (found["notifications_unplanned"], found["notifications_unseen"]) == ({(): 0}, {(): 1})
    acts.see([1], actor="anna")
    assert scrape()["notifications_unseen"] == {(): 0}


def test_channel_that_works_and_has_nothing_to_do_says_so(discord: DiscordLoopback) -> None:
    found = scrape()
    assert found["notification_messages"] == {("discord", "waiting"): 0, ("discord", "dead"): 0}
    assert found["notification_oldest_age_seconds"] == found["notification_failing_seconds"] == {("discord",): 0}


def test_failing_channel_tells_since_when_and_what_it_holds_back(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, count=FOR_EVER, status=503))
    now = timezone.now()
    outbox.tell("order_unknown", "order:1", "Unknown", at=now - timedelta(seconds=100))
    outbox.tell("risk_alert", "bot:1", "Loss", at=now - timedelta(seconds=50))
    planning.plan(now)
    delivery.deliver_due(now, "test")
    ChannelState.objects.filter(name="discord").update(failing_since=now - timedelta(seconds=40))
    found = scrape()
    assert found["notification_messages"] == {("discord", "waiting"): 2, ("discord", "dead"): 0}
    assert 100 <= found["notification_oldest_age_seconds"]["discord",] < 110
    assert 40 <= found["notification_failing_seconds"]["discord",] < 50
    Delivery.objects.filter(event="risk_alert").update(status="dead")
    assert scrape()["notification_messages"] == {("discord", "waiting"): 1, ("discord", "dead"): 1}


def test_what_was_given_up_shows_though_the_channel_is_gone(discord: DiscordLoopback, settings: Settings) -> None:
    outbox.tell("risk_alert", "bot:1", "Loss")
    planning.plan(timezone.now())
    Delivery.objects.update(status="dead")
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=None)
    assert scrape()["notification_messages"] == {("discord", "waiting"): 0, ("discord", "dead"): 1}


def test_cost_does_not_grow_with_what_was_told(discord: DiscordLoopback) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            scrape()
        return sum("notification" in one["sql"] for one in seen)

    before = queries()
    for event in EVENTS:
        for number in range(5):
            outbox.tell(event, f"thing:{number}", "It happened")
    planning.plan(timezone.now())
    delivery.deliver_due(timezone.now(), "test")
    assert queries() == before
