"""The API's health check and its one error shape."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.utils import timezone

from bots.models import AutopilotConfig, AutopilotState, Bot, BotStatus, Venue, WorkerHeartbeat
from bots.models.worker import WorkerKind
from safety.intents import Level
from safety.models import TradingState
from tradingops import __version__
from tradingops.api import HealthOut
from tradingops.environment import load_environment
from tradingops.health import Mode, current_mode, read_health

ERROR_KEYS = {"code", "message", "reasons"}


def worker_seen(age_s: float, kind: WorkerKind = WorkerKind.RUNNER, worker_id: str = "w1") -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        worker_id=worker_id,
        kind=kind,
        host="h",
        pid=1,
        version=__version__,
        started_at=now,
        seen_at=now - timedelta(seconds=age_s),
    )


def make_bot(**fields: Any) -> Bot:
    values = {
        "name": "b",
        "venue": Venue.KRAKEN,
        "symbol": "BTC/USD",
        "strategy": "smart_dca",
        "capital_usd": Decimal(100),
    }
    return Bot.objects.create(**(values | fields))


@contextmanager
def environment(**real: str) -> Iterator[None]:
    secret = {"SECRET_KEY": django_settings.SECRET_KEY}
    loaded = load_environment(django_settings.BASE_DIR, django_settings.VAR_DIR, {**secret, **real})
    with override_settings(ENVIRONMENT=loaded):
        yield


@contextmanager
def database_down() -> Iterator[None]:
    def refuse(*args: object, **kwargs: object) -> None:
        raise DatabaseError("the server is gone")

    with connection.execute_wrapper(refuse):
        yield


def as_told_of(response: Any) -> dict[str, Any]:
    """Return a health check's answer; it is what the schema tells of, no more and no less."""
    body: dict[str, Any] = response.json()
    assert set(body) == set(HealthOut.model_fields)
    HealthOut.model_validate_json(response.content, strict=True)
    return body


@pytest.mark.django_db
class TestHealth:
    def test_with_a_fresh_worker_is_200(self, client: Client) -> None:
        worker_seen(age_s=1)
        response = client.get("/api/health")
        assert response.status_code == 200
        body = as_told_of(response)
        assert 1 <= body.pop("worker_heartbeat_age_s") < 30
        assert body.pop("uptime_s") >= 0
        assert body == {
            "status": "ok",
            "version": __version__,
            "database": "ok",
            "autopilot_heartbeat_age_s": None,
            "trading_state": "active",
            "mode": "paper",
        }

    def test_without_any_worker_is_503(self, client: Client) -> None:
        response = client.get("/api/health")
        assert (response.status_code, response.json()["worker_heartbeat_age_s"]) == (503, None)

    @pytest.mark.parametrize(("age_s", "status"), [(29, 200), (31, 503)])
    def test_worker_may_be_unseen_for_30_s(self, client: Client, age_s: float, status: int) -> None:
        worker_seen(age_s)
        assert client.get("/api/health").status_code == status

    def test_the_youngest_worker_counts(self, client: Client) -> None:
        worker_seen(age_s=3600, worker_id="dead")
        worker_seen(age_s=1, worker_id="alive")
        assert client.get("/api/health").status_code == 200

    @pytest.mark.parametrize("kind", [WorkerKind.CHORES, WorkerKind.CLUSTER])
    def test_only_runners_count(self, client: Client, kind: WorkerKind) -> None:
        worker_seen(age_s=1, kind=kind)
        assert client.get("/api/health").status_code == 503

    def test_halted_is_healthy(self, client: Client) -> None:
        worker_seen(age_s=1)
        TradingState.objects.filter(scope="global").update(level=Level.HALTED)
        response = client.get("/api/health")
        assert (response.status_code, response.json()["trading_state"]) == (200, "halted")

    @pytest.mark.parametrize(
        ("enabled", "beat_ago_s", "on_ago_s", "expected"),
        [
            (True, 40, 100, 40.0),
            (True, 40, None, 40.0),
            (True, None, 100, None),
            # A cycle from before it was switched on again is no sign of life.
            (True, 100, 40, None),
            (False, 40, 100, None),
        ],
    )
    def test_autopilots_heartbeat_is_told_and_makes_nothing_unhealthy(
        self, client: Client, enabled: bool, beat_ago_s: int | None, on_ago_s: int | None, expected: float | None
    ) -> None:
        worker_seen(age_s=1)
        now = timezone.now()
        AutopilotConfig.objects.update(enabled=enabled, scan_interval_s=30)
        AutopilotState.objects.update(
            heartbeat_at=None if beat_ago_s is None else now - timedelta(seconds=beat_ago_s),
            enabled_at=None if on_ago_s is None else now - timedelta(seconds=on_ago_s),
        )
        response = client.get("/api/health")
        assert response.status_code == 200
        found = response.json()["autopilot_heartbeat_age_s"]
        assert (found is None) == (expected is None)
        assert expected is None or expected <= found < expected + 10

    def test_without_the_database_is_503_and_claims_nothing(self, client: Client) -> None:
        worker_seen(age_s=1)
        with database_down():
            response = client.get("/api/health")
        assert response.status_code == 503
        body = as_told_of(response)
        assert (body["database"], body["trading_state"], body["mode"]) == ("down", "halted", "unknown")
        assert body["worker_heartbeat_age_s"] is None

    def test_needs_no_sign_in_and_sets_no_cookie(self, client: Client) -> None:
        assert not client.get("/api/health").cookies

    def test_costs_few_queries(self, django_assert_max_num_queries: Any) -> None:
        with django_assert_max_num_queries(2):
            read_health()


