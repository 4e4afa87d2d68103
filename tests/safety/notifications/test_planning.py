"""Notifications become messages: gathered by event, counted, spaced, and for each channel that wants them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from safety.notification_models import Delivery, DeliveryStatus, Notification
from safety.notifications import outbox, planning, prefs
from safety.notifications.messages import Severity
from tests.safety.notifications.conftest import NOW, at, planned, tell

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("configured")]


def sent(delivery: Delivery, seconds: float, status: DeliveryStatus = DeliveryStatus.DELIVERED) -> None:
    delivery.attempts, delivery.tried_at, delivery.status = 1, at(seconds), status
    delivery.save()


def test_first_of_an_event_goes_at_once_with_the_id_of_its_cause() -> None:
    outbox.tell(
        "order_unknown", "order:abc", "Unknown", "Look", facts=(("Venue", "kraken"),), at=NOW, event_id="cause-1"
    )
    (delivery,) = planned(3)
    assert (delivery.event_id, delivery.event, delivery.severity, delivery.count) == (
        "cause-1",
        "order_unknown",
        "urgent",
        1,
    )
    assert (delivery.not_before, delivery.attempts, delivery.status) == (None, 0, "waiting")
    assert (delivery.first_at, delivery.created_at, delivery.give_up_at) == (NOW, at(3), at(3) + timedelta(hours=24))
    (line,) = delivery.lines
    assert [line[name] for name in ("title", "subject", "text", "count")] == ["Unknown", "order:abc", "Look", 1]
    assert line["facts"] == [["Venue", "kraken"]]
    assert Notification.objects.get().planned_at == at(3)


def test_hundred_equal_alerts_become_one_line_with_a_count() -> None:
    for number in range(100):
        tell(seconds=number / 10)
    (delivery,) = planned(10)
    (line,) = delivery.lines
    assert (delivery.count, line["count"]) == (100, 100)
    assert (delivery.first_at, delivery.last_at) == (NOW, at(9.9))
    assert (line["first_at"], line["last_at"]) == (NOW.isoformat(), at(9.9).isoformat())


@pytest.mark.parametrize("difference", [{"subject": "bot:2"}, {"title": "Drawdown"}, {"text": "more"}])
def test_alerts_that_differ_have_a_line_each(difference: dict[str, Any]) -> None:
    tell()
    tell(**difference)
    tell()
    (delivery,) = planned()
    assert [one["count"] for one in delivery.lines] == [2, 1]


@pytest.mark.parametrize(("different", "lines"), [(14, 14), (15, 15), (16, 15), (400, 15)])
def test_message_keeps_a_bounded_number_of_lines_and_counts_the_rest(different: int, lines: int) -> None:
    for number in range(different):
        tell(subject=f"bot:{number}")
    tell(subject="bot:0")
    (delivery,) = planned()
    assert (len(delivery.lines), delivery.count) == (lines, different + 1)
    assert delivery.lines[0]["count"] == 2


def test_graver_line_is_kept_before_one_that_came_earlier() -> None:
    for number in range(20):
        outbox.tell("bot_error", f"bot:{number}", "Failed", severity=Severity.INFO, at=NOW)
    outbox.tell("bot_error", "bot:99", "Failed", severity=Severity.WARNING, at=at(1))
    (delivery,) = planned()
    assert [one["subject"] for one in delivery.lines][:3] == ["bot:99", "bot:0", "bot:1"]
    assert (delivery.severity, len(delivery.lines), delivery.count) == ("warning", 15, 21)


def test_what_is_urgent_never_waits_in_a_message_that_is_not() -> None:
    tell("risk_alert")
    outbox.tell("risk_alert", "bot:2", "Gone", severity=Severity.URGENT, at=NOW)
    assert [(one.severity, one.count) for one in planned()] == [("warning", 1), ("urgent", 1)]


def test_events_do_not_mix() -> None:
    tell("bot_error")
    tell("risk_alert")
    tell("bot_error")
    assert [(one.event, one.count) for one in planned()] == [("bot_error", 2), ("risk_alert", 1)]


def test_more_joins_a_message_that_waits_and_was_not_tried() -> None:
    tell()
    planned()
    tell(subject="bot:2", seconds=5)
    (delivery,) = planned(5)
    assert (delivery.count, len(delivery.lines), delivery.last_at) == (2, 2, at(5))


@pytest.mark.parametrize("status", [DeliveryStatus.WAITING, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD])
def test_nothing_is_added_to_a_message_that_was_tried(status: DeliveryStatus) -> None:
    tell()
    sent(planned()[0], 0, status)
    tell(subject="bot:2", seconds=1)
    first, second = planned(1)
    assert (first.count, second.count) == (1, 1)
    assert first.event_id != second.event_id


@pytest.mark.parametrize(
    ("event", "gaps"),
    [("risk_alert", [0, 1, 2, 4, 8, 16, 32, 60, 60]), ("order_unknown", [0, 1, 2, 4, 8, 10, 10, 10, 10])],
)
def test_flood_of_one_event_is_gathered_for_longer_and_longer(event: str, gaps: list[int]) -> None:
    found: list[float] = []
    now = 0.0
    for gap in gaps:
        tell(event, seconds=now)
        delivery = planned(now)[-1]
        due = NOW if delivery.not_before is None else delivery.not_before
        found.append(0 if delivery.not_before is None else (due - at(now)).total_seconds())
        now += gap
        sent(delivery, now)
    assert found == gaps


@pytest.mark.parametrize(("after_s", "gather_s"), [(299.9, 2), (300, 0), (301, 0)])
def test_event_that_was_quiet_for_five_minutes_starts_anew(after_s: float, gather_s: int) -> None:
    tell()
    sent(planned()[0], 0)
    tell(seconds=1)
    sent(planned(1)[-1], 1)
    tell(seconds=1 + after_s)
    last = planned(1 + after_s)[-1]
    assert last.gather_s == gather_s
    # It waited longer than that already.
    assert last.not_before is None or last.not_before <= at(1 + after_s)


def test_time_of_a_try_that_a_wrong_clock_wrote_holds_nothing_back() -> None:
    tell()
    sent(planned()[0], 86_400)
    tell(seconds=10)
    assert planned(10)[-1].not_before is None


def test_gathering_of_what_is_not_urgent_does_not_slow_what_is() -> None:
    tell("risk_alert")
    sent(planned()[0], 0)
    outbox.tell("risk_alert", "bot:2", "Gone", severity=Severity.URGENT, at=at(0.5))
    assert planned(0.5)[-1].not_before is None


class TestWhoWantsIt:
    @pytest.mark.parametrize(
        "change",
        [
            prefs.Change(enabled=False),
            prefs.Change(discord=False),
            prefs.Change(events={"order_unknown": False}),
        ],
    )
    def test_what_is_switched_off_is_not_sent_and_stays_unseen(self, change: prefs.Change) -> None:
        prefs.change(change, actor="anna", reason="")
        tell("order_unknown")
        assert planned() == []
        one = Notification.objects.get()
        assert (one.severity, one.planned_at, one.seen_at) == ("urgent", NOW, None)

    def test_switch_of_another_event_changes_nothing(self) -> None:
        prefs.change(prefs.Change(events={"bot_error": False}, email=False), actor="anna", reason="")
        tell("order_unknown")
        assert len(planned()) == 1

    def test_without_any_channel_it_is_planned_for_none(self, settings: Settings) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=None)
        tell()
        assert planned() == []
        assert Notification.objects.get().planned_at == NOW

    def test_each_channel_gets_a_message_of_its_own(self, settings: Settings) -> None:
        changes = {"email_url": "consolemail://", "alert_email_to": ("anna@example.org",)}
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, **changes)
        tell()
        assert [(one.channel, one.count) for one in planned()] == [("discord", 1), ("email", 1)]
        assert len({one.event_id for one in planned()}) == 1


class TestBatches:
    def test_each_is_planned_once_however_often_it_is_asked(self) -> None:
        for number in range(7):
            tell(subject=f"bot:{number}")
        counts = [planning.plan(NOW, batch_max=3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]
        assert Delivery.objects.get().count == 7

    def test_oldest_come_first(self) -> None:
        tell("bot_error")
        tell("risk_alert")
        planning.plan(NOW, batch_max=1)
        assert Delivery.objects.get().event == "bot_error"

    def test_plan_that_fails_leaves_everything_to_plan(self) -> None:
        tell("risk_alert")
        tell("bot_error")
        # Something of the second that no code knows.
        Notification.objects.filter(event="bot_error").update(severity="odd")
        with pytest.raises(ValueError, match="odd"):
            planning.plan(NOW)
        assert Notification.objects.filter(planned_at=None).count() == 2
        assert not Delivery.objects.exists()

    def test_event_id_that_an_old_message_holds_stops_no_plan(self) -> None:
        outbox.tell("risk_alert", "bot:1", "Loss", at=NOW, event_id="again")
        sent(planned()[0], 0)
        Notification.objects.all().delete()
        outbox.tell("risk_alert", "bot:1", "Loss", at=at(999), event_id="again")
        first, second = planned(999)
        assert first.event_id == "again"
        assert second.event_id not in ("", "again")


@pytest.mark.parametrize("odd", ["nul \0 inside", "half \ud83d of a pair"])
def test_odd_characters_of_a_stranger_undo_nothing(odd: str) -> None:
    outbox.tell("risk_alert", odd, odd, odd, facts=((odd, odd),), at=NOW)
    (delivery,) = planned()
    line = delivery.lines[0]
    assert "\0" not in repr(line)
    assert line["title"].startswith(odd[:4])


@pytest.mark.parametrize(("length", "kept"), [(199, 199), (200, 200), (201, 200), (10_000, 200)])
def test_long_texts_are_cut_to_what_the_outbox_keeps(length: int, kept: int) -> None:
    outbox.tell("risk_alert", "s" * length, "t" * length, "x" * 20 * length, at=NOW)
    one = Notification.objects.get()
    assert (len(one.subject), len(one.title), len(one.text)) == (kept, kept, min(20 * length, 2_000))
