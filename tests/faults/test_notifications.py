"""The outbox under kill -9, two senders at once, and a Discord that is away, wants to be left alone, or knows us no more.

FAULTS.md rows 10 and 47, with real processes and the loopback Discord.
"""

import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from audit.models import OperatorEvent
from safety.notification_models import ChannelState, Delivery, Notification
from safety.notifications import reading
from tests.conftest import CommittedDatabase
from tests.faults.conftest import SIGKILLED, Nursery
from tests.faults.oracle import check
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import FOR_EVER, Fault, Reply

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(sys.platform == "win32", reason="forks and signals"),
]

BEFORE_THE_CAUSE_COMMITS = {
    "told, not committed": "-safety.notifications.outbox.tell",
    "audit row written, not committed": "-audit.log.append_rows",
}
#: Where the outbox's own work is killed: how many messages Discord has by then.
AFTER_THE_CAUSE_COMMITTED = {
    "nothing planned": ("+safety.notifications.planning.plan", 0),
    "planned, not committed": ("-safety.notifications.planning._add", 0),
    "planned and committed": ("-safety.notifications.planning.plan", 0),
    "claimed, not committed": ("-safety.notifications.delivery._next:2", 0),
    "claimed, not sent": ("-safety.notifications.delivery.claim", 0),
    "just before the socket": ("+safety.notifications.discord.webhook.DiscordChannel.deliver", 0),
    "sent, not noted": ("-safety.notifications.discord.webhook.DiscordChannel.deliver", 1),
    "noted, not committed": ("-safety.notifications.verdicts._delivered", 1),
    "noted and committed": ("-safety.notifications.verdicts.keep", 1),
}
#: At these Discord has the message and the database does not know it: it is sent once more, with the same event id.
SENT_TWICE = {"sent, not noted", "noted, not committed"}
#: Longer than a claim lasts.
LATER_S = 25
ALERTS, ALERTS_S = int(os.environ.get("FLOOD_ALERTS", "600")), float(os.environ.get("FLOOD_S", "6"))

OUTAGE_S = float(os.environ.get("OUTAGE_S", "6"))


@pytest.fixture
def outbox(nursery: Nursery, committed_db: CommittedDatabase, discord: DiscordLoopback) -> Nursery:
    """Return a nursery whose processes tell and send to the loopback Discord."""
    nursery.common = {"environ": discord.environ(), "var_dir": str(committed_db.var_dir)}
    return nursery


def event_ids(discord: DiscordLoopback) -> list[str]:
    return [one["embeds"][0]["footer"]["text"].removeprefix("event ") for one in discord.messages()]


class TestKilled:
    @pytest.mark.fault(10)
    @pytest.mark.parametrize("point", BEFORE_THE_CAUSE_COMMITS)
    def test_cause_that_never_committed_is_never_told(
        self, outbox: Nursery, discord: DiscordLoopback, point: str, record_property: Callable[[str, object], None]
    ) -> None:
        assert outbox.run("tell", [], event="order_unknown", point=BEFORE_THE_CAUSE_COMMITS[point]) == SIGKILLED
        assert outbox.run("carry", []) == 0
        assert discord.messages() == []
        assert not Notification.objects.exists()
        assert not OperatorEvent.objects.filter(action="told").exists()
        record_property("struck", point)
        record_property("happened", "nothing happened, nothing was told")
        check()

    @pytest.mark.fault(10)
    @pytest.mark.parametrize("point", AFTER_THE_CAUSE_COMMITTED)
    def test_what_happened_is_told_with_one_event_id(
        self, outbox: Nursery, discord: DiscordLoopback, point: str, record_property: Callable[[str, object], None]
    ) -> None:
        where, messages = AFTER_THE_CAUSE_COMMITTED[point]
        assert outbox.run("tell", [], event="order_unknown") == 0
        told = Notification.objects.get()
        assert outbox.run("carry", [], point=where) == SIGKILLED
        assert len(discord.messages()) == messages
        # At once only what nobody holds; a claim of the dead runs out.
        assert outbox.run("carry", [], shift_s=LATER_S) == 0
        assert outbox.run("carry", [], shift_s=2 * LATER_S) == 0
        assert event_ids(discord) == [told.event_id] * (2 if point in SENT_TWICE else 1)
        (delivery,) = Delivery.objects.all()
        assert (delivery.status, delivery.count, delivery.event_id) == ("delivered", 1, told.event_id)
        assert len({one["embeds"][0]["description"] for one in discord.messages()}) == 1
        record_property("struck", point)
        record_property("happened", f"sent {'twice' if point in SENT_TWICE else 'once'}, same event id")
        check()

    @pytest.mark.fault(10)
    def test_killed_at_random_moments_loses_nothing(
        self, outbox: Nursery, discord: DiscordLoopback, record_property: Callable[[str, object], None]
    ) -> None:
        chance = random.Random(20261123)
        ends = []
        for number in range(12):
            assert outbox.run("tell", [], event="order_unknown", subject=f"order {number}") == 0
            options = {"kill_after_s": chance.uniform(0.005, 0.08), "shift_s": number * LATER_S}
            ends.append(outbox.run("carry", [], **options))
        assert SIGKILLED in ends
        assert outbox.run("carry", [], shift_s=13 * LATER_S) == 0
        assert outbox.run("carry", [], shift_s=14 * LATER_S) == 0
        assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}
        assert sum(Delivery.objects.values_list("count", flat=True)) == 12
        assert not Notification.objects.filter(planned_at=None).exists()
        assert set(event_ids(discord)) == set(Delivery.objects.values_list("event_id", flat=True))
        record_property("struck", "a random moment of planning or sending, 12 times")
        record_property("happened", "everything was told")
        check()


