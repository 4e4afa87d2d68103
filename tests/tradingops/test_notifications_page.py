"""Safety, Notifications: how channels do, what became of messages, the buttons, and the preferences."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit.models import OperatorEvent
from safety.models import NotificationPrefs
from safety.notification_models import ChannelState, Delivery, DeliveryStatus, Notification
from safety.notifications import delivery, outbox, planning, prefs
from safety.notifications.messages import EVENTS, URGENT
from tests.bots.admin.conftest import Desk, desk
from tests.bots.builders import floor
from tests.clock import stay_within_the_hour
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import Fault, Reply
from tests.tradingops.test_safety_page import as_member
from tests.tradingops.test_safety_page import section as plain_section

__all__ = ["desk", "floor"]

PAGE, PART = "/admin/safety/notifications/", "/admin/part/notifications/"
TEST, RETRY, RETRY_ALL, SEEN = (f"{PAGE}{name}/" for name in ("test", "retry", "retry-all", "seen"))
ACTS = (TEST, RETRY, RETRY_ALL, SEEN)


def fields(**changes: str) -> dict[str, str]:
    """Return the preferences' form as the page sends it: ``changes`` is what the person did to it, empty for off."""
    found = prefs.read()
    switches = {name: getattr(found, name) for name in ("enabled", "discord", "email")}
    switches |= {f"event_{name}": is_on for name, is_on in prefs.events_of(found).items()}
    clocks = {name: getattr(found, name) for name in ("quiet_from", "quiet_until")}
    shown = {name: "on" for name, is_on in switches.items() if is_on}
    shown |= {name: "" if at is None else f"{at:%H:%M}" for name, at in clocks.items()}
    initial = {f"initial-{name}": str(is_on) for name, is_on in switches.items()}
    initial |= {f"initial-{name}": shown[name] for name in clocks}
    sent = {**shown, **initial, "reason": "less noise", **changes}
    return {name: value for name, value in sent.items() if value or name not in switches}


def row(status: str = "dead", *, channel: str = "discord", at: datetime | None = None, **changes: Any) -> Delivery:
    """Keep one message as it would have become."""
    now = at or timezone.now()
    ChannelState.objects.get_or_create(name=channel)
    line = {"title": "Kraken refused an order", "subject": "bot:1", "text": "no funds", "facts": [], "count": 1}
    values: dict[str, Any] = {
        "event_id": f"row-{Delivery.objects.count()}",
        "event": "order_rejected",
        "severity": "warning",
        "attempts": 1,
        "detail": "Discord says no.",
        "lines": [line | {"first_at": now.isoformat(), "last_at": now.isoformat()}],
        **changes,
    }
    return Delivery.objects.create(
        channel=channel, status=status, first_at=now, last_at=now, give_up_at=now, created_at=now, tried_at=now, **values
    )  # fmt: skip


def section(page: str, name: str) -> str:
    return plain_section(page.replace("tc-card tc-figure-bad", "tc-card"), name)


def events(action: str) -> list[OperatorEvent]:
    return list(OperatorEvent.objects.filter(action__startswith=action).order_by("id"))


