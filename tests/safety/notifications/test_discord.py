"""A message through Discord's webhook: what is sent, and what each answer is taken for."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings

from safety.notifications.discord import DiscordChannel
from safety.notifications.discord.embeds import ALL_MAX, COLOURS, payload
from safety.notifications.messages import Message, Severity
from safety.notifications.outcomes import DeliveryState
from tests.loopback.client import DISCORD_POST, DiscordLoopback
from tests.loopback.faults import Fault, Reply

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def message(**changes: Any) -> Message:
    values: dict[str, Any] = {"event": "test", "title": "Halted", "text": "Somebody halted", "at": AT}
    return Message(**{**values, "severity": Severity.URGENT, **changes})


Answering = Callable[[int, object, dict[str, str]], None]


@pytest.fixture
def answering(settings: Settings) -> Iterator[Answering]:
    """Give a webhook that answers as it is told, for answers that the loopback Discord never gives."""
    told: list[tuple[int, object, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, headers = told[-1]
            self.send_response(status)
            text = json.dumps(body).encode()
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api/webhooks/1/secret"
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=url)
        yield lambda status, body, headers: told.append((status, body, headers))
        server.shutdown()


def test_message_is_kept_by_discord_and_calls_nobody(discord: DiscordLoopback) -> None:
    outcome = DiscordChannel().deliver(message(text="@everyone <@42> look", facts=(("Who", "anna"),)))
    assert (outcome.state, outcome.is_delivered) == (DeliveryState.DELIVERED, True)
    (kept,) = discord.messages()
    assert kept["allowed_mentions"] == {"parse": []}
    (embed,) = kept["embeds"]
    assert (embed["title"], embed["color"]) == ("Halted", COLOURS[Severity.URGENT])
    assert "<@42>" not in embed["description"].replace("\\", "#")
    assert discord.log()[-1].fields["wait"] == "true"


def test_each_severity_has_a_colour_of_its_own() -> None:
    assert len({payload(message(severity=one))["embeds"][0]["color"] for one in Severity}) == len(Severity)


@pytest.mark.parametrize("letter", ["x", "*", "é", "😀", "\\"])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 4_096, 4_097, 20_000])
def test_texts_of_any_length_are_taken(discord: DiscordLoopback, letter: str, length: int) -> None:
    long = letter * length
    assert DiscordChannel().deliver(message(title=long, text=long, facts=((long, long),) * 30)).is_delivered
    (embed,) = discord.messages()[-1]["embeds"]
    texts = [embed["title"], embed["description"], *(one[key] for one in embed["fields"] for key in ("name", "value"))]
    assert sum(len(one.encode("utf-16-le")) // 2 for one in texts) <= ALL_MAX
    # A cut never leaves half of a pair: the backslash of what was to be made plain, or half a character.
    assert all((len(one) - len(one.rstrip("…").rstrip("\\"))) % 2 in (0, 1) for one in texts)


def test_empty_texts_are_taken(discord: DiscordLoopback) -> None:
    assert DiscordChannel().deliver(message(title="", text=" ", facts=(("", ""),))).is_delivered


@pytest.mark.parametrize(
    ("status", "body", "headers", "waits"),
    [
        (429, {"retry_after": 64.57}, {"Retry-After": "65"}, 65.0),
        (429, {"retry_after": 90.5}, {"Retry-After": "65"}, 90.5),
        (429, {}, {}, 1.0),
        (429, ["odd"], {}, 1.0),
        (429, {"retry_after": "soon"}, {"Retry-After": "nan"}, 3_600.0),
        (429, {"retry_after": 10**9}, {}, 3_600.0),
        (429, {"retry_after": -5}, {}, 1.0),
    ],
)
def test_too_many_waits_as_long_as_discord_says(
    answering: Answering, status: int, body: object, headers: dict[str, str], waits: float
) -> None:
    answering(status, body, headers)
    outcome = DiscordChannel().deliver(message())
    assert (outcome.state, outcome.retry_after_s) == (DeliveryState.TRY_AGAIN, waits)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, DeliveryState.DELIVERED),
        (204, DeliveryState.REFUSED),
        (302, DeliveryState.REFUSED),
        (400, DeliveryState.REFUSED),
        (401, DeliveryState.REFUSED),
        (404, DeliveryState.REFUSED),
        (500, DeliveryState.TRY_AGAIN),
        (503, DeliveryState.TRY_AGAIN),
    ],
)
def test_answer_is_taken_for_what_it_says(answering: Answering, status: int, state: DeliveryState) -> None:
    answering(status, {}, {"Location": "http://127.0.0.1:9/"} if status == 302 else {})
    assert DiscordChannel().deliver(message()).state == state


def test_broken_answer_is_worth_another_try(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, Reply.RESET))
    assert DiscordChannel().deliver(message()).state == DeliveryState.TRY_AGAIN


def test_failures_then_a_message(discord: DiscordLoopback) -> None:
    discord.fault(Fault(DISCORD_POST, Reply.STATUS, count=3, status=503, is_carried_out=False))
    states = [DiscordChannel().deliver(message()).state for _ in range(4)]
    assert states == [DeliveryState.TRY_AGAIN] * 3 + [DeliveryState.DELIVERED]
    assert len(discord.messages()) == 1


def test_away_is_told_without_the_address(settings: Settings) -> None:
    secret = "http://127.0.0.1:9/api/webhooks/1/very-secret"
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=secret)
    outcome = DiscordChannel().deliver(message())
    assert outcome.state == DeliveryState.TRY_AGAIN
    assert "secret" not in repr(outcome)


def test_an_odd_answer_brings_the_address_into_no_log(
    answering: Answering, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    answering(200, {"id": "1"}, {"this is no header\r\nX-Other": "1"})
    assert DiscordChannel().deliver(message()).is_delivered
    assert "secret" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("unset", [None, ""])
def test_without_a_webhook_nothing_is_configured(settings: Settings, unset: str | None) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, discord_webhook_url=unset)
    assert not DiscordChannel().is_configured()
    assert DiscordChannel().deliver(message()).state == DeliveryState.NOT_CONFIGURED
