"""Sending: what is due, in which order, what each answer means for the message and for its channel."""

from dataclasses import replace
from datetime import time, timedelta

import pytest
from pytest_django import Settings

from safety.models import NotificationPrefs
from safety.notification_models import ChannelState, Delivery, DeliveryStatus
from safety.notifications import delivery, planning, prefs, trial
from safety.notifications.outcomes import DeliveryState, Outcome
from safety.notifications.verdicts import keep
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import FOR_EVER, Fault, Reply
from tests.safety.notifications.conftest import AWAY, NOW, at, tell

pytestmark = pytest.mark.django_db
DOWN = Fault(DISCORD_POST, Reply.STATUS, count=FOR_EVER, status=503, is_carried_out=False)


def carry(seconds: float = 0) -> int:
    """Plan and send what is due at that time; the number of messages that were delivered."""
    planning.plan(at(seconds))
    return delivery.deliver_due(at(seconds), "test")


def state() -> ChannelState:
    return ChannelState.objects.get(name="discord")


def titles(discord: DiscordLoopback) -> list[str]:
    return [one["embeds"][0]["title"].replace("\\", "") for one in discord.messages()]


def waits_s(seconds: float) -> float:
    """Return how long the channel is left alone from then on, in whole seconds."""
    not_before = state().not_before
    return 0 if not_before is None else round((not_before - at(seconds)).total_seconds())


def test_message_arrives_with_its_event_id_and_everything_is_noted(discord: DiscordLoopback) -> None:
    tell("order_unknown", "order:abc", "Unknown", "Look")
    assert carry(1) == 1
    one = Delivery.objects.get()
    assert (one.status, one.attempts, one.claimed_by, one.claimed_until) == ("delivered", 1, "test", None)
    assert one.delivered_at is not None
    assert one.delivered_at >= at(1)
    (kept,) = discord.messages()
    assert kept["embeds"][0]["footer"] == {"text": f"event {one.event_id}"}
    assert (state().failing_since, state().failures, state().delivered_at) == (None, 0, one.delivered_at)
    assert carry(2) == 0
    assert len(discord.messages()) == 1


def test_urgent_ones_go_first_then_the_oldest_cause(discord: DiscordLoopback) -> None:
    tell("bot_error", title="second", seconds=2)
    tell("risk_alert", title="first", seconds=1)
    tell("order_unknown", title="urgent", seconds=3)
    assert carry(4) == 3
    assert titles(discord) == ["urgent", "first", "second"]


def test_urgent_one_goes_before_any_number_of_others(configured: Settings) -> None:
    tell()
    planning.plan(NOW)
    tried = Delivery.objects.get()
    tried.attempts = 1
    tried.save()
    for number in range(delivery.LOOKED_AT_MAX):
        tried.pk, tried.event_id = None, f"tried again {number}"
        tried.save(force_insert=True)
    tell("kill_switch_engaged", seconds=1)
    planning.plan(at(1))
    claimed = delivery.claim("discord", at(1), "test")
    assert claimed is not None
    assert claimed.event == "kill_switch_engaged"


@pytest.mark.parametrize(("seconds", "delivered"), [(1.5, 0), (2, 1)])
def test_message_that_gathers_goes_when_its_time_has_come(
    discord: DiscordLoopback, seconds: float, delivered: int
) -> None:
    tell()
    carry()
    Delivery.objects.update(tried_at=at(1))
    tell(subject="bot:2", seconds=1)
    planning.plan(at(1))
    assert delivery.is_due(at(seconds)) is bool(delivered)
    assert delivery.deliver_due(at(seconds), "test") == delivered


