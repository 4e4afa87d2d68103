"""Streams under the server that people run: they never take its last thread, and they end with it."""

import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
import requests
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, User
from django.test import Client

from safety.kill_switch import read_state
from safety.permissions import VIEWER
from tests.audit.factories import write_fills
from tests.conftest import CommittedDatabase
from tests.tradingops.api.served import BEARER, START_S, Served, serve
from tests.tradingops.api.streams import Listening
from tests.workers.conftest import wait_until
from tradingops.api.stream_hub import LISTENERS_MAX, LISTENERS_OF_CALLER_MAX

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.timeout(240)]
PROCESSES = 2
#: The kill switch waits 10 s for what is under way; nothing is here.
KILL_S = 15


@pytest.fixture
def served(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Served]:
    with serve(committed_db, tmp_path / "gunicorn.log") as running:
        yield running


def sessions(count: int) -> list[dict[str, str]]:
    """Return the headers of so many people who are signed in."""
    found = []
    for number in range(count):
        user = User.objects.create_user(f"viewer {number}", is_staff=True)
        user.groups.add(Group.objects.get(name=VIEWER))
        client = Client()
        client.force_login(user)
        name = django_settings.SESSION_COOKIE_NAME
        found.append({"Cookie": f"{name}={client.cookies[name].value}"})
    return found


def listen(served: Served, headers: dict[str, str]) -> Listening | None:
    """Return a stream, or None where there is no place for one more."""
    answer = requests.get(f"{served.url}/api/stream", headers=headers, stream=True, timeout=START_S)
    if answer.status_code != 200:
        assert answer.status_code in (429, 503), answer.text
        assert answer.headers["Retry-After"]
        answer.close()
        return None
    return Listening(answer.iter_content(None), answer.close)


def take_all(served: Served) -> list[Listening]:
    """Take every place of every process."""
    callers = cycle([BEARER, *sessions(2 * PROCESSES * LISTENERS_MAX // LISTENERS_OF_CALLER_MAX)])
    streams: list[Listening] = []
    until_s = time.monotonic() + START_S
    while len(streams) < PROCESSES * LISTENERS_MAX:
        assert time.monotonic() < until_s, f"only {len(streams)} streams"
        if (one := listen(served, next(callers))) is not None:
            streams.append(one)
    return streams


def test_kill_switch_when_every_stream_is_taken_is_answered_and_told(served: Served) -> None:
    streams = take_all(served)
    assert listen(served, BEARER) is None
    began_s = time.monotonic()
    answer = requests.post(
        f"{served.url}/api/safety/kill-switch",
        json={"level": "halted", "reason": "a test"},
        headers=BEARER,
        timeout=KILL_S,
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "halted")
    assert time.monotonic() - began_s < KILL_S
    assert read_state().level == "halted"
    for one in streams:
        while one.next("safety").data["trading_state"] != "halted":
            pass
    write_fills(3)
    for one in streams:
        assert [told["seq"] for told in one.orders(3)] == [1, 2, 3]
        one.close()
    served.stop()


def test_stopping_the_server_ends_its_streams_in_time(served: Served) -> None:
    streams = [one for one in (listen(served, BEARER) for _ in range(3)) if one is not None]
    for one in streams:
        one.next("safety")
    served.process.terminate()
    for one in streams:
        assert one.next("bye").data == {"reason": "restarting"}
        one.close()
    served.stop()


def test_place_of_a_client_that_went_away_is_free_again(served: Served) -> None:
    gone = take_all(served)
    for one in gone:
        one.close()
    # The next heartbeat finds nobody, and the one after that fails.
    found: list[Listening] = []

    def again() -> bool:
        one = listen(served, BEARER)
        found.extend([one] if one is not None else [])
        return one is not None

    wait_until(again, 120, "a place to be free again")
    found[0].next("safety")
    found[0].close()
