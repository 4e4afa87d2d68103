"""The loopback Discord itself: it keeps what was said, and says no where Discord does."""

from typing import Any

import pytest
import requests

from tests.loopback import faults
from tests.loopback.client import DISCORD_POST, DiscordLoopback


def say(discord: DiscordLoopback, *, url: str = "", wait: bool = True, **body: Any) -> requests.Response:
    return requests.post(url or discord.webhook_url, json=body, params={"wait": "true"} if wait else {}, timeout=5)


def test_message_that_is_waited_for_comes_back_and_another_answers_204(discord: DiscordLoopback) -> None:
    answer = say(discord, content="one", allowed_mentions={"parse": []})
    assert (answer.status_code, answer.json()["content"]) == (200, "one")
    assert say(discord, wait=False, content="two").status_code == 204
    assert [one["content"] for one in discord.messages()] == ["one", "two"]
    assert discord.messages()[0]["allowed_mentions"] == {"parse": []}
    assert discord.webhook_url.rsplit("/", 1)[-1] not in str(discord.log())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 50006),
        ({"content": "x" * 2001}, 50035),
        ({"embeds": [{"title": "x"}] * 11}, 50035),
        ({"embeds": [{"title": "x" * 257}]}, 50035),
        ({"embeds": [{"description": "x" * 4097}]}, 50035),
        ({"embeds": [{"fields": [{"name": "x", "value": "y" * 1025}]}]}, 50035),
        ({"embeds": [{"description": "x" * 3001}] * 2}, 50035),
    ],
)
def test_message_beyond_the_bounds_is_refused(discord: DiscordLoopback, body: dict[str, Any], code: int) -> None:
    answer = say(discord, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert discord.messages() == []


def test_too_many_messages_are_told_when_to_come_again(discord: DiscordLoopback) -> None:
    discord.set_limit(1, 3600)
    say(discord, content="one")
    answer = say(discord, content="two")
    assert answer.status_code == 429
    assert 3500 < answer.json()["retry_after"] <= 3600
    assert 3500 < int(answer.headers["Retry-After"]) <= 3601
    assert len(discord.messages()) == 1


def test_webhook_that_is_gone_or_that_the_wrong_token_asks_for_is_refused(discord: DiscordLoopback) -> None:
    assert say(discord, url=f"{discord.webhook_url}x", content="one").json()["code"] == 50027
    discord.control("set_gone", is_gone=True)
    assert say(discord, content="one").json() == {"message": "Unknown Webhook", "code": 10015}


def test_lost_message_is_only_told_to_who_waits(discord: DiscordLoopback) -> None:
    discord.control("set_loses_messages", value=True)
    assert [say(discord, wait=wait, content="one").status_code for wait in (False, True)] == [204, 500]
    assert discord.messages() == []


def test_faults_meet_the_webhook(discord: DiscordLoopback) -> None:
    discord.fault(faults.venue_error(DISCORD_POST, "429"), faults.http_status(DISCORD_POST, 503))
    assert [say(discord, content="one").status_code for _ in range(3)] == [429, 503, 200]
