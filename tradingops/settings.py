"""Django settings (skeleton: grows with environment.py)."""

import os
from pathlib import Path

import django_stubs_ext
import environ

# Lets models.Field[...], ModelAdmin[...] and the like be written as the type checker reads them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "x" * 60)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ninja",
    "django_q",
    "audit",
    "safety",
    "bots",
]
ROOT_URLCONF = "tradingops.urls"
VAR_DIR = Path(os.environ.get("TRADINGOPS_VAR_DIR") or BASE_DIR / "var")
ANCHORS_FILE = VAR_DIR / "anchors.jsonl"
KILL_FILE = VAR_DIR / "KILL"
VAR_DIR.mkdir(exist_ok=True)
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000; PRAGMA recursive_triggers=ON;"
    ),
}
DATABASES = {"default": environ.Env.db_url_config(os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR}/tradingops.sqlite3")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
Q_CLUSTER = {"name": "runners", "orm": "default", "timeout": 30, "retry": 60, "max_attempts": 1}
