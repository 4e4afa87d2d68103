"""What a running process tells of itself: its gates and the settings that readiness looks at, and never a secret.

Each process publishes its own, since only it knows what it was started with: the shell of a command may hold other
variables.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.utils import timezone

from audit.fields import canonical_json

TOKEN_CHARS_MIN = 32
SECRET_KEY_CHARS_MIN = 50
SECRET_KEY_DISTINCT_MIN = 5
#: How Django marks the key that it writes into a new project.
INSECURE_PREFIX = "django-insecure-"
UNSET, SHORT, LONG, WEAK = "unset", "short", "long", "weak"


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One running process, as it was last heard of. ``facts`` is empty when it says nothing of itself (an older version)."""

    name: str
    kind: str
    host: str
    version: str
    seen_at: datetime
    age_s: float
    facts: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """Return one fact. Raises KeyError when the process does not tell it."""
        return self.facts[name]

    @property
    def clock_ahead_s(self) -> float:
        """Return by how many seconds this process's clock is ahead of the database's. Raises KeyError or ValueError."""
        return (datetime.fromisoformat(self.facts["clock"]) - self.seen_at).total_seconds()


def own_facts() -> dict[str, Any]:
    """Return what this process publishes: plain values for a JSON column, and no secret's value, length or digest."""
    return {**_fixed(), "clock": timezone.now().isoformat()}


@cache
def _fixed() -> dict[str, Any]:
    """Return what does not change while a process lives: settings are read once, at its start."""
    facts = read_settings(settings)
    return {**facts, "config_hash": sha256(canonical_json(facts).encode()).hexdigest()}


def forget() -> None:
    """Read the settings again at the next question: a test may have changed them."""
    _fixed.cache_clear()


def read_settings(conf: Any) -> dict[str, Any]:
    """Return the facts that these Django settings hold."""
    env = conf.ENVIRONMENT
    gates = (env.allow_live_trading, env.live_trading_enabled)
    return {
        "gates": {gate.name: {"open": gate.is_open, "source": gate.source, "hint": gate.hint} for gate in gates},
        "kill_switch_engaged": env.kill_switch_engaged,
        "keys": {
            "kraken": _pair(env.kraken_api_key, env.kraken_api_secret),
            "alpaca": _pair(env.alpaca_api_key_live, env.alpaca_api_secret_live),
            "alpaca_paper": _pair(env.alpaca_api_key_paper, env.alpaca_api_secret_paper),
        },
        "token": _length(env.worker_api_token, TOKEN_CHARS_MIN),
        "token_previous": _length(env.worker_api_token_previous, TOKEN_CHARS_MIN),
        "loopback_endpoints": sorted(name for name, one in env.endpoints.items() if one.is_loopback),
        "is_rehearsal": env.is_rehearsal,
        "is_exposed": env.is_exposed,
        "any_host": "*" in conf.ALLOWED_HOSTS,
        "is_https": env.is_served_over_https,
        "cookies_secure": bool(conf.SESSION_COOKIE_SECURE and conf.CSRF_COOKIE_SECURE),
        "debug": bool(conf.DEBUG),
        "secret_key": _secret_key(conf.SECRET_KEY),
        "channels": sorted(
            name
            for name, there in (
                ("discord", env.discord_webhook_url),
                ("email", env.email_url and env.alert_email_to),
            )
            if there
        ),
        "vendor": env.database_url.vendor,
        "floors": {venue: str(usd) for venue, usd in sorted(env.notional_usd_min.items())},
        "python": platform.python_version(),
    }


def _pair(key: str | None, secret: str | None) -> str:
    """Return ``set`` for a key with its secret, ``half`` for one without the other, ``unset`` for none."""
    return {0: UNSET, 1: "half", 2: "set"}[bool(key) + bool(secret)]


def _length(text: str | None, chars_min: int) -> str:
    if not text:
        return UNSET
    return LONG if len(text) >= chars_min else SHORT


def _secret_key(text: str) -> str:
    """Return how good a SECRET_KEY is. One of few different characters, or from Django's template, is weak at any length."""
    if text.startswith(INSECURE_PREFIX) or len(set(text)) < SECRET_KEY_DISTINCT_MIN:
        return WEAK
    return _length(text, SECRET_KEY_CHARS_MIN)