class TestRights:
    @pytest.mark.parametrize("group", ["Viewer", "Operator", "Risk manager"])
    def test_every_group_may_look(self, desk: Desk, group: str) -> None:
        as_member(desk, group)
        row()
        for url in (PAGE, PART, "/admin/safety/notification/", "/admin/safety/delivery/"):
            desk.get(url)

    def test_looking_takes_the_right_to_it(self, desk: Desk) -> None:
        desk.as_staff("bots.view_bot", "safety.view_tradingstate")
        desk.get(PAGE, 403)
        desk.get(PART, 403)
        desk.get("/admin/safety/notification/", 403)

    def test_viewer_reads_the_preferences_and_is_offered_no_button(self, desk: Desk) -> None:
        prefs.change(prefs.Change(discord=False, events={"daily_summary": False}), actor="x", reason="y")
        row()
        as_member(desk, "Viewer")
        page = desk.get(PAGE)
        chosen = section(page, "preferences")
        assert "Messages are on, Discord is off, email is on." in chosen
        assert "Not sent: The day" in chosen
        assert "Try again" not in page
        assert "<form" not in chosen
        assert "Send a test message" not in page

    @pytest.mark.parametrize("url", [PAGE, *ACTS])
    def test_viewer_may_press_nothing(self, desk: Desk, url: str) -> None:
        given_up = row()
        as_member(desk, "Viewer")
        sent = {**fields(event_test=""), "delivery": str(given_up.pk), "notification": "1"}
        assert desk.post(url, sent).status_code == 403
        assert Delivery.objects.get().status == DeliveryStatus.DEAD
        assert events("notification") == []

    @pytest.mark.parametrize("url", [PAGE, *ACTS])
    def test_nobody_is_let_in_without_the_token_against_forgery(self, desk: Desk, url: str) -> None:
        row()
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(desk.user)
        assert strict.post(url, fields(event_test="")).status_code == 403
        assert events("notification") == []

    def test_part_sends_strangers_to_the_sign_in(self, desk: Desk) -> None:
        desk.client.logout()
        answer = desk.client.get(PART)
        assert (answer.status_code, answer.headers["HX-Refresh"]) == (204, "true")

    @pytest.mark.parametrize("url", ACTS)
    def test_look_at_a_button_leads_to_the_page_and_other_ways_are_refused(self, desk: Desk, url: str) -> None:
        answer = desk.client.get(url)
        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        assert desk.client.put(url).status_code == 405
        assert events("notification") == []


