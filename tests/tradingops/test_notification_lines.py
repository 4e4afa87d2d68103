"""Channels and messages in words: each state is told apart, with since when, what waits and what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from safety.notification_models import Delivery, DeliveryStatus
from safety.notifications import heartbeat
from safety.notifications.channels import channels
from safety.notifications.reading import ChannelView
from tradingops.notification_lines import (
    CHANNEL_NAMES,
    PING_OLD_AFTER,
    VARIABLES,
    ChannelLine,
    Sign,
    channel_line,
    failing,
    heartbeat_line,
    message_line,
    name_of,
)

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def before(**length: int) -> datetime:
    return NOW - timedelta(**length)


def line(**changes: Any) -> ChannelLine:
    return channel_line(ChannelView(**{"name": "discord", "is_configured": True, "is_on": True, **changes}), NOW)


def message(**changes: Any) -> tuple[Sign, str, str]:
    """Return sign, word and text of one message."""
    told = {"title": "Loss", "subject": "", "text": "", "facts": [], "count": 1}
    at = {"first_at": NOW.isoformat(), "last_at": NOW.isoformat()}
    values: dict[str, Any] = {"attempts": 1, "tried_at": before(minutes=2), "detail": "Discord says no.", **changes}
    one = message_line(
        Delivery(
            channel="discord", event_id="e", event="risk_alert", severity="warning", lines=[told | at],
            first_at=NOW, last_at=NOW, give_up_at=NOW, created_at=NOW, **values,
        ),
        NOW,
    )  # fmt: skip
    assert (one.channel, one.title, one.event) == ("Discord", "Loss", "A risk limit was reached")
    return one.sign, one.word, one.text


def test_every_channel_has_a_name_and_says_which_variables_it_needs() -> None:
    names = {one.name for one in channels()}
    assert names == set(CHANNEL_NAMES) == set(VARIABLES)
    assert name_of("pigeon") == "Pigeon"


class TestChannel:
    def test_works(self) -> None:
        found = line(delivered_at=before(minutes=2))
        assert (found.sign, found.word, found.text) == (
            Sign.WORKS,
            "works",
            "works; the last message went out 2 min ago.",
        )

    def test_never_tried(self) -> None:
        found = line()
        assert (found.sign, found.word) == (Sign.LOOK, "not tried")
        assert "Send a test message" in found.text

    @pytest.mark.parametrize(
        ("name", "variables"), [("discord", "DISCORD_WEBHOOK_URL"), ("email", "EMAIL_URL and ALERT_EMAIL_TO")]
    )
    def test_not_configured_names_the_variables(self, name: str, variables: str) -> None:
        found = line(name=name, is_configured=False, failing_since=before(hours=1))
        assert found.sign == Sign.OFF
        assert found.text == f"is not configured: set {variables} in .env, and restart."

    def test_switched_off(self) -> None:
        found = line(is_on=False, failing_since=before(hours=1), waiting=3)
        assert (found.sign, found.word) == (Sign.OFF, "off")

    def test_fails_says_since_when_why_and_when_it_is_tried_again(self) -> None:
        since = datetime(2026, 11, 23, 3, 12, tzinfo=UTC)
        found = line(
            failing_since=since, detail="The webhook is unknown.", delivered_at=before(hours=3), waiting=2,
            oldest_at=since, next_try_at=NOW + timedelta(seconds=90),
        )  # fmt: skip
        assert found.sign == Sign.FAILS
        assert found.text == (
            "has not taken messages since 03:12 UTC (108 min ago): The webhook is unknown. It is tried again at 05:01:30 UTC."
            " 2 messages wait, the oldest from 03:12 UTC (108 min ago)."
        )

    def test_failure_of_another_day_says_the_day(self) -> None:
        assert "since 2026-11-22 05:00 UTC (24 h ago): it gave no reason." in line(failing_since=before(days=1)).text

    @pytest.mark.parametrize(("waiting", "words"), [(0, ""), (1, "1 message waits"), (2, "2 messages wait")])
    def test_what_waits_is_counted(self, waiting: int, words: str) -> None:
        text = line(delivered_at=before(minutes=2), waiting=waiting).text
        assert words in text
        assert ("wait" in text) is bool(waiting)


@pytest.mark.django_db
class TestHeartbeat:
    @pytest.fixture(autouse=True)
    def _is_set(self, settings: Settings) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url="http://127.0.0.1:9/very-secret")

    def test_not_set_says_what_it_is_for(self, settings: Settings) -> None:
        heartbeat.keep(NOW, is_ok=True, detail="from another process")
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url="")
        found = heartbeat_line(NOW)
        assert (found.sign, found.word) == (Sign.OFF, "not configured")
        assert "HEARTBEAT_URL" in found.text

    def test_never_called(self) -> None:
        assert heartbeat_line(NOW).sign == Sign.LOOK

    def test_answered(self) -> None:
        heartbeat.keep(before(seconds=40), is_ok=True, detail="it answered")
        found = heartbeat_line(NOW)
        assert (found.sign, found.text) == (Sign.WORKS, "was called 40 s ago, and it answered.")

    def test_failed_says_why_and_when_it_last_worked(self) -> None:
        heartbeat.keep(before(minutes=9), is_ok=True, detail="it answered")
        heartbeat.keep(before(seconds=40), is_ok=False, detail="It answered with status 500.")
        found = heartbeat_line(NOW)
        assert found.sign == Sign.FAILS
        assert found.text == "failed 40 s ago: It answered with status 500. The last good call: 9 min ago."

    @pytest.mark.parametrize(
        ("age", "sign"),
        [
            (PING_OLD_AFTER - timedelta(seconds=1), Sign.WORKS),
            (PING_OLD_AFTER, Sign.WORKS),
            (PING_OLD_AFTER + timedelta(seconds=1), Sign.FAILS),
        ],
    )
    def test_old_call_is_no_sign_of_life(self, age: timedelta, sign: Sign) -> None:
        heartbeat.keep(NOW - age, is_ok=True, detail="it answered")
        assert heartbeat_line(NOW).sign == sign

    def test_address_is_never_shown(self) -> None:
        heartbeat.ping(NOW)
        assert "secret" not in heartbeat_line(NOW).text


class TestFailing:
    def test_only_what_fails_is_told(self) -> None:
        fails = line(failing_since=before(minutes=30), waiting=12, detail="Make a new one.")
        lines = [line(delivered_at=NOW), line(is_on=False, failing_since=NOW), fails]
        assert failing(lines, NOW) == [
            "Messages to Discord wait since 04:30 UTC (30 min ago): 12 waiting. Make a new one."
        ]

    def test_none_waiting_is_said(self) -> None:
        [text] = failing([line(failing_since=before(minutes=30))], NOW)
        assert text.endswith("none is waiting just now.")


class TestMessage:
    def test_delivered(self) -> None:
        sent = {"status": DeliveryStatus.DELIVERED, "delivered_at": before(minutes=2)}
        assert message(**sent) == (Sign.WORKS, "delivered", "2 min ago")
        assert message(**sent, attempts=3) == (Sign.WORKS, "delivered", "2 min ago, after 3 tries")

    def test_given_up(self) -> None:
        assert message(status=DeliveryStatus.DEAD) == (Sign.FAILS, "given up", "Discord says no.")
        assert message(status=DeliveryStatus.DEAD, attempts=2)[2] == "After 2 tries: Discord says no."

    def test_not_sent(self) -> None:
        assert message(status=DeliveryStatus.DROPPED, detail="Switched off.") == (Sign.OFF, "not sent", "Switched off.")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"attempts": 0}, "It goes as soon as its channel takes it."),
            ({"attempts": 0, "not_before": NOW}, "It goes as soon as its channel takes it."),
            ({"attempts": 0, "not_before": NOW + timedelta(seconds=1)}, "Held until 05:00:01 UTC"),
            ({"attempts": 0, "claimed_until": NOW}, "It goes as soon as its channel takes it."),
            ({"attempts": 0, "claimed_until": NOW + timedelta(seconds=1)}, "It is being sent."),
            ({"attempts": 1}, "Tried once, the last 2 min ago: Discord says no."),
            ({"attempts": 5}, "Tried 5 times, the last 2 min ago: Discord says no."),
        ],
    )
    def test_waiting_says_what_for(self, changes: dict[str, Any], said: str) -> None:
        sign, word, text = message(status=DeliveryStatus.WAITING, **changes)
        assert (sign, word) == (Sign.LOOK, "waiting")
        assert text.startswith(said)
