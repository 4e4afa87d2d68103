"""What every page brings: headers, cookies, static files, and the throttled sign-in."""

import logging.config
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.conftest import CommittedDatabase

PASSWORD = "correct horse battery staple"
LOCKED_OUT = 429


@pytest.fixture
def operator() -> User:
    return get_user_model().objects.create_superuser("operator", password=PASSWORD)


def sign_in(client: Client, password: str, address: str = "127.0.0.1", username: str = "operator") -> int:
    form = {"username": username, "password": password}
    return client.post(reverse("admin:login"), form, REMOTE_ADDR=address).status_code


def test_root_goes_to_the_admin(client: Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/admin/login/", "/api/health", "/api/docs", "/no/such/page"])
def test_every_answer_has_the_security_headers(client: Client, url: str) -> None:
    headers = client.get(url).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in policy["script-src"]
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_static_files_are_served_without_debug_and_without_collecting(client: Client) -> None:
    assert not settings.DEBUG
    for name in ("unfold/css/styles.css", "admin/js/core.js", "ninja/swagger-ui.css"):
        response = client.get(f"/static/{name}")
        assert response.status_code == 200, name
        assert b"".join(response.streaming_content)  # type: ignore[attr-defined]


def test_session_cookie_is_hidden_from_scripts() -> None:
    assert settings.SESSION_COOKIE_HTTPONLY
    assert settings.SESSION_COOKIE_SAMESITE == "Lax"


@pytest.mark.django_db
class TestThrottledSignIn:
    @pytest.fixture(autouse=True)
    def _throttled(self, settings: Settings) -> None:
        settings.AXES_ENABLED = True

    def test_tenth_wrong_password_locks_out_even_the_right_one(self, client: Client, operator: User) -> None:
        assert [sign_in(client, "wrong") for _ in range(9)] == [200] * 9
        assert sign_in(client, "wrong") == LOCKED_OUT
        assert sign_in(client, PASSWORD) == LOCKED_OUT

    def test_right_password_clears_the_count(self, client: Client, operator: User) -> None:
        for _ in range(9):
            sign_in(client, "wrong")
        assert sign_in(client, PASSWORD) == 302
        client.logout()
        assert sign_in(client, "wrong") == 200

    def test_stranger_cannot_lock_out_the_operator(self, client: Client, operator: User) -> None:
        for _ in range(10):
            sign_in(client, "wrong", address="203.0.113.9")
        assert sign_in(client, PASSWORD, address="127.0.0.1") == 302


@pytest.mark.django_db
def test_short_password_is_refused(client: Client, operator: User) -> None:
    client.force_login(operator)
    form = {"old_password": PASSWORD, "new_password1": "short-1", "new_password2": "short-1"}
    response = client.post(reverse("admin:password_change"), form)
    assert response.status_code == 200
    assert b"at least 12 characters" in response.content


def test_logs_go_to_stderr_and_never_at_debug_for_venue_clients() -> None:
    assert settings.LOGGING["root"] == {"handlers": ["stderr"], "level": "INFO"}
    for name in ("ccxt", "urllib3", "alpaca"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


def run_manage(database: CommittedDatabase, *args: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=settings.BASE_DIR,
        env=database.environ(**extra),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_deploy_checks_pass_when_served_over_https(committed_db: CommittedDatabase) -> None:
    extra = {
        "SECRET_KEY": "k7Zp-Vq2mXw9_TbR4sLd8yHcJ1nGf6uEa3oQi5vWzKxMtBPrNhSgYjU0DlCeFAIO",
        "CSRF_TRUSTED_ORIGINS": "https://console.example.org",
        "ALLOWED_HOSTS": "console.example.org",
    }
    done = run_manage(committed_db, "check", "--deploy", "--fail-level", "WARNING", **extra)
    assert done.returncode == 0, done.stderr


def test_migrations_are_complete(committed_db: CommittedDatabase) -> None:
    done = run_manage(committed_db, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


def test_environment_that_cannot_be_used_ends_a_command_with_one_message(committed_db: CommittedDatabase) -> None:
    done = run_manage(committed_db, "check", PORT="eight", MIN_NOTIONAL_USD="NaN")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "PORT (environment)" in done.stderr
    assert "MIN_NOTIONAL_USD (environment)" in done.stderr


def test_sqlite_takes_the_production_options() -> None:
    from tradingops.settings import SQLITE_OPTIONS, _database

    config = _database("sqlite:////data/x.sqlite3", "sqlite")
    assert (config["NAME"], config["OPTIONS"]) == ("/data/x.sqlite3", SQLITE_OPTIONS)
    assert "ATOMIC_REQUESTS" not in config


def test_postgres_session_is_bounded_and_keeps_the_users_options() -> None:
    from tradingops.settings import _database

    config = _database("postgres://u:p@db:6432/name?sslmode=require&options=-c%20work_mem%3D8MB", "postgresql")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db", 6432, "name")
    assert config["OPTIONS"]["sslmode"] == "require"
    for part in ("idle_in_transaction_session_timeout=15s", "lock_timeout=10s", "work_mem=8MB"):
        assert part in config["OPTIONS"]["options"]
    assert "ATOMIC_REQUESTS" not in config


def test_var_directory_can_be_elsewhere() -> None:
    assert isinstance(settings.VAR_DIR, Path)
    assert settings.VAR_DIR.is_dir()


def test_pages_and_settings_pass_djangos_checks() -> None:
    # In this process the admin is loaded, so its pages are looked at, too.
    assert [str(fault) for fault in run_checks(include_deployment_checks=False)] == []


def test_workers_and_commands_do_without_the_admin(committed_db: CommittedDatabase) -> None:
    code = "import sys; print([m for m in sys.modules if m.startswith(('unfold.admin', 'bots.admin', 'tradingops.admin'))])"
    done = run_manage(committed_db, "shell", "--no-imports", "-c", code)
    assert done.stdout.strip() == "[]"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_goes_nowhere_else(client: Client, operator: User, elsewhere: str) -> None:
    form = {"username": "operator", "password": PASSWORD, "next": elsewhere}
    response = client.post(reverse("admin:login"), form)
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["bots/order", "bots/position", "bots/deal", "audit/orderevent"])
@pytest.mark.parametrize("value", ["9" * 30, "-1", "nobody", "٣"])
def test_filter_that_means_no_bot_is_no_fault(client: Client, operator: User, page: str, value: str) -> None:
    client.force_login(operator)
    assert client.get(f"/admin/{page}/", {"bot": value}).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    [
        "/admin/audit/orderevent/?symbol=%00",
        "/admin/bots/order/?status__exact=a%00b",
        "/admin/safety/setting/%00/change/",
    ],
)
def test_null_character_in_the_address_is_a_bad_request(client: Client, operator: User, url: str) -> None:
    client.force_login(operator)
    response = client.get(url)
    assert response.status_code == 400
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.django_db
@pytest.mark.parametrize(("url", "status"), [("/admin/login/", 400), ("/admin/", 400), ("/api/safety", 422)])
def test_null_character_in_a_cookie_is_a_bad_request_and_no_missing_database(
    client: Client, url: str, status: int
) -> None:
    response = client.get(url, headers={"Cookie": 'sessionid="\\000' + "a" * 20 + '"'})
    assert response.status_code == status