class TestPreferences:
    def test_nothing_changed_is_said_and_audits_nothing(self, desk: Desk) -> None:
        assert desk.told(PAGE, fields()) == ["Nothing was changed: the preferences are as they were shown."]
        assert events("notification") == []

    def test_each_switch_is_saved_with_its_reason(self, desk: Desk) -> None:
        for name in ("enabled", "discord", "email"):
            desk.told(PAGE, fields(**{name: ""}))
            assert getattr(prefs.read(), name) is False
            assert [(one.old, one.new, one.reason, one.actor) for one in events(f"notification_{name}")] == [
                ("True", "False", "less noise", "operator")
            ]

    @pytest.mark.parametrize("name", EVENTS)
    def test_each_event_is_switched_off_alone_and_on_again(self, desk: Desk, name: str) -> None:
        desk.told(PAGE, fields(**{f"event_{name}": ""}))
        assert [one for one, is_on in prefs.events_of(prefs.read()).items() if not is_on] == [name]
        desk.told(PAGE, fields(**{f"event_{name}": "on"}))
        assert all(prefs.events_of(prefs.read()).values())
        assert [one.object for one in events("notification_event")] == [f"notification_prefs:{name}"] * 2

    def test_quiet_hours_may_cross_midnight_and_be_taken_away(self, desk: Desk) -> None:
        desk.told(PAGE, fields(quiet_from="22:00", quiet_until="06:30"))
        assert (prefs.read().quiet_from, prefs.read().quiet_until) == (time(22), time(6, 30))
        page = desk.get(PAGE)
        assert 'type="time" name="quiet_from" value="22:00"' in page
        desk.told(PAGE, fields(quiet_from="", quiet_until=""))
        assert prefs.read().quiet_from is None
        assert len(events("notification_quiet_hours")) == 2

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"quiet_from": "22:00"}, "Give both ends of the quiet hours, or leave both empty."),
            ({"quiet_until": "06:30"}, "Give both ends of the quiet hours, or leave both empty."),
            ({"quiet_from": "22:00", "quiet_until": "22:00"}, "Both ends are the same."),
            ({"quiet_from": "25:00", "quiet_until": "06:30"}, "Write a time of the day such as 22:00."),
            ({"reason": "  "}, "This field is required."),
            ({"reason": "x" * 501}, "at most 500 characters"),
        ],
    )
    def test_what_makes_no_sense_is_said_and_nothing_typed_is_lost(
        self, desk: Desk, wrong: dict[str, str], said: str
    ) -> None:
        sent = fields(event_daily_summary="", **{"reason": "because of the noise", **wrong})
        answer = desk.post(PAGE, sent)
        assert answer.status_code == 422
        page = answer.content.decode()
        assert "Nothing was saved." in page
        assert said in page
        assert f'value="{sent["reason"]}"' in page
        assert f'name="quiet_from" value="{sent["quiet_from"]}"' in page or not sent["quiet_from"]
        switch = page[page.index('name="event_daily_summary"') :].split(">")[0]
        assert not switch.endswith(" checked")
        assert prefs.events_of(prefs.read())["daily_summary"]
        assert prefs.read().quiet_from is None
        assert events("notification") == []

    def test_bad_form_can_be_mended_and_sent_again(self, desk: Desk) -> None:
        """What the first page had shown has to survive the refusal: else the second try would change nothing."""
        page = desk.post(PAGE, fields(event_daily_summary="", reason="")).content.decode()
        assert 'name="initial-event_daily_summary" value="True"' in page
        assert page[page.index('name="event_risk_alert"') :].split(">")[0].endswith(" checked")
        desk.told(PAGE, fields(event_daily_summary="", reason="now with one"))
        assert not prefs.events_of(prefs.read())["daily_summary"]

    def test_what_somebody_else_changed_meanwhile_stays(self, desk: Desk) -> None:
        seen = fields(event_daily_summary="")
        prefs.change(prefs.Change(discord=False, events={"risk_alert": False}), actor="olga", reason="y")
        desk.told(PAGE, seen)
        kept = prefs.read()
        off = {name for name, is_on in prefs.events_of(kept).items() if not is_on}
        assert (kept.discord, off) == (False, {"daily_summary", "risk_alert"})

    def test_urgent_events_are_marked_as_ignoring_quiet_hours(self, desk: Desk) -> None:
        shown = section(desk.get(PAGE), "preferences")
        lines = [line for line in shown.split("<li>") if 'name="event_' in line]
        marked = {name for name in EVENTS for line in lines if f'name="event_{name}"' in line and "URGENT" in line}
        assert marked == URGENT
        assert shown.count("ignores quiet hours</span>") == len(URGENT)

    def test_page_says_what_the_time_is_in_utc(self, desk: Desk) -> None:
        before = f"{timezone.now():%H:%M}"
        page = desk.get(PAGE)
        assert any(f"<strong>{clock} UTC</strong> now" in page for clock in (before, f"{timezone.now():%H:%M}"))


class TestTestButton:
    def test_says_what_each_channel_really_answered(self, desk: Desk, discord: DiscordLoopback) -> None:
        assert desk.told(TEST) == [
            "Discord: Discord has the message.", "Email: EMAIL_URL and ALERT_EMAIL_TO are not both set.",
        ]  # fmt: skip
        assert len(discord.messages()) == 1
        assert [one.actor for one in events("notification_test")] == ["operator"]

    def test_failure_is_an_error_with_what_to_do(self, desk: Desk, discord: DiscordLoopback) -> None:
        discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=404, is_carried_out=False))
        page = desk.client.post(TEST, follow=True).content.decode()
        assert "DISCORD_WEBHOOK_URL" in page
        assert discord.messages() == []
        assert "/api/webhooks/" not in page

    def test_switched_off_channel_is_left_alone(self, desk: Desk, discord: DiscordLoopback) -> None:
        prefs.change(prefs.Change(discord=False), actor="x", reason="y")
        assert desk.told(TEST)[0] == "Discord: Switched off in the notification preferences."
        assert discord.messages() == []


