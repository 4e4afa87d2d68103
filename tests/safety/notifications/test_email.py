"""Letters through a real mail server on this machine: what they say, and what each of its answers is taken for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from safety.notification_models import ChannelState, Delivery
from safety.notifications import delivery, planning
from safety.notifications.email import EmailChannel, letters, mail
from safety.notifications.messages import Message, Severity
from safety.notifications.outcomes import DeliveryState
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import FOR_EVER, Fault
from tests.loopback.smtp import SmtpServer
from tests.loopback.smtp.server import HANG_UP
from tests.safety.notifications.conftest import NOW, at, tell

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
ANNA, BEN, CARL = "anna@example.org", "ben@example.org", "carl@example.org"
PASSWORD = "very-secret-pass"
Pointed = Callable[..., EmailChannel]


def message(**changes: Any) -> Message:
    values: dict[str, Any] = {"event": "order_unknown", "title": "An order is unknown", "text": "Look at it.", "at": AT}
    return Message(**{**values, "severity": Severity.URGENT, "event_id": "cause-1", **changes})


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def pointed(settings: Settings) -> Pointed:
    """Point the settings at a mail server, and give the channel."""

    def point(url: str | None, *to: str) -> EmailChannel:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, email_url=url, alert_email_to=to or (ANNA,))
        return EmailChannel()

    return point


class TestLetter:
    def test_arrives_with_its_subject_text_and_id(self, smtp: SmtpServer, pointed: Pointed) -> None:
        outcome = pointed(smtp.url).deliver(message(facts=(("Venue", "kraken"), ("Bot", "12"))))
        assert (outcome.state, outcome.detail) == (DeliveryState.DELIVERED, "The mail server has the message.")
        (one,) = smtp.letters
        assert (one.sender, one.to) == (ANNA, (ANNA,))
        parsed = one.parsed
        assert parsed["Subject"] == "[tradingops] URGENT: An order is unknown"
        assert parsed["Message-ID"] == "<cause-1@tradingops>"
        assert (parsed.get_content_type(), parsed["To"]) == ("text/plain", ANNA)
        assert parsed.get_content().replace("\r", "").strip() == (
            "An order is unknown\n\nLook at it.\n\nVenue: kraken\nBot: 12\n\nHappened at 2026-11-23 03:00:00 UTC.\n\n"
            "Event cause-1. The same event twice is the same message sent twice."
        )

    def test_goes_to_each_address_by_itself(self, smtp: SmtpServer, pointed: Pointed) -> None:
        assert pointed(smtp.url, ANNA, BEN).deliver(message()).is_delivered
        assert [one.to for one in smtp.letters] == [(ANNA,), (BEN,)]
        assert BEN not in smtp.letters[0].raw.decode()
        assert smtp.connections == 1

    def test_is_from_the_mail_servers_user_where_that_is_an_address(self, smtp: SmtpServer, pointed: Pointed) -> None:
        smtp.user, smtp.password = "console@example.org", PASSWORD
        assert pointed(smtp.url).deliver(message()).is_delivered
        assert smtp.letters[0].sender == "console@example.org"

    @pytest.mark.parametrize("evil", ["a\r\nBcc: eve@example.org", "a\nX: y", "a\0b", "a\x0bb\x85c\u2028d"])
    def test_nothing_in_it_adds_a_header(self, smtp: SmtpServer, pointed: Pointed, evil: str) -> None:
        facts = ((evil, evil),)
        assert pointed(smtp.url).deliver(message(title=evil, text=evil, event_id=evil, facts=facts)).is_delivered
        (one,) = smtp.letters
        assert one.to == (ANNA,)
        assert set(one.parsed.keys()) >= {"Subject", "From", "To", "Message-ID"}
        assert not {"Bcc", "X"} & set(one.parsed.keys())

    @pytest.mark.parametrize(("length", "shown"), [(118, 150), (129, 150), (130, 150), (5_000, 150)])
    def test_long_subject_is_cut(self, length: int, shown: int) -> None:
        found = letters.subject(message(title="é" * length))
        assert len(found) == min(shown, len("[tradingops] URGENT: ") + length)

    @pytest.mark.parametrize("text", ["", ".", "..\n.\n", "line\n.\nmore", "😀" * 3_000, "x" * 100_000])
    def test_any_text_arrives_whole(self, smtp: SmtpServer, pointed: Pointed, text: str) -> None:
        assert pointed(smtp.url).deliver(message(text=text)).is_delivered
        assert text.strip() in smtp.letters[0].parsed.get_content().replace("\r\n", "\n")

    def test_only_what_is_urgent_is_marked_so(self) -> None:
        marked = {one: "URGENT" in letters.subject(message(severity=one)) for one in Severity}
        assert [one for one, is_marked in marked.items() if is_marked] == [Severity.URGENT]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answers", "state", "is_of_channel", "says"),
        [
            ({"RCPT": "550 no such user"}, DeliveryState.REFUSED, True, "answer 550"),
            ({"RCPT": "450 later"}, DeliveryState.TRY_AGAIN, False, "answer 450"),
            ({"MAIL": "553 not you"}, DeliveryState.REFUSED, True, "answer 553"),
            ({"MAIL": "451 later"}, DeliveryState.TRY_AGAIN, False, "answer 451"),
            ({"DATA": "554 spam"}, DeliveryState.REFUSED, False, "refused the text (answer 554)"),
            ({"DATA": "452 full"}, DeliveryState.TRY_AGAIN, False, "answer 452"),
            ({"CONNECT": "421 busy"}, DeliveryState.TRY_AGAIN, False, "SMTPConnectError"),
            ({"CONNECT": HANG_UP}, DeliveryState.TRY_AGAIN, False, "SMTPServerDisconnected"),
            ({"DATA": HANG_UP}, DeliveryState.TRY_AGAIN, False, "SMTPServerDisconnected"),
            ({"CONNECT": "what is this"}, DeliveryState.TRY_AGAIN, False, "could not be used"),
        ],
    )
    def test_answer_is_taken_for_what_it_says(
        self,
        smtp: SmtpServer,
        pointed: Pointed,
        answers: dict[str, str],
        state: DeliveryState,
        is_of_channel: bool,
        says: str,
    ) -> None:
        smtp.answers.update(answers)
        outcome = pointed(smtp.url).deliver(message())
        assert (outcome.state, outcome.is_of_channel) == (state, is_of_channel)
        assert says in outcome.detail
        assert smtp.letters == []

    def test_one_address_of_two_that_is_refused_is_said_and_not_repeated(
        self, smtp: SmtpServer, pointed: Pointed
    ) -> None:
        smtp.answers[f"RCPT {ANNA}"] = "550 no such user"
        outcome = pointed(smtp.url, ANNA, BEN).deliver(message())
        assert (outcome.state, outcome.detail) == (
            DeliveryState.DELIVERED,
            "The mail server took the message for 1 of 2 addresses. Look at ALERT_EMAIL_TO.",
        )
        assert [one.to for one in smtp.letters] == [(BEN,)]

    def test_yes_to_the_text_counts_whatever_comes_after(self, smtp: SmtpServer, pointed: Pointed) -> None:
        smtp.answers["QUIT"] = HANG_UP
        assert pointed(smtp.url).deliver(message()).is_delivered

    def test_right_password_signs_in(self, smtp: SmtpServer, pointed: Pointed) -> None:
        smtp.user, smtp.password = "console", PASSWORD
        assert pointed(smtp.url).deliver(message()).is_delivered

    @pytest.mark.parametrize(
        ("answers", "state"),
        [({}, DeliveryState.REFUSED), ({"AUTH": "454 later"}, DeliveryState.TRY_AGAIN)],
    )
    def test_wrong_password_is_said_without_it(
        self, smtp: SmtpServer, pointed: Pointed, answers: dict[str, str], state: DeliveryState
    ) -> None:
        smtp.user, smtp.password = "console", "another"
        smtp.answers.update(answers)
        outcome = pointed(f"smtp://console:{PASSWORD}@127.0.0.1:{smtp.port}").deliver(message())
        assert (outcome.state, outcome.is_of_channel) == (state, state == DeliveryState.REFUSED)
        assert PASSWORD not in repr(outcome)

    def test_password_where_none_is_asked_for_is_a_mistake_in_the_url(self, smtp: SmtpServer, pointed: Pointed) -> None:
        outcome = pointed(f"smtp://console:{PASSWORD}@127.0.0.1:{smtp.port}").deliver(message())
        assert (outcome.state, outcome.is_of_channel) == (DeliveryState.REFUSED, True)
        assert "EMAIL_URL" in outcome.detail
        assert PASSWORD not in repr(outcome)

    @pytest.mark.parametrize("scheme", ["smtp+tls", "smtp+ssl"])
    def test_server_without_tls_gets_no_letter(self, smtp: SmtpServer, pointed: Pointed, scheme: str) -> None:
        outcome = pointed(f"{scheme}://127.0.0.1:{smtp.port}").deliver(message())
        assert not outcome.is_delivered
        assert smtp.letters == []

    def test_server_that_is_away_or_silent_costs_a_bounded_time(
        self, smtp: SmtpServer, pointed: Pointed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mail, "STEP_S", 0.3)
        smtp.silent.add("EHLO")
        started = datetime.now(UTC)
        assert pointed(smtp.url).deliver(message()).state == DeliveryState.TRY_AGAIN
        assert pointed("smtp://127.0.0.1:9").deliver(message()).state == DeliveryState.TRY_AGAIN
        assert datetime.now(UTC) - started < timedelta(seconds=3)


class TestServerThatHangsUp:
    """The next address must not miss its letter for that, and who has it must not get it again at each try."""

    @pytest.mark.parametrize("answer", ["421 too many", HANG_UP])
    def test_on_one_address_is_asked_anew_for_the_next(self, smtp: SmtpServer, pointed: Pointed, answer: str) -> None:
        smtp.answers = {f"RCPT {BEN}": answer}
        outcome = pointed(smtp.url, ANNA, BEN, CARL).deliver(message())
        assert [one.to for one in smtp.letters] == [(ANNA,), (CARL,)]
        assert outcome.is_delivered
        assert "2 of 3 addresses" in outcome.detail

    def test_on_the_first_address_keeps_the_letter_from_no_other(self, smtp: SmtpServer, pointed: Pointed) -> None:
        smtp.answers = {f"RCPT {ANNA}": HANG_UP}
        assert pointed(smtp.url, ANNA, BEN).deliver(message()).is_delivered
        assert [one.to for one in smtp.letters] == [(BEN,)]

    def test_on_every_address_is_tried_again(self, smtp: SmtpServer, pointed: Pointed) -> None:
        smtp.answers = {"RCPT": HANG_UP}
        assert pointed(smtp.url, ANNA, BEN).deliver(message()).state == DeliveryState.TRY_AGAIN
        assert smtp.letters == []


class TestSettings:
    def test_console_mail_is_written_out(self, pointed: Pointed, capsys: pytest.CaptureFixture[str]) -> None:
        assert pointed("consolemail://").deliver(message()).is_delivered
        assert "Subject: [tradingops] URGENT: An order is unknown" in capsys.readouterr().out

    @pytest.mark.parametrize(("url", "to"), [(None, (ANNA,)), ("", (ANNA,)), ("smtp://127.0.0.1:9", ())])
    def test_without_server_or_address_nothing_is_configured(
        self, settings: Settings, url: str | None, to: tuple[str, ...]
    ) -> None:
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, email_url=url, alert_email_to=to)
        assert not EmailChannel().is_configured()
        assert EmailChannel().deliver(message()).state == DeliveryState.NOT_CONFIGURED

    @pytest.mark.parametrize(
        ("config", "port"),
        [({"EMAIL_USE_TLS": True}, 587), ({"EMAIL_USE_SSL": True}, 465), ({}, 25)],
    )
    def test_port_that_is_left_out_is_the_usual_one(self, config: dict[str, bool], port: int) -> None:
        given = {"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", "EMAIL_HOST": "mail.example.org"}
        names = dict.fromkeys(("EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"))
        assert getattr(mail.connect({**given, **names, **config}), "port", None) == port


@pytest.mark.django_db
def test_outbox_goes_by_email_and_discord_being_away_holds_nothing_back(
    smtp: SmtpServer, pointed: Pointed, configured: Settings
) -> None:
    pointed(smtp.url)
    tell("order_unknown", "order:abc", "Unknown", "Look")
    planning.plan(NOW)
    assert delivery.deliver_due(at(1), "test") == 1
    one = Delivery.objects.get(channel="email")
    assert one.status == "delivered"
    assert smtp.letters[0].parsed["Message-ID"] == f"<{one.event_id}@tradingops>"
    failing = dict(ChannelState.objects.values_list("name", "failing_since"))
    assert failing["email"] is None
    assert failing["discord"] is not None


@pytest.mark.django_db
def test_discord_that_takes_its_time_over_many_keeps_no_letter_back(
    smtp: SmtpServer, pointed: Pointed, discord: DiscordLoopback
) -> None:
    pointed(smtp.url)
    discord.fault(Fault(DISCORD_POST, delay_s=0.3, count=FOR_EVER))
    for event in ("risk_alert", "bot_error", "order_rejected", "order_unknown"):
        tell(event, title=event)
    planning.plan(NOW)
    delivery.deliver_due(NOW, "test", budget_s=0.1)
    assert [one["embeds"][0]["title"] for one in discord.messages()] == ["order\\_unknown"]
    assert [one.parsed["Subject"] for one in smtp.letters] == ["[tradingops] URGENT: order_unknown"]
