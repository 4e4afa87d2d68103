"""The sign of life: called while all is well, held back when it is not, and its address told to nobody."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from bots.models import AutopilotConfig, AutopilotState
from bots.models.worker import WorkerHeartbeat, WorkerKind
from bots.watch_chores import give_sign_of_life
from bots.workers.aside import aside
from safety.models import Setting
from safety.notifications import heartbeat
from tests.conftest import CommittedDatabase
from tests.readiness.processes import beat

SECRET = "c0ffee-5ecret-id"


@dataclass
class Listener:
    """The other machine: what it was asked for, and what it answers."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    waits_s: float = 0.0
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    found = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.calls.append((self.path, dict(self.headers)))
            time.sleep(found.waits_s)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}/ping/{SECRET}"
        settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url=found.url)
        yield found
        server.shutdown()


def last() -> heartbeat.Ping:
    found = heartbeat.last()
    assert found is not None
    return found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "is_ok", "says"),
    [
        (200, True, "answered"),
        (204, True, "answered"),
        (302, False, "points elsewhere"),
        (404, False, "status 404"),
        (500, False, "status 500"),
    ],
)
def test_only_a_yes_is_a_yes(listener: Listener, status: int, is_ok: bool, says: str) -> None:
    listener.status = status
    now = timezone.now()
    assert heartbeat.ping(now).is_ok is is_ok
    assert last().at == now
    assert last().ok_at == (now if is_ok else None)
    assert says in last().detail
    assert len(listener.calls) == 1


@pytest.mark.django_db
def test_the_last_success_is_remembered_over_failures(listener: Listener) -> None:
    first = timezone.now()
    heartbeat.ping(first)
    listener.status = 500
    heartbeat.ping(first + timedelta(minutes=1))
    assert (last().is_ok, last().ok_at) == (False, first)


@pytest.mark.django_db
def test_a_redirect_is_not_followed(listener: Listener) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as elsewhere:
        elsewhere.timeout = 0.3
        listener.status = 302
        listener.headers = {"Location": f"http://127.0.0.1:{elsewhere.server_port}/{SECRET}"}
        heartbeat.ping(timezone.now())
        elsewhere.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            elsewhere.socket.accept()


@pytest.mark.django_db
def test_no_proxy_and_no_password_file_sees_it(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password open\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert heartbeat.ping(timezone.now()).is_ok
    assert "Authorization" not in listener.calls[0][1]


@pytest.mark.django_db
def test_the_address_stands_nowhere(
    listener: Listener, settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    heartbeat.ping(timezone.now())
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url=f"http://127.0.0.1:9/{SECRET}")
    found = heartbeat.ping(timezone.now())
    assert not found.is_ok
    assert "ConnectionError" in found.detail
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, heartbeat_url=f"http://no..host/{SECRET}")
    assert not heartbeat.ping(timezone.now()).is_ok
    kept = " ".join(Setting.objects.values_list("value", flat=True))
    assert SECRET not in kept + caplog.text + "".join(capfd.readouterr())


@pytest.mark.django_db
@pytest.mark.parametrize("spoilt", ["", "{", "[]", "null", '{"at": "never", "ok": true, "detail": "", "ok_at": null}'])
def test_a_note_that_cannot_be_read_is_none(spoilt: str) -> None:
    Setting.objects.create(key=heartbeat.KEY, value=spoilt)
    assert heartbeat.last() is None


# The chore.


def do_chore() -> None:
    give_sign_of_life(timezone.now())
    assert aside.settle(10)


@pytest.fixture
def at_work(committed_db: CommittedDatabase) -> None:
    beat(WorkerKind.RUNNER)
    beat(WorkerKind.CHORES)


def test_called_while_all_is_well(at_work: None, listener: Listener) -> None:
    do_chore()
    assert [path for path, _ in listener.calls] == [f"/ping/{SECRET}"]
    assert last().is_ok


def test_not_called_without_an_address(at_work: None) -> None:
    do_chore()
    assert heartbeat.last() is None


def test_not_called_when_no_runner_is_heard_of_and_called_again_when_one_is(at_work: None, listener: Listener) -> None:
    runner = WorkerHeartbeat.objects.filter(kind=WorkerKind.RUNNER)
    runner.update(seen_at=timezone.now() - timedelta(seconds=31))
    do_chore()
    assert listener.calls == []
    assert "no worker ticks the bots" in last().detail
    runner.update(seen_at=timezone.now())
    do_chore()
    assert len(listener.calls) == 1


@pytest.mark.parametrize(("late_s", "is_called"), [(-1, True), (5, False)])
def test_not_called_while_the_autopilot_is_late(
    at_work: None, listener: Listener, late_s: int, is_called: bool
) -> None:
    interval_s = AutopilotConfig.objects.get(pk=1).scan_interval_s
    last_cycle = timezone.now() - timedelta(seconds=2 * interval_s + late_s)
    AutopilotState.objects.filter(pk=1).update(heartbeat_at=last_cycle, enabled_at=last_cycle)
    AutopilotConfig.objects.filter(pk=1).update(enabled=True)
    do_chore()
    assert bool(listener.calls) is is_called
    assert last().is_ok is is_called


def test_an_autopilot_that_is_off_holds_nothing_back(at_work: None, listener: Listener) -> None:
    AutopilotState.objects.filter(pk=1).update(heartbeat_at=timezone.now() - timedelta(days=9))
    do_chore()
    assert last().is_ok


def test_a_call_that_is_not_answered_delays_no_chore_and_is_told_of(at_work: None, listener: Listener) -> None:
    listener.waits_s = 3.0
    started_s = time.monotonic()
    give_sign_of_life(timezone.now())
    give_sign_of_life(timezone.now())
    assert time.monotonic() - started_s < 2.5
    assert "has not answered the last call yet" in last().detail
    assert aside.settle(10)
    assert last().is_ok
    assert len(listener.calls) == 1