class TestMessages:
    def test_delivered_waiting_and_given_up_are_told_apart(self, desk: Desk, discord: DiscordLoopback) -> None:
        now = timezone.now()
        outbox.tell("order_rejected", "bot:1", "Kraken refused it")
        planning.plan(now)
        delivery.deliver_due(now, "test")
        row("waiting", event_id="w", attempts=0)
        row("dead", event_id="d", attempts=3)
        row("dropped", event_id="o", detail="The channel was switched off.")
        shown = section(desk.get(PART), "messages")
        for word in ("DELIVERED", "WAITING", "GIVEN UP", "NOT SENT"):
            assert shown.count(f">{word}</span>") == 1
        assert "After 3 tries: Discord says no." in shown
        assert "The channel was switched off." in shown

    def test_gathered_ones_say_how_many_they_tell_of(self, desk: Desk, discord: DiscordLoopback) -> None:
        for _ in range(3):
            outbox.tell("order_rejected", "bot:1", "Kraken refused it")
        planning.plan(timezone.now())
        assert "tells of 3" in section(desk.get(PART), "messages")
        told = section(desk.get(PART), "told")
        assert told.count("Kraken refused it") == 1
        assert "3 times" in told

    def test_nothing_yet_is_said(self, desk: Desk) -> None:
        page = desk.get(PAGE)
        assert "No message was ever made for a channel." in page
        assert "Nothing has happened yet" in page
        assert 'id="given-up"' not in page

    def test_what_is_not_planned_is_said(self, desk: Desk) -> None:
        outbox.tell("risk_alert", "bot:1", "Loss")
        assert "1 notification is not put into messages yet" in section(desk.get(PART), "channels")

    def test_ten_thousand_cost_no_more_queries_than_one(self, desk: Desk, django_assert_max_num_queries: Any) -> None:
        row("delivered")
        now = timezone.now()
        Delivery.objects.bulk_create(
            Delivery(channel="discord", event_id=f"b{n}", event="test", severity="info", status="dead", lines=[],
                     first_at=now, last_at=now, give_up_at=now, created_at=now)
            for n in range(500)
        )  # fmt: skip
        Notification.objects.bulk_create(
            Notification(event_id=f"n{n}", event="test", severity="info", subject="x", title="t", created_at=now)
            for n in range(500)
        )
        with django_assert_max_num_queries(32):
            page = desk.get(PAGE)
        assert "The latest 20 of 500." in section(page, "given-up")


class TestRetry:
    def test_one_is_tried_again_and_arrives(self, desk: Desk, discord: DiscordLoopback) -> None:
        first, second = row(), row()
        assert desk.told(RETRY, {"delivery": str(first.pk)})[0].startswith("It is tried again within seconds.")
        assert Delivery.objects.get(pk=second.pk).status == DeliveryStatus.DEAD
        assert delivery.deliver_due(timezone.now(), "test") == 1
        assert len(discord.messages()) == 1
        assert [one.object for one in events("notification_retried")] == [f"delivery:{first.pk}"]

    def test_all_are_tried_again(self, desk: Desk) -> None:
        row(), row("delivered"), row()
        assert desk.told(RETRY_ALL)[0].startswith("2 messages are tried again")
        assert sorted(Delivery.objects.values_list("status", flat=True)) == ["delivered", "waiting", "waiting"]
        assert desk.told(RETRY_ALL)[-1] == "No message was given up: there is nothing to try again."

    @pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30, "²", "0", "1.5", "\0"])
    def test_number_that_is_no_message_changes_nothing(self, desk: Desk, number: str) -> None:
        row()
        assert desk.told(RETRY, {"delivery": number}) == [
            "It was not waiting for that any more: somebody tried it again already."
        ]
        assert Delivery.objects.get().status == DeliveryStatus.DEAD

    def test_second_press_says_that_it_was_done(self, desk: Desk) -> None:
        number = str(row().pk)
        desk.told(RETRY, {"delivery": number})
        assert "somebody tried it again already" in desk.told(RETRY, {"delivery": number})[-1]
        assert len(events("notification_retried")) == 1