def test_three_senders_at_once_plan_and_send_everything_once(outbox: Nursery, discord: DiscordLoopback) -> None:
    events = ("order_unknown", "risk_alert", "bot_error", "order_rejected", "live_enabled", "autopilot_bot_created")
    tellers = [
        outbox.spawn("tell", [], event=event, subject=event, count=20, different=20, every_s=0.02) for event in events
    ]
    senders = [outbox.spawn("carry", [], for_s=4) for _ in range(3)]
    assert [outbox.wait(pid) for pid in tellers + senders] == [0] * 9
    assert outbox.run("carry", [], shift_s=2 * LATER_S) == 0
    assert Counter(event_ids(discord)).most_common(1)[0][1] == 1
    found = list(Delivery.objects.all())
    assert {one.status for one in found} == {"delivered"}
    assert {one.attempts for one in found} == {1}
    assert sum(one.count for one in found) == len(events) * 20
    # Each thing that happened stands in one message, once.
    lines = Counter(line["subject"] for one in found for line in one.lines)
    assert set(lines.values()) == {1}
    assert {one.claimed_by for one in found} == {"notifications"}


AWAY: dict[str, tuple[Fault | str, str]] = {
    "Discord refuses connections": ("refused", "could not be reached"),
    "Discord answers 503": (
        Fault(DISCORD_POST, Reply.STATUS, count=FOR_EVER, status=503, is_carried_out=False),
        "a fault of its own (status 503)",
    ),
    "the answer breaks off": (
        Fault(DISCORD_POST, Reply.RESET, count=FOR_EVER, is_carried_out=False),
        "could not be reached",
    ),
    "Discord answers 429": (
        Fault(DISCORD_POST, Reply.ERROR, count=FOR_EVER, error="429 slow down", is_carried_out=False),
        "wants no message for",
    ),
    "the webhook is gone": ("gone", "Make a new one and set DISCORD_WEBHOOK_URL"),
}


@pytest.mark.fault(47)
@pytest.mark.parametrize("away", AWAY)
def test_message_is_kept_retried_and_shown_while_discord_is_away(
    outbox: Nursery,
    discord: DiscordLoopback,
    settings: Settings,
    away: str,
    record_property: Callable[[str, object], None],
) -> None:
    fault, says = AWAY[away]
    usual = outbox.common
    if isinstance(fault, Fault):
        discord.fault(fault)
    elif fault == "gone":
        discord.control("set_gone", is_gone=True)
    else:
        closed = {"DISCORD_WEBHOOK_URL": "http://127.0.0.1:9/api/webhooks/1/very-secret"}
        outbox.common = {**usual, "environ": closed}
    assert outbox.run("tell", [], event="order_unknown", subject="order") == 0
    told = Notification.objects.get()
    for shift_s in (0, 5):
        assert outbox.run("carry", [], shift_s=shift_s) == 0
    kept = Delivery.objects.get()
    assert (kept.status, kept.event_id) == ("waiting", told.event_id)
    assert kept.attempts == (1 if fault == "gone" else 2)
    view = reading.channel_views(timezone.now())[0]
    assert view.failing_since is not None
    assert says in view.detail
    shown = safety_page()
    assert "It happened" in shown, "the Safety page shows what is urgent"
    assert says in shown.replace("&#x27;", "'"), "the Safety page says what is wrong with the channel"
    assert discord.webhook_url.rsplit("/", 1)[-1] not in shown
    discord.clear_faults()
    discord.control("set_gone", is_gone=False)
    outbox.common = usual
    assert outbox.run("carry", [], shift_s=660) == 0
    assert event_ids(discord) == [told.event_id]
    assert ChannelState.objects.get(name="discord").failing_since is None
    record_property("struck", away)
    record_property("happened", "kept, tried again, shown on the Safety page, then delivered with the same event id")
    check()


