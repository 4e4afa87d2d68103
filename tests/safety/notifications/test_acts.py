"""What people do with the outbox, what it forgets, and what pages read of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pytest_django import Settings

from audit.models import OperatorEvent
from safety.notification_models import ChannelState, Delivery, Notification
from safety.notifications import acts, delivery, keeping, planning, prefs, reading
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import Fault, Reply
from tests.safety.notifications.conftest import NOW, at, planned, tell

pytestmark = pytest.mark.django_db


def audited() -> list[tuple[str, str, str, str, str]]:
    rows = OperatorEvent.objects.filter(action__in=("notification_retried", "notification_seen")).order_by("seq")
    return [(one.actor, one.action, one.object, one.old, one.new) for one in rows]


@pytest.mark.usefixtures("configured")
class TestRetry:
    def dead(self, *events: str) -> list[Delivery]:
        for event in events:
            tell(event)
        found = planned()
        Delivery.objects.update(status="dead", attempts=3, detail="why", not_before=at(10**6))
        return found

    def test_goes_back_into_the_outbox_for_another_day_and_is_audited(self) -> None:
        (one,) = self.dead("risk_alert")
        ChannelState.objects.filter(name="discord").update(not_before=at(90_000))
        assert acts.retry(one.pk, actor="anna", now=at(86_500))
        one.refresh_from_db()
        assert (one.status, one.not_before, one.give_up_at) == ("waiting", None, at(86_500 + 86_400))
        assert audited() == [("anna", "notification_retried", f"delivery:{one.pk}", "dead", "waiting")]
        # It is tried at once, with the same id, and nothing is added to it.
        again = delivery.claim("discord", at(86_501), "test")
        assert again is not None
        assert (again.pk, again.attempts, again.event_id) == (one.pk, 4, one.event_id)

    @pytest.mark.parametrize("status", ["waiting", "delivered", "dropped"])
    def test_what_is_not_dead_stays_as_it_is(self, status: str) -> None:
        (one,) = self.dead("risk_alert")
        Delivery.objects.update(status=status)
        assert not acts.retry(one.pk, actor="anna")
        assert not acts.retry(one.pk + 1, actor="anna")
        assert Delivery.objects.get().status == status
        assert audited() == []

    def test_all_dead_ones_go_back(self) -> None:
        first, second, third = self.dead("risk_alert", "bot_error", "order_rejected")
        Delivery.objects.filter(pk=second.pk).update(status="delivered")
        assert acts.retry_all_dead(actor="anna", now=NOW) == 2
        assert acts.retry_all_dead(actor="anna", now=NOW) == 0
        assert [row[2] for row in audited()] == [f"delivery:{first.pk}", f"delivery:{third.pk}"]


class TestSee:
    def test_urgent_ones_leave_the_list_of_the_unseen_and_it_is_audited(self) -> None:
        tell("order_unknown", title="Unknown")
        tell("kill_switch_engaged", title="Halted")
        tell("risk_alert")
        halted, unknown = reading.urgent_unseen()
        assert (halted.event, unknown.event) == ("kill_switch_engaged", "order_unknown")
        every = list(Notification.objects.values_list("pk", flat=True))
        assert acts.see([unknown.pk], actor="anna", now=at(5)) == 1
        assert [one.pk for one in reading.urgent_unseen()] == [halted.pk]
        unknown.refresh_from_db()
        assert (unknown.seen_at, unknown.seen_by) == (at(5), "anna")
        assert audited() == [("anna", "notification_seen", f"notification:{unknown.pk}", "", "order_unknown Unknown")]
        # The same again, and one that is not urgent: only what is left counts.
        assert acts.see(every, actor="ben", now=at(6)) == 1
        unknown.refresh_from_db()
        assert unknown.seen_by == "anna"
        assert reading.urgent_unseen() == []

    @pytest.mark.parametrize(("limit", "found"), [(0, 1), (1, 1), (2, 2), (3, 3), (10**9, 3)])
    def test_lists_are_bounded(self, limit: int, found: int) -> None:
        for _ in range(3):
            tell("order_unknown")
        assert len(reading.urgent_unseen(limit)) == len(reading.recent(limit)) == found


@pytest.mark.usefixtures("configured")
class TestForgetting:
    @pytest.mark.parametrize(("days", "left"), [(29.99, 2), (30.01, 1), (90.01, 1), (4000, 1)])
    def test_notifications_are_kept_for_30_days_and_urgent_ones_until_seen(self, days: float, left: int) -> None:
        tell("risk_alert")
        tell("order_unknown")
        planned()
        keeping.forget_old(NOW + timedelta(days=days))
        assert Notification.objects.count() == left
        assert Notification.objects.filter(event="order_unknown").exists()

    @pytest.mark.parametrize(("days", "left"), [(29.99, 1), (30.01, 0)])
    def test_urgent_one_that_was_seen_goes_with_the_rest(self, days: float, left: int) -> None:
        tell("order_unknown")
        planned()
        Notification.objects.update(seen_at=NOW)
        keeping.forget_old(NOW + timedelta(days=days))
        assert Notification.objects.count() == left

    def test_what_is_in_no_message_yet_is_never_forgotten(self) -> None:
        tell()
        assert keeping.forget_old(NOW + timedelta(days=400)) == 0

    @pytest.mark.parametrize(
        ("status", "days", "left"),
        [
            ("delivered", 29.99, 1),
            ("delivered", 30.01, 0),
            ("dropped", 30.01, 0),
            ("dead", 89.99, 1),
            ("dead", 90.01, 0),
            ("waiting", 400, 1),
        ],
    )
    def test_messages_are_kept_by_what_became_of_them(self, status: str, days: float, left: int) -> None:
        tell()
        planned()
        Delivery.objects.update(status=status)
        keeping.forget_old(NOW + timedelta(days=days))
        assert Delivery.objects.count() == left

    def test_each_round_deletes_a_bounded_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeping, "DELETED_AT_ONCE_MAX", 2)
        for number in range(5):
            tell(seconds=number)
        planned(5)
        Delivery.objects.all().delete()
        late = NOW + timedelta(days=31)
        assert [keeping.forget_old(late) for _ in range(4)] == [2, 2, 1, 0]

    @pytest.mark.parametrize(("hours", "status"), [(47.9, "waiting"), (48.1, "dead")])
    def test_what_waits_for_a_channel_that_is_no_more_is_given_up(
        self, settings: Settings, hours: float, status: str
    ) -> None:
        tell()
        planned()
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=None)
        keeping.give_up_unreachable(NOW + timedelta(hours=hours))
        assert Delivery.objects.get().status == status

    def test_what_waits_for_a_channel_that_is_there_is_not(self) -> None:
        tell()
        planned()
        assert keeping.give_up_unreachable(NOW + timedelta(days=30)) == 0


class TestChannelViews:
    def view(self, seconds: float = 0) -> reading.ChannelView:
        return next(one for one in reading.channel_views(at(seconds)) if one.name == "discord")

    def test_every_channel_is_shown_also_where_nothing_is_configured(self) -> None:
        found = reading.channel_views(NOW)
        assert [(one.name, one.is_configured, one.is_on) for one in found] == [
            ("discord", False, True),
            ("email", False, True),
        ]

    def test_switches_are_shown(self) -> None:
        prefs.change(prefs.Change(email=False), actor="anna", reason="")
        assert [one.is_on for one in reading.channel_views(NOW)] == [True, False]
        prefs.change(prefs.Change(enabled=False, email=True), actor="anna", reason="")
        assert [one.is_on for one in reading.channel_views(NOW)] == [False, False]

    def test_failing_channel_says_since_when_why_when_next_and_what_waits(self, discord: DiscordLoopback) -> None:
        discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=503, is_carried_out=False))
        tell("order_unknown", seconds=-30)
        tell("risk_alert", seconds=-20)
        planning.plan(NOW)
        assert delivery.deliver_due(NOW, "test") == 0
        view = self.view()
        assert (view.is_configured, view.waiting, view.dead, view.oldest_at) == (True, 2, 0, at(-30))
        assert view.failing_since is not None
        assert view.next_try_at is not None
        assert NOW <= view.failing_since <= view.next_try_at - timedelta(seconds=1)
        assert "status 503" in view.detail
        assert view.delivered_at is None
        assert self.view(30).next_try_at is None
        assert delivery.deliver_due(at(30), "test") == 2
        view = self.view(31)
        assert (view.failing_since, view.waiting, view.oldest_at) == (None, 0, None)
        assert view.delivered_at is not None

    def test_dead_ones_are_counted_and_listed_with_their_reason(self, configured: Settings) -> None:
        tell("risk_alert")
        tell("bot_error")
        first, second = planned()
        Delivery.objects.update(status="dead", detail="why")
        assert (self.view().waiting, self.view().dead) == (0, 2)
        assert [(one.pk, one.detail) for one in reading.dead()] == [(second.pk, "why"), (first.pk, "why")]
        assert [one.pk for one in reading.recent_deliveries()] == [second.pk, first.pk]

    def test_unplanned_ones_are_counted(self, configured: Settings) -> None:
        tell()
        assert reading.unplanned_count() == 1
        planned()
        assert reading.unplanned_count() == 0
