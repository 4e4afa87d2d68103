"""Checks on what the running processes tell of themselves: just passing, just failing, and not told."""

from typing import Any

import pytest

from bots.models.worker import WorkerHeartbeat, WorkerKind
from safety import facts, readiness
from safety.readiness_values import State
from tests.readiness.conftest import Environ, find
from tests.readiness.processes import KINDS, beat, beat_all

pytestmark = pytest.mark.django_db
#: The checks that rest on what processes tell, with a fact that fails each and one that just passes.
RESTS_ON_FACTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "token_where_exposed": ({"is_exposed": True, "token": "short"}, {"is_exposed": True, "token": "long"}),
    "token_on_loopback": ({"is_exposed": False, "token": "short"}, {"is_exposed": False, "token": "long"}),
    "debug_off": ({"debug": True}, {"debug": False}),
    "secret_key": ({"secret_key": "short"}, {"secret_key": "long"}),
    "allowed_hosts": ({"any_host": True}, {"any_host": False}),
    "secure_cookies": ({"is_https": True, "cookies_secure": False}, {"is_https": True, "cookies_secure": True}),
    "alert_channels": ({"channels": ["discord"]}, {"channels": ["discord", "email"]}),
}


@pytest.mark.parametrize("id", RESTS_ON_FACTS)
class TestEach:
    def test_passes(self, id: str) -> None:
        beat_all(**RESTS_ON_FACTS[id][1])
        assert find(id).state == State.OK

    def test_fails_when_one_process_differs(self, id: str) -> None:
        beat_all(**RESTS_ON_FACTS[id][1])
        beat(WorkerKind.RUNNER, host="there", **RESTS_ON_FACTS[id][0])
        finding = find(id)
        assert finding.state == State.FAILED
        assert "there" in finding.found
        assert finding.remedy

    @pytest.mark.parametrize("absent", KINDS)
    def test_is_not_known_while_a_kind_of_process_is_silent(self, id: str, absent: WorkerKind) -> None:
        for kind in KINDS:
            beat(kind, age_s=31 if kind == absent else 1, **RESTS_ON_FACTS[id][1])
        finding = find(id)
        assert finding.state == State.NOT_KNOWN
        assert absent.value in finding.found

    def test_is_not_known_when_a_process_tells_nothing(self, id: str) -> None:
        beat_all(**RESTS_ON_FACTS[id][1])
        row = beat(WorkerKind.RUNNER)
        WorkerHeartbeat.objects.filter(pk=row.pk).update(details={})
        assert find(id).state == State.NOT_KNOWN

    def test_blocks_when_a_process_leaves_the_fact_out(self, id: str) -> None:
        beat_all(**RESTS_ON_FACTS[id][1])
        row = beat(WorkerKind.RUNNER)
        WorkerHeartbeat.objects.filter(pk=row.pk).update(details={"facts": {"gates": {}}})
        finding = find(id)
        assert (finding.state, finding.blocks) == (State.NOT_KNOWN, True)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"is_exposed": True, "token": "unset"}, State.FAILED),
        ({"is_exposed": True, "token": "long", "token_previous": "short"}, State.FAILED),
        ({"is_exposed": True, "token": "long", "token_previous": "long"}, State.OK),
        ({"is_exposed": False, "token": "unset"}, State.OK),
    ],
)
def test_token_where_exposed(changed: dict[str, Any], state: State) -> None:
    beat_all(**changed)
    assert find("token_where_exposed").state == state


def test_http_console_needs_no_secure_cookies() -> None:
    beat_all(is_https=False, cookies_secure=False)
    assert find("secure_cookies").state == State.OK