def safety_page() -> str:
    user, _ = User.objects.get_or_create(username="anna", defaults={"is_staff": True, "is_superuser": True})
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    return client.get("/admin/safety/").content.decode()


@pytest.mark.slow
def test_flood_of_alerts_arrives_as_a_readable_handful(outbox: Nursery, discord: DiscordLoopback) -> None:
    """FLOOD_ALERTS and FLOOD_S make it the real one: 10,000 in a minute."""
    discord.set_limit(5, 2.0)
    shares = {"order_rejected": 0.5, "bot_error": 0.3, "risk_alert": 0.15, "order_unknown": 0.05}
    started_s = time.monotonic()
    sender = outbox.spawn("carry", [], for_s=ALERTS_S + 75)
    tellers: list[Any] = []
    for event, share in shares.items():
        count = round(ALERTS * share)
        pace = {"count": count, "every_s": ALERTS_S / count, "at_once": max(1, ALERTS // 1_000)}
        tellers.append(outbox.spawn("tell", [], event=event, different=50, **pace))
    assert [outbox.wait(pid) for pid in tellers] == [0] * len(tellers)
    told_s = time.monotonic() - started_s
    total = sum(round(ALERTS * share) for share in shares.values())
    assert Notification.objects.count() == total

    def counted() -> int:
        return sum(Delivery.objects.filter(status="delivered").values_list("count", flat=True))

    DiscordLoopback.wait_until(counted, lambda found: found == total, 70)
    outbox.kill(sender)
    found = list(Delivery.objects.all())
    late_s = {
        is_urgent: max(
            (one.delivered_at - one.first_at).total_seconds()
            for one in found
            if one.delivered_at is not None and (one.severity == "urgent") is is_urgent
        )
        for is_urgent in (True, False)
    }
    refused = sum(entry.status == 429 for entry in discord.log(DISCORD_POST))
    sys.stdout.write(
        f"{total} alerts in {told_s:.1f} s: {len(discord.messages())} messages, {refused} refused by the limit;"
        f" the latest urgent one {late_s[True]:.1f} s after its first cause, the latest other {late_s[False]:.1f} s\n"
    )
    assert sum(one.count for one in found if one.severity == "urgent") == round(ALERTS * shares["order_unknown"])
    # The gaps double, up to ten seconds for what is urgent.
    assert len(discord.messages()) <= len(shares) * (3 + math.log2(1 + told_s)) + told_s / 10
    assert Counter(event_ids(discord)).most_common(1)[0][1] == 1
    assert late_s[True] < 15
    assert late_s[False] < 65
    assert refused <= 1


@pytest.mark.slow
def test_outage_ends_in_a_handful_of_messages_in_order(outbox: Nursery, discord: DiscordLoopback) -> None:
    """OUTAGE_S makes it a long one. What was told meanwhile is delivered within the pause of a minute at most."""
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, count=FOR_EVER, status=503, is_carried_out=False))
    events = ("order_unknown", "risk_alert", "bot_error")
    count = max(6, int(OUTAGE_S / 2))
    sender = outbox.spawn("carry", [], for_s=OUTAGE_S + 200)
    tellers = [
        outbox.spawn("tell", [], event=one, count=count, different=5, every_s=OUTAGE_S / count) for one in events
    ]
    assert [outbox.wait(pid) for pid in tellers] == [0, 0, 0]
    assert discord.messages() == []
    assert reading.channel_views(timezone.now())[0].failing_since is not None
    tries = len(discord.log(DISCORD_POST))
    assert tries <= 8 + OUTAGE_S / 60
    discord.clear_faults()
    back = timezone.now()
    waiting = Delivery.objects.exclude(status="delivered")
    DiscordLoopback.wait_until(waiting.count, lambda left: left == 0, 150)
    outbox.kill(sender)
    found = list(Delivery.objects.order_by("delivered_at"))
    late_s = max((one.delivered_at - back).total_seconds() for one in found if one.delivered_at is not None)
    sys.stdout.write(
        f"{OUTAGE_S:.0f} s without Discord, {3 * count} alerts, {tries} tries: then {len(found)} messages within {late_s:.1f} s\n"
    )
    assert sum(one.count for one in found) == 3 * count
    assert len(found) <= 9
    ranks = [(one.severity != "urgent", one.first_at) for one in found if one.first_at <= back]
    assert ranks[: len(events)] == sorted(ranks[: len(events)])
    assert late_s < 130