class TestQuietHours:
    @pytest.fixture(autouse=True)
    def _quiet(self, discord: DiscordLoopback) -> None:
        # NOW is 12:00 UTC.
        NotificationPrefs.objects.update(quiet_from=time(11, 0), quiet_until=time(13, 0))

    def test_only_what_is_urgent_is_sent(self, discord: DiscordLoopback) -> None:
        tell("risk_alert", title="loss")
        tell("order_unknown", title="unknown")
        assert carry() == 1
        assert titles(discord) == ["unknown"]

    @pytest.mark.parametrize(("seconds", "delivered"), [(3_599, 0), (3_600, 1)])
    def test_the_rest_follows_together_when_they_end(
        self, discord: DiscordLoopback, seconds: float, delivered: int
    ) -> None:
        for number in range(40):
            tell(subject=f"bot:{number}", seconds=60 * number)
            planning.plan(at(60 * number))
        assert carry(seconds) == delivered
        assert [one.count for one in Delivery.objects.all()] == [40]

    def test_who_ends_them_sooner_gets_it_sooner(self, discord: DiscordLoopback) -> None:
        tell()
        assert carry() == 0
        prefs.change(prefs.Change(quiet=prefs.Quiet()), actor="anna", reason="")
        assert carry(1) == 1

    def test_what_failed_before_they_began_waits_too(self, discord: DiscordLoopback) -> None:
        discord.fault(replace(DOWN, count=1))
        NotificationPrefs.objects.update(quiet_from=time(12, 1), quiet_until=time(13, 0))
        tell()
        assert (carry(59), carry(61), carry(3_600)) == (0, 0, 1)


class TestLimit:
    def test_no_message_is_sent_beyond_what_discord_leaves(self, discord: DiscordLoopback) -> None:
        discord.set_limit(2, 30)
        for event in ("risk_alert", "bot_error", "order_rejected"):
            tell(event)
        assert carry() == 2
        assert (state().left, len(discord.log(DISCORD_POST))) == (0, 2)
        refills_at = state().refills_at
        assert refills_at is not None
        assert carry((refills_at - NOW).total_seconds() - 0.5) == 0
        # It was not even asked.
        assert len(discord.log(DISCORD_POST)) == 2

    def test_limit_that_begins_anew_is_used_again(self, discord: DiscordLoopback) -> None:
        tell()
        ChannelState.objects.create(name="discord", left=0, refills_at=at(10))
        assert carry(9.5) == 0
        assert carry(10) == 1

    @pytest.mark.parametrize(("left", "delivered"), [(0, 0), (1, 1), (None, 2)])
    def test_what_is_left_is_shared_by_all_processes(
        self, discord: DiscordLoopback, left: int | None, delivered: int
    ) -> None:
        tell("risk_alert")
        tell("bot_error")
        planning.plan(NOW)
        ChannelState.objects.update(left=left, refills_at=at(10))
        claimed = [delivery.claim("discord", NOW, "test") for _ in range(1)]
        # Another one would go ahead while the first is on its way; here it has just ended.
        Delivery.objects.filter(attempts=1).update(claimed_until=None, status=DeliveryStatus.DELIVERED)
        claimed.append(delivery.claim("discord", NOW, "test"))
        assert sum(one is not None for one in claimed) == delivered

    def test_too_many_is_waited_for_as_long_as_discord_says(self, discord: DiscordLoopback) -> None:
        discord.fault(Fault(DISCORD_POST, Reply.ERROR, error="429 slow down", is_carried_out=False))
        tell()
        assert carry() == 0
        one = Delivery.objects.get()
        assert (one.status, one.attempts, one.claimed_until) == ("waiting", 1, None)
        assert waits_s(0) == 2
        assert state().failing_since is not None
        assert "no message for" in state().detail
        assert carry(1) == 0
        assert carry(5) == 1
        assert state().failing_since is None

    @pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=400)])
    def test_hold_that_a_wrong_clock_wrote_silences_nobody(self, discord: DiscordLoopback, ahead: timedelta) -> None:
        tell()
        planning.plan(NOW)
        ChannelState.objects.update(not_before=NOW + ahead, left=0, refills_at=NOW + ahead)
        Delivery.objects.update(not_before=NOW + timedelta(days=400), claimed_until=NOW + ahead)
        assert carry(1) == 1


