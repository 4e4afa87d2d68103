"""Clients that send slowly, under the server that people run: the kill switch finds a thread all the same."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import CommittedDatabase
from tests.tradingops.api.served import BEARER, TOKEN, Served, serve
from tradingops.web_worker import READ_WITHIN_S

pytestmark = [pytest.mark.workers, pytest.mark.slow, pytest.mark.any_database, pytest.mark.timeout(240)]
#: More than the two processes have threads, however the connections fall to them.
CONNECTIONS = 60
HALT = {"level": "halted", "reason": "a test"}
#: Each of the two processes has them stand in a row of three or so, on a slow machine.
ANSWER_S = READ_WITHIN_S * 8
HALF_A_BODY = (
    f"POST /api/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)


@pytest.fixture
def served(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Served]:
    with serve(committed_db, tmp_path / "gunicorn.log") as running:
        yield running


def begun(served: Served, sent: str) -> socket.socket:
    """Return a connection on which so much was sent, and nothing else will be."""
    where = urlsplit(served.url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), timeout=ANSWER_S)
    connection.sendall(sent.encode())
    return connection


@pytest.mark.parametrize("sent", ["P", HALF_A_BODY])
def test_requests_that_never_come_whole_do_not_keep_the_kill_switch_waiting(served: Served, sent: str) -> None:
    with ExitStack() as connections:
        for _ in range(CONNECTIONS):
            connections.enter_context(begun(served, sent))
        answer = requests.post(f"{served.url}/api/safety/kill-switch", json=HALT, headers=BEARER, timeout=ANSWER_S)
    assert (answer.status_code, answer.json()["state"]) == (200, "halted")


def test_request_that_never_comes_whole_ends_and_does_nothing(served: Served) -> None:
    began_s = time.monotonic()
    with begun(served, HALF_A_BODY) as connection:
        told = connection.recv(65_536)
    assert time.monotonic() - began_s >= READ_WITHIN_S / 2
    assert b" 422 " in told.split(b"\r\n", 1)[0]


@pytest.mark.parametrize(("missing", "status"), [(0, 200), (1, 400)])
def test_form_of_which_a_part_is_missing_is_not_taken_for_a_whole_one(
    served: Served, missing: int, status: int
) -> None:
    csrf = "c" * 32
    body = f"csrfmiddlewaretoken={csrf}&username=nobody&password=wrong"
    request = (
        f"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: csrftoken={csrf}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body) + missing}\r\n\r\n{body}"
    )
    with begun(served, request) as connection:
        connection.shutdown(socket.SHUT_WR)
        told = connection.recv(65_536)
    assert f" {status} " in told.split(b"\r\n", 1)[0].decode()


def test_request_that_comes_in_pieces_is_answered(served: Served) -> None:
    request = f"GET /api/bots HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with begun(served, request[:40]) as connection:
        time.sleep(0.5)
        connection.sendall(request[40:].encode())
        told = connection.recv(65_536)
    assert told.startswith(b"HTTP/1.1 200 ")