class TestOutboxLists:
    def test_are_to_look_at_only(self, desk: Desk) -> None:
        given_up = row()
        outbox.tell("risk_alert", "bot:1", "Loss")
        told = Notification.objects.get()
        for url in (f"delivery/{given_up.pk}", f"notification/{told.pk}"):
            page = desk.get(f"/admin/safety/{url}/change/")
            assert 'name="_save"' not in page
            assert desk.post(f"/admin/safety/{url}/change/", {"status": "waiting", "title": "x"}).status_code == 403
            assert desk.post(f"/admin/safety/{url}/delete/", {"post": "yes"}).status_code == 403
        assert Delivery.objects.get().status == DeliveryStatus.DEAD

    def test_can_be_narrowed(self, desk: Desk) -> None:
        # To today, among others.
        stay_within_the_hour()
        outbox.tell("risk_alert", "bot:1", "A loss of 3 %")
        outbox.tell("order_unknown", "order:1", "Nobody knows")
        for query in ("severity=urgent", "event=order_unknown", "days=today&severity=urgent"):
            page = desk.get(f"/admin/safety/notification/?{query}")
            assert "Nobody knows" in page
            assert "A loss of 3 %" not in page
        assert "Nobody knows" in desk.get("/admin/safety/notification/?severity=nonsense")
        row("dead"), row("delivered", event_id="z", detail="Discord has it.")
        page = desk.get("/admin/safety/delivery/?status__exact=dead")
        assert "Discord says no." in page
        assert "Discord has it." not in page

    def test_message_is_shown_as_it_is_sent(self, desk: Desk) -> None:
        one = row("delivered", event_id="z")
        page = desk.get(f"/admin/safety/delivery/{one.pk}/change/")
        assert "Kraken refused an order" in page
        assert "no funds" in page
        assert "About: bot:1" in page


class TestFailingChannel:
    def test_is_told_on_both_pages_with_what_waits(self, desk: Desk, discord: DiscordLoopback) -> None:
        discord.fault(Fault(DISCORD_POST, Reply.STATUS, status=404, count=9, is_carried_out=False))
        # A time of yesterday is shown with its day.
        stay_within_the_hour()
        now = timezone.now()
        outbox.tell("order_rejected", "bot:1", "Kraken refused it")
        planning.plan(now)
        delivery.deliver_due(now, "test")
        since = ChannelState.objects.get(name="discord").failing_since
        assert since is not None
        line = f"Messages to Discord wait since {since:%H:%M} UTC"
        for url in ("/admin/safety/", "/admin/part/safety/"):
            page = desk.get(url)
            assert line in page
            assert "1 waiting." in page
        shown = section(desk.get(PART), "channels")
        assert f"<strong>Discord</strong> has not taken messages since {since:%H:%M} UTC" in shown
        assert "1 message waits" in shown
        discord.clear_faults()
        ChannelState.objects.update(not_before=None)
        Delivery.objects.update(not_before=None)
        assert delivery.deliver_due(timezone.now() + timedelta(seconds=1), "test") == 1
        assert line not in desk.get("/admin/safety/")
        assert "<strong>Discord</strong> works; the last message went out" in section(desk.get(PART), "channels")

    def test_channel_that_is_off_or_not_configured_is_no_failure(self, desk: Desk) -> None:
        ChannelState.objects.update_or_create(name="discord", defaults={"failing_since": timezone.now()})
        assert "Messages to Discord wait" not in desk.get("/admin/safety/")


def test_actor_is_whoever_is_signed_in(desk: Desk) -> None:
    desk.user = User.objects.create_superuser("olga", password="x")
    desk.client.force_login(desk.user)
    desk.told(PAGE, fields(enabled=""))
    assert [one.actor for one in events("notification_enabled")] == ["olga"]
    assert NotificationPrefs.objects.get().enabled is False