class TestFailures:
    def test_pauses_double_up_to_a_minute_and_end_with_the_first_success(self, discord: DiscordLoopback) -> None:
        discord.fault(replace(DOWN, count=9))
        tell()
        now, pauses = 0.0, []
        for _ in range(9):
            assert carry(now) == 0
            pauses.append(waits_s(now))
            now += pauses[-1] + 0.5
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert carry(now) == 1
        assert (state().failures, state().failing_since, state().not_before) == (0, None, None)
        assert len({one["embeds"][0]["footer"]["text"] for one in discord.messages()}) == 1

    def test_while_it_pauses_nothing_is_tried(self, discord: DiscordLoopback) -> None:
        discord.fault(DOWN)
        tell("risk_alert")
        carry()
        tell("order_unknown", seconds=0.5)
        assert carry(0.5) == 0
        assert len(discord.log(DISCORD_POST)) == 1

    def test_hour_without_discord_ends_in_a_handful_in_order(self, discord: DiscordLoopback) -> None:
        discord.fault(DOWN)
        events = ("risk_alert", "order_unknown", "bot_error")
        for second in range(0, 3_600, 15):
            tell(events[second // 15 % 3], f"bot:{second % 7}", f"event {second // 15 % 3}", seconds=second)
            assert carry(second) == 0
        assert state().failing_since is not None
        assert len(discord.log(DISCORD_POST)) < 80
        discord.clear_faults()
        delivered = sum(carry(3_600 + second) for second in range(0, 90, 3))
        found = list(Delivery.objects.order_by("delivered_at", "id"))
        assert {one.status for one in found} == {"delivered"}
        assert sum(one.count for one in found) == 240
        assert delivered == len(found) == len(discord.messages()) <= 8
        # In order: the urgent ones, then the others, each by its first cause.
        assert [one.severity == "urgent" for one in found] == sorted(
            (one.severity == "urgent" for one in found), reverse=True
        )
        for urgent in (True, False):
            causes = [one.first_at for one in found if (one.severity == "urgent") is urgent]
            assert causes == sorted(causes)

    def test_gone_webhook_is_said_kept_and_tried_every_ten_minutes(self, discord: DiscordLoopback) -> None:
        discord.control("set_gone", is_gone=True)
        tell()
        assert carry() == 0
        assert waits_s(0) == 600
        assert "Make a new one" in state().detail
        assert Delivery.objects.get().status == "waiting"
        assert carry(599) == 0
        assert len(discord.log(DISCORD_POST)) == 1
        discord.control("set_gone", is_gone=False)
        assert carry(601) == 1

    def test_test_message_that_arrives_ends_the_pause(self, discord: DiscordLoopback) -> None:
        discord.control("set_gone", is_gone=True)
        tell()
        carry()
        discord.control("set_gone", is_gone=False)
        assert trial.send_test(actor="anna")[0].is_delivered
        assert state().failing_since is None
        assert carry(1) == 1

    def test_test_message_that_fails_shows_the_channel_failing(self, discord: DiscordLoopback) -> None:
        discord.control("set_gone", is_gone=True)
        trial.send_test(actor="anna")
        assert state().failing_since is not None
        assert "Make a new one" in state().detail

    def test_message_that_discord_refuses_is_dead_and_the_next_goes(self, discord: DiscordLoopback) -> None:
        discord.fault(Fault(DISCORD_POST, Reply.ERROR, error="400 odd", is_carried_out=False))
        tell("order_unknown", title="odd")
        tell("risk_alert", title="fine")
        assert carry() == 1
        assert titles(discord) == ["fine"]
        dead = Delivery.objects.get(event="order_unknown")
        assert (dead.status, dead.detail) == ("dead", "Discord refused the message (status 400).")
        assert state().failing_since is None

    def test_message_that_only_breaks_itself_blocks_no_other(
        self, settings: Settings, discord: DiscordLoopback
    ) -> None:
        tell("order_unknown", title="poison")
        planning.plan(NOW)
        poison = Delivery.objects.get()
        now, others = 0.0, 0
        for _ in range(16):
            found = delivery.claim("discord", at(now), "test")
            assert found is not None
            if found.pk == poison.pk:
                keep(found, Outcome("discord", DeliveryState.TRY_AGAIN, "broken"), at(now))
            else:
                keep(found, Outcome("discord", DeliveryState.DELIVERED, "ok"), at(now))
                others += 1
            now += 61
            tell("risk_alert", seconds=now)
            planning.plan(at(now))
        # Each after four failures.
        assert others == 3
        poison.refresh_from_db()
        # It lets others go first for ten minutes, and is kept.
        assert (poison.status, poison.attempts) == ("waiting", 13)
        assert poison.not_before == at(now - 61) + timedelta(minutes=10)

    def test_urgent_one_waits_a_minute_at_most_for_one_that_only_breaks_itself(self, configured: Settings) -> None:
        tell("order_unknown", title="poison")
        for second in range(1_000):
            planning.plan(at(second))
            found = delivery.claim("discord", at(second), "test")
            if found is not None and found.event == "order_unknown":
                keep(found, Outcome("discord", DeliveryState.TRY_AGAIN, "broken"), at(second))
        tell("kill_switch_engaged", seconds=1_000)
        for second in range(1_000, 1_062):
            planning.plan(at(second))
            found = delivery.claim("discord", at(second), "test")
            if found is not None:
                break
        assert found is not None
        assert found.event == "kill_switch_engaged"

    def test_message_that_waited_through_an_outage_steps_back_for_nobody(self, configured: Settings) -> None:
        tell("order_unknown", title="the oldest")
        tell("bot_error", seconds=1)
        ended_at = None
        for second in range(7_300):
            planning.plan(at(second))
            found = delivery.claim("discord", at(second), "test")
            if found is None:
                continue
            # It is over just when the second one is tried.
            is_over = ended_at is not None or (second > 3_600 and found.event == "bot_error")
            ended_at = ended_at or (second if is_over else None)
            state_of = DeliveryState.DELIVERED if is_over else DeliveryState.TRY_AGAIN
            keep(found, Outcome("discord", state_of, "so"), at(second))
            if not Delivery.objects.filter(status="waiting").exists():
                break
        assert ended_at is not None
        assert second - ended_at <= 2

    def test_message_that_cannot_be_put_together_silences_nobody(self, discord: DiscordLoopback) -> None:
        tell("order_unknown")
        planning.plan(NOW)
        Delivery.objects.update(lines=[{"title": "half a line"}])
        tell("risk_alert", title="fine")
        now = 0.0
        for _ in range(12):
            carry(now)
            now += 61
        assert titles(discord) == ["fine"]
        broken = Delivery.objects.get(event="order_unknown")
        assert broken.status == "waiting"
        assert "fault of the console" in broken.detail


class TestGivenUp:
    def failing(self, since: float) -> None:
        tell()
        planning.plan(NOW)
        ChannelState.objects.filter(name="discord").update(failing_since=at(since), failures=99)

    @pytest.mark.parametrize(("seconds", "status"), [(86_399, "waiting"), (86_400, "dead"), (86_401, "dead")])
    def test_after_a_day_the_next_failure_is_the_last(
        self, discord: DiscordLoopback, seconds: float, status: str
    ) -> None:
        discord.fault(DOWN)
        self.failing(86_000)
        assert carry(seconds) == 0
        one = Delivery.objects.get()
        assert one.status == status
        assert one.detail.startswith("Not delivered within 24 hours. ") is (status == "dead")

    def test_message_that_waited_for_days_without_workers_is_sent(self, discord: DiscordLoopback) -> None:
        tell()
        planning.plan(NOW)
        assert carry(3 * 86_400) == 1

    @pytest.mark.parametrize(("since", "waiting"), [(86_400 - 86_399, 1), (0, 0)])
    def test_channel_that_fails_for_a_day_gives_up_all_that_waited_as_long(
        self, discord: DiscordLoopback, since: float, waiting: int
    ) -> None:
        discord.fault(DOWN)
        tell("bot_error", seconds=1)
        self.failing(since)
        tell("order_rejected", seconds=80_000)
        planning.plan(at(80_000))
        assert carry(86_400) == 0
        # The one that came later waits on.
        assert Delivery.objects.filter(status="waiting").count() == waiting + 1
        assert Delivery.objects.get(event="order_rejected").status == "waiting"


class TestSwitchedOff:
    def test_what_waits_is_dropped_and_does_not_come_back(self, discord: DiscordLoopback) -> None:
        tell()
        planning.plan(NOW)
        prefs.change(prefs.Change(discord=False), actor="anna", reason="")
        assert delivery.is_due(NOW)
        assert carry() == 0
        assert Delivery.objects.get().status == "dropped"
        assert not delivery.is_due(NOW)
        prefs.change(prefs.Change(discord=True), actor="anna", reason="")
        assert carry(1) == 0
        assert discord.messages() == []

    def test_channel_that_is_not_configured_here_keeps_its_messages(
        self, settings: Settings, discord: DiscordLoopback
    ) -> None:
        tell()
        planning.plan(NOW)
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=None)
        assert not delivery.is_due(NOW)
        assert carry() == 0
        assert Delivery.objects.get().status == "waiting"


class TestClaims:
    @pytest.fixture(autouse=True)
    def _planned(self, configured: Settings) -> None:
        tell("order_unknown")
        tell("risk_alert")
        planning.plan(NOW)

    def test_while_one_is_being_sent_no_other_goes(self) -> None:
        first = delivery.claim("discord", NOW, "a")
        assert first is not None
        assert (first.event, first.attempts, first.claimed_by) == ("order_unknown", 1, "a")
        assert delivery.claim("discord", at(19.9), "b") is None
        assert not delivery.is_due(at(19.9))

    def test_whose_sender_died_is_sent_again_as_it_was(self) -> None:
        first = delivery.claim("discord", NOW, "a")
        tell("order_unknown", "more", seconds=1)
        planning.plan(at(1))
        again = delivery.claim("discord", at(20), "b")
        assert first is not None
        assert again is not None
        assert (again.pk, again.event_id, again.count, again.attempts) == (first.pk, first.event_id, 1, 2)

    def test_late_failure_of_a_first_try_does_not_touch_the_second(self) -> None:
        first = delivery.claim("discord", NOW, "a")
        again = delivery.claim("discord", at(20), "b")
        assert first is not None
        assert again is not None
        refused = Outcome("discord", DeliveryState.REFUSED, "no")
        keep(first, refused, at(21))
        again.refresh_from_db()
        assert (again.status, again.claimed_by) == ("waiting", "b")
        assert again.claimed_until == at(40)

    def test_late_success_of_a_first_try_counts(self) -> None:
        first = delivery.claim("discord", NOW, "a")
        again = delivery.claim("discord", at(20), "b")
        assert first is not None
        assert again is not None
        keep(first, Outcome("discord", DeliveryState.DELIVERED, "ok"), at(21))
        keep(again, Outcome("discord", DeliveryState.TRY_AGAIN, "away"), at(22))
        again.refresh_from_db()
        assert again.status == "delivered"


def test_budget_is_kept(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, delay_s=0.3, count=FOR_EVER))
    for event in ("risk_alert", "bot_error", "order_rejected"):
        tell(event)
    planning.plan(NOW)
    assert delivery.deliver_due(NOW, "test", budget_s=0.2) == 1
    assert delivery.deliver_due(NOW, "test", budget_s=0) in (0, 1)


def test_slow_channel_is_left_soon_to_look_for_what_was_told_meanwhile(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, delay_s=1.1, count=FOR_EVER))
    for event in ("risk_alert", "bot_error", "order_rejected", "live_enabled", "live_disabled"):
        tell(event)
    planning.plan(NOW)
    delivery.deliver_due(NOW, "test")
    assert len(discord.messages()) == 2


def test_address_stands_in_no_row(configured: Settings) -> None:
    tell()
    carry()
    told = [*Delivery.objects.values_list("detail", "lines", "claimed_by"), *ChannelState.objects.values_list("detail")]
    assert state().failing_since is not None
    assert "very-secret" not in repr(told)
    assert AWAY not in repr(told)
