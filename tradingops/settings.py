"""Django settings. What an installation may vary comes from the environment (``tradingops/environment.py``), nothing else."""

import os
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import environ
from django.db import models

from tradingops import __version__
from tradingops.environment import EnvironmentProblem, load_environment
from tradingops.q2 import Q_CLUSTER as Q_CLUSTER
from tradingops.theme import UNFOLD as UNFOLD

# Lets models.Field[...] be written as the type checker reads it. The admin's classes follow in urls.py: the workers never
# load the admin, which would cost them 30 MB and a third of their start.
models.Field.__class_getitem__ = classmethod(lambda cls, *_: cls)  # type: ignore[attr-defined]

#: Shown on every worker's heartbeat.
VERSION = __version__
BASE_DIR = Path(__file__).resolve().parent.parent
#: What this installation writes: the SQLite database, the kill file, the anchors. Never in version control.
VAR_DIR = Path(os.environ.get("TRADINGOPS_VAR_DIR") or BASE_DIR / "var").resolve()
try:
    VAR_DIR.mkdir(parents=True, exist_ok=True)
except OSError as error:
    raise EnvironmentProblem([f"TRADINGOPS_VAR_DIR: {VAR_DIR} is no directory and can't be made one"]) from error
ANCHORS_FILE = VAR_DIR / "anchors.jsonl"
KILL_FILE = VAR_DIR / "KILL"

ENVIRONMENT = load_environment(BASE_DIR, VAR_DIR)
SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)

INSTALLED_APPS = [
    # Before the users' app, whose commands that change people it replaces by audited ones.
    "tradingops",
    "unfold",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "ninja",
    "audit",
    "safety",
    "bots",
    # After bots, whose qcluster command and read-only admin pages take the place of django-q2's.
    "django_q",
]
MIDDLEWARE = [
    "tradingops.http_counts.count_requests",
    "tradingops.request_ids.request_ids",
    "django.middleware.security.SecurityMiddleware",
    "tradingops.middleware.content_security_policy",
    "tradingops.api.answers.one_error_shape",
    "tradingops.middleware.no_null_characters",
    "tradingops.middleware.whole_forms",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "tradingops.sessions.limit_sessions",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "tradingops.urls"
WSGI_APPLICATION = "tradingops.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Databases. No ATOMIC_REQUESTS: the kill switch and the sender must see each other's real commits.
SQLITE_OPTIONS: dict[str, Any] = {
    "timeout": 20,
    # A transaction that begins by reading and then writes would fail at once with "database is locked" when DEFERRED.
    "transaction_mode": "IMMEDIATE",
    # Without recursive_triggers, INSERT OR REPLACE deletes a row past the append-only triggers.
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000; PRAGMA recursive_triggers=ON;"
    ),
}
#: A client that froze must not hold the chain's lock for long; a query that waits for a lock must not wait for ever.
# On disks without moving parts, reading by an index costs hardly more than reading in a row. With the usual 4 PostgreSQL reads a
# million rows backwards to find fifty old ones.
POSTGRES_SESSION = "-c idle_in_transaction_session_timeout=15s -c lock_timeout=10s -c random_page_cost=1.1"


def _database(url: str, vendor: str) -> dict[str, Any]:
    """Return Django's settings for a database that the environment names."""
    config: dict[str, Any] = environ.Env.db_url_config(url)
    options = config.setdefault("OPTIONS", {})
    if vendor == "sqlite":
        options.update(SQLITE_OPTIONS)
    else:
        config.update({"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True})
        options.setdefault("connect_timeout", 5)
        options["options"] = f"{POSTGRES_SESSION} {options.get('options', '')}".strip()
    return config


DATABASES = {"default": _database(ENVIRONMENT.database_url.url, ENVIRONMENT.database_url.vendor)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Workers: see tradingops/q2.py for Q_CLUSTER. Each cluster of runners runs one more than it needs.
SHIFT_LIFE_S = 300
RUNNERS_WANTED = 2

# Readiness: the modules that register its checks, and what reads the running processes' facts.
READINESS_MODULES = [
    "safety.checks.processes",
    "safety.checks.rehearsal",
    "safety.checks.database",
    "safety.checks.audit_chain",
    "safety.checks.controls",
    "safety.checks.alerts",
    "bots.readiness_checks",
    "bots.readiness_venues",
    "bots.readiness_access",
    "bots.readiness_order_path",
    "bots.readiness_reconciliation",
    "tradingops.readiness_checks",
]
READINESS_PROCESSES = "bots.workers.facts.read_processes"

# Signing in.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
# By name and address together, and apart for a browser that signed in before: a stranger who guesses can't lock the
# operator out of the kill button. See safety/sign_in_throttle.py.
AXES_HANDLER = "safety.sign_in_throttle.ThrottleHandler"
AXES_USERNAME_CALLABLE = "safety.sign_in_throttle.throttle_key"
AXES_CLIENT_IP_CALLABLE = "safety.client_address.client_address"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "429.html"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_SENSITIVE_PARAMETERS = ["username", "password", "again_password", "again_code"]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# The API: wrong tokens within five minutes, from one address and from all together, before the next one has to wait.
API_WRONG_TOKENS_MAX = 20
API_WRONG_TOKENS_ALL_MAX = 200
OTP_TOTP_ISSUER = "tradingops"

# Browsers. Cookies are for https alone once an https origin is trusted; on a laptop's loopback address there is no https.
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "tradingops.failures.csrf_failed"
# A session ends after an hour in which nobody did anything, and after twelve hours whatever was done (docs/people.md).
SESSION_IDLE_S = 60 * 60
SESSION_COOKIE_AGE = SESSION_LIFE_S = 12 * 60 * 60
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENVIRONMENT.is_served_over_https
if ENVIRONMENT.is_rehearsal:
    # Browsers keep cookies by host and not by port: a sign-in here must not end the one at the real console beside it.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "rehearsal_sessionid", "rehearsal_csrftoken"
SECURE_HSTS_SECONDS = 30 * 24 * 60 * 60 if ENVIRONMENT.is_served_over_https else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# The proxy in front redirects to https; the health check from this host stays on http.
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: they are not ours to promise for
    "security.W008",  # redirect to https: the proxy's work
    "security.W021",  # HSTS preload: the same
]

STATIC_URL = "static/"
# Straight from the packages: no collectstatic step to forget after an upgrade.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 600

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
# Dates as 2026-01-31 14:05:09, never "2:05 p.m.".
FORMAT_MODULE_PATH = "tradingops.formats"

# Everything to stderr: the process manager keeps it. Never DEBUG for the clients, whose debug lines show keys.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s%(request_id)s: %(message)s"}},
    # A health check that says 503 is an answer and no fault; monitors ask every few seconds.
    "filters": {
        "request_id": {"()": "tradingops.request_ids.AddRequestId"},
        "no_503": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"filters": ["no_503"]},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "django-q": {"handlers": [], "level": "INFO", "propagate": True},
        "axes": {"level": "WARNING"},
        "ccxt": {"level": "WARNING"},
        # Its warnings quote whole addresses, and a webhook's is a secret.
        "urllib3": {"level": "ERROR"},
        "alpaca": {"level": "WARNING"},
    },
}