class TestGates:
    def test_agreeing_processes_pass(self) -> None:
        beat_all()
        finding = find("gates_agree")
        assert finding.state == State.OK
        assert "ALLOW_LIVE_TRADING is shut" in finding.found

    def test_differing_gate_fails_and_is_named(self) -> None:
        beat_all()
        gates = facts.own_facts()["gates"]
        opened = {**gates, "ALLOW_LIVE_TRADING": {**gates["ALLOW_LIVE_TRADING"], "open": True}}
        beat(WorkerKind.RUNNER, gates=opened)
        finding = find("gates_agree")
        assert finding.state == State.FAILED
        assert "gates" in finding.found

    def test_where_a_gate_was_read_does_not_matter(self) -> None:
        beat_all()
        gates = {name: {**gate, "source": "elsewhere"} for name, gate in facts.own_facts()["gates"].items()}
        beat(WorkerKind.RUNNER, gates=gates)
        assert find("gates_agree").state == State.OK

    @pytest.mark.parametrize("name", ["keys", "loopback_endpoints", "kill_switch_engaged", "floors"])
    def test_any_other_differing_setting_fails(self, name: str) -> None:
        beat_all()
        changed: dict[str, Any] = {name: "other"}
        beat(WorkerKind.WEB, **changed)
        finding = find("gates_agree")
        assert finding.state == State.FAILED
        assert name in finding.found

    @pytest.mark.parametrize("text", ["true", "yes", "on", "2", " 1"])
    def test_mistyped_gate_fails_with_what_to_write(self, environ: Environ, text: str) -> None:
        environ(ALLOW_LIVE_TRADING=text)
        beat_all()
        finding = find("gates_agree")
        assert finding.state == State.FAILED
        assert "ALLOW_LIVE_TRADING" in finding.remedy

    @pytest.mark.parametrize(("text", "is_open"), [("1", True), ("0", False), ("", False)])
    def test_understood_gate_passes(self, environ: Environ, text: str, is_open: bool) -> None:
        environ(ALLOW_LIVE_TRADING=text)
        beat_all()
        finding = find("gates_agree")
        assert finding.state == State.OK
        assert f"ALLOW_LIVE_TRADING is {'open' if is_open else 'shut'}" in finding.found


class TestMasterGate:
    def blockers(self) -> set[str]:
        readiness.load_checks()
        return {one.id for one in readiness.live_ready().blockers}

    def test_open_in_every_process(self, environ: Environ) -> None:
        environ(ALLOW_LIVE_TRADING="1")
        beat_all()
        assert "ALLOW_LIVE_TRADING" not in self.blockers()

    def test_shut_in_one(self, environ: Environ) -> None:
        beat(WorkerKind.RUNNER)
        environ(ALLOW_LIVE_TRADING="1")
        beat_all()
        assert "ALLOW_LIVE_TRADING" in self.blockers()

    def test_commands_own_shell_does_not_count(self, environ: Environ) -> None:
        beat_all()
        environ(ALLOW_LIVE_TRADING="1")
        assert "ALLOW_LIVE_TRADING" in self.blockers()

    def test_not_known_without_processes(self, environ: Environ) -> None:
        environ(ALLOW_LIVE_TRADING="1")
        assert "ALLOW_LIVE_TRADING" in self.blockers()


class TestFacts:
    @pytest.mark.parametrize(
        ("key", "found"),
        [
            ("0123456789" * 5, "long"),
            (("0123456789" * 5)[:49], "short"),
            ("abcd" * 20, "weak"),
            ("django-insecure-" + "0123456789" * 5, "weak"),
        ],
    )
    def test_secret_key(self, settings: Any, key: str, found: str) -> None:
        settings.SECRET_KEY = key
        assert facts.read_settings(settings)["secret_key"] == found

    @pytest.mark.parametrize(("token", "found"), [("t" * 32, "long"), ("t" * 31, "short"), ("", "unset")])
    def test_token(self, settings: Any, environ: Environ, token: str, found: str) -> None:
        environ(WORKER_API_TOKEN=token)
        assert facts.read_settings(settings)["token"] == found

    @pytest.mark.parametrize(
        ("real", "found"),
        [
            ({}, "unset"),
            ({"KRAKEN_API_KEY": "k"}, "half"),
            ({"KRAKEN_API_SECRET": "s"}, "half"),
            ({"KRAKEN_API_KEY": "k", "KRAKEN_API_SECRET": "s"}, "set"),
        ],
    )
    def test_keys(self, settings: Any, environ: Environ, real: dict[str, str], found: str) -> None:
        environ(**real)
        assert facts.read_settings(settings)["keys"]["kraken"] == found

    @pytest.mark.parametrize(("hosts", "found"), [(["*"], True), (["a", "*"], True), (["a", ".b.org"], False)])
    def test_any_host(self, settings: Any, hosts: list[str], found: bool) -> None:
        settings.ALLOWED_HOSTS = hosts
        assert facts.read_settings(settings)["any_host"] is found

    def test_mail_channel_needs_somebody_to_write_to(self, settings: Any, environ: Environ) -> None:
        environ(EMAIL_URL="smtp://mail.example.org", DISCORD_WEBHOOK_URL="https://discord.com/api/webhooks/1/x")
        assert facts.read_settings(settings)["channels"] == ["discord"]
        environ(EMAIL_URL="smtp://mail.example.org", ALERT_EMAIL_TO="ada@example.org")
        assert facts.read_settings(settings)["channels"] == ["email"]

    def test_clock_is_new_each_time_and_the_rest_is_not(self) -> None:
        first, second = facts.own_facts(), facts.own_facts()
        assert first["clock"] < second["clock"]
        assert {**first, "clock": ""} == {**second, "clock": ""}