@pytest.mark.django_db
class TestMode:
    def test_without_bots_is_paper(self) -> None:
        assert current_mode() == Mode.PAPER

    def test_with_paper_bots_is_paper(self) -> None:
        make_bot(dry_run=True)
        assert current_mode() == Mode.PAPER

    @pytest.mark.parametrize("status", [BotStatus.STOPPED, BotStatus.PAUSED, BotStatus.RUNNING])
    def test_with_a_bot_set_live_is_live(self, status: BotStatus) -> None:
        make_bot(dry_run=False, status=status)
        assert current_mode() == Mode.LIVE

    def test_with_an_archived_live_bot_is_paper(self) -> None:
        make_bot(dry_run=False, status=BotStatus.ARCHIVED)
        assert current_mode() == Mode.PAPER

    def test_with_a_loopback_venue_is_rehearsal_whatever_the_bots(self) -> None:
        make_bot(dry_run=False)
        with environment(KRAKEN_BASE_URL="http://127.0.0.1:9"):
            assert current_mode() == Mode.REHEARSAL


@pytest.mark.django_db
class TestErrors:
    def test_unknown_endpoint_is_404_in_the_error_shape(self, client: Client) -> None:
        response = client.get("/api/no/such/thing")
        assert response.status_code == 404
        assert response.json() == {"code": "not_found", "message": "There is no such endpoint.", "reasons": []}

    @pytest.mark.urls("tests.tradingops.probe_urls")
    @pytest.mark.parametrize(
        ("url", "status", "code"),
        [
            ("/probe/number?n=x", 422, "bad_input"),
            ("/probe/denied", 409, "denied"),
            ("/probe/missing", 404, "not_found"),
            ("/probe/private", 401, "not_signed_in"),
        ],
    )
    def test_every_error_has_the_shape(self, client: Client, url: str, status: int, code: str) -> None:
        response = client.get(url)
        assert response.status_code == status
        body = response.json()
        assert set(body) == ERROR_KEYS
        assert body["code"] == code
        assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)

    @pytest.mark.urls("tests.tradingops.probe_urls")
    def test_bad_input_names_the_field(self, client: Client) -> None:
        [reason] = client.get("/probe/number?n=x").json()["reasons"]
        assert set(reason) == {"code", "message", "limit", "actual"}
        assert reason["message"].startswith("query.n: ")


@pytest.mark.django_db
class TestDocs:
    def test_docs_come_from_this_host_alone(self, client: Client) -> None:
        response = client.get("/api/docs")
        assert response.status_code == 200
        page = response.content.decode()
        assert "/static/ninja/" in page
        assert "http://" not in page
        assert "https://" not in page

    def test_schema_names_the_health_check(self, client: Client) -> None:
        schema = client.get("/api/openapi.json").json()
        assert set(schema["paths"]["/api/health"]["get"]["responses"]) == {"200", "414", "503"}
