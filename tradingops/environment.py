"""The environment: every variable is parsed here, once, and nowhere else.

Real variables win over the .env file. A mistyped gate is closed; a mistyped number or URL stops the start with one error
that lists every wrong variable, what is allowed, and never a value. Blank means unset, but for the kill switch: there
only what clearly says "off" is off.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tradingops import environment_values as values
from tradingops.environment_file import read_env_file
from tradingops.environment_values import DatabaseUrl, Endpoint, Gate

FROM_ENVIRONMENT = "environment"
FROM_FILE = ".env"
FROM_DEFAULT = "default"
TOKEN_CHARS_MIN = 32


class EnvironmentProblem(ImproperlyConfigured):
    """The environment cannot be used. ``problems`` names each variable and what is allowed, without any value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n  ".join(["The console cannot start with this environment:", *problems]))


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: its text when it is unset (None: it then is None, too), and what reads its text."""

    name: str
    default: str | None
    parse: Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Every variable, parsed. What is secret stays out of ``repr()``. ``sources`` tells where each was read."""

    allow_live_trading: Gate
    live_trading_enabled: Gate
    kill_switch_engaged: bool
    worker_api_token: str | None = field(repr=False)
    worker_api_token_previous: str | None = field(repr=False)
    kraken_api_key: str | None = field(repr=False)
    kraken_api_secret: str | None = field(repr=False)
    alpaca_api_key_live: str | None = field(repr=False)
    alpaca_api_secret_live: str | None = field(repr=False)
    alpaca_api_key_paper: str | None = field(repr=False)
    alpaca_api_secret_paper: str | None = field(repr=False)
    discord_webhook_url: str | None = field(repr=False)
    secret_key: str = field(repr=False)
    debug: bool
    allowed_hosts: tuple[str, ...]
    csrf_trusted_origins: tuple[str, ...]
    database_url: DatabaseUrl = field(repr=False)
    host: str
    port: int
    kraken_base_url: Endpoint
    alpaca_base_url_live: Endpoint
    alpaca_base_url_paper: Endpoint
    alpaca_data_url: Endpoint
    min_notional_usd: Decimal
    min_notional_kraken_usd: Decimal
    min_notional_alpaca_usd: Decimal
    heartbeat_url: str | None = field(repr=False)
    email_url: str | None = field(repr=False)
    alert_email_to: tuple[str, ...] = field(repr=False)
    api_requests_per_minute: int
    api_writes_per_minute: int
    sources: Mapping[str, str] = field(repr=False)

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """Return the venues' addresses by the name of their variable."""
        names = ("KRAKEN_BASE_URL", "ALPACA_BASE_URL_LIVE", "ALPACA_BASE_URL_PAPER", "ALPACA_DATA_URL")
        return {name: getattr(self, name.lower()) for name in names}

    @property
    def is_rehearsal(self) -> bool:
        """Return whether any venue's address is a loopback one."""
        return any(endpoint.is_loopback for endpoint in self.endpoints.values())

    @property
    def is_exposed(self) -> bool:
        """Return whether the console answers beyond this machine: HOST or ALLOWED_HOSTS is not loopback."""
        return _answers_beyond(self.host, self.allowed_hosts)

    @property
    def is_served_over_https(self) -> bool:
        """Return whether browsers reach the console by https, which a trusted https origin tells."""
        return any(origin.startswith("https://") for origin in self.csrf_trusted_origins)

    @property
    def notional_usd_min(self) -> dict[str, Decimal]:
        """Return each venue's floor for entries in USD: the larger of the general one and the venue's own."""
        return {
            "replay": self.min_notional_usd,
            "kraken": max(self.min_notional_usd, self.min_notional_kraken_usd),
            "alpaca": max(self.min_notional_usd, self.min_notional_alpaca_usd),
        }

    @property
    def console_url(self) -> str:
        """Return where a browser on this machine finds the console."""
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{self.port}/"


def _answers_beyond(host: str | None, allowed_hosts: tuple[str, ...] | None) -> bool:
    """Return whether one of the names is not this machine's own; those that could not be read are told of elsewhere."""
    return not all(values.is_loopback(name) for name in (host or "127.0.0.1", *(allowed_hosts or ())))


def _secret_key(text: str) -> str:
    if not text:
        raise ValueError("it is missing. `make run` writes one into .env; elsewhere, put 50 random characters there")
    return text


def _endpoint(venue_host: str) -> Callable[[str], Endpoint]:
    return lambda text: values.endpoint(text, venue_host)


def _optional(name: str, parse: Callable[[str], Any] = values.plain) -> Variable:
    return Variable(name, None, parse)


def _venue(name: str, venue_host: str) -> Variable:
    return Variable(name, f"https://{venue_host}", _endpoint(venue_host))


GATES = ("ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED")
KILL_SWITCH = "KILL_SWITCH"
#: The variables of the ordinary kind; GATES, KILL_SWITCH and DATABASE_URL are read apart.
VARIABLES = (
    _optional("WORKER_API_TOKEN"),
    _optional("WORKER_API_TOKEN_PREVIOUS"),
    _optional("KRAKEN_API_KEY"),
    _optional("KRAKEN_API_SECRET"),
    _optional("ALPACA_API_KEY_LIVE"),
    _optional("ALPACA_API_SECRET_LIVE"),
    _optional("ALPACA_API_KEY_PAPER"),
    _optional("ALPACA_API_SECRET_PAPER"),
    _optional("DISCORD_WEBHOOK_URL", values.discord_url),
    Variable("SECRET_KEY", "", _secret_key),
    Variable("DEBUG", "0", values.switch),
    Variable("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]", values.hosts),
    Variable("CSRF_TRUSTED_ORIGINS", "", values.origins),
    Variable("HOST", "127.0.0.1", values.host),
    Variable("PORT", "8000", values.port),
    _venue("KRAKEN_BASE_URL", "api.kraken.com"),
    _venue("ALPACA_BASE_URL_LIVE", "api.alpaca.markets"),
    _venue("ALPACA_BASE_URL_PAPER", "paper-api.alpaca.markets"),
    _venue("ALPACA_DATA_URL", "data.alpaca.markets"),
    Variable("MIN_NOTIONAL_USD", "1", values.usd),
    Variable("MIN_NOTIONAL_KRAKEN_USD", "5", values.usd),
    Variable("MIN_NOTIONAL_ALPACA_USD", "1", values.usd),
    _optional("HEARTBEAT_URL", values.web_url),
    _optional("EMAIL_URL", values.email_url),
    Variable("ALERT_EMAIL_TO", "", values.addresses),
    Variable("API_REQUESTS_PER_MINUTE", "600", values.per_minute),
    Variable("API_WRITES_PER_MINUTE", "120", values.per_minute),
)
VARIABLE_NAMES = (*GATES, KILL_SWITCH, "DATABASE_URL", *(variable.name for variable in VARIABLES))


def load_environment(
    base_dir: Path, var_dir: Path, real: Mapping[str, str] | None = None, env_file: Path | None = None
) -> Environment:
    """Read every variable from ``real`` (the process's own, if not given) and the .env file.

    Raises EnvironmentProblem, which lists all that is wrong.
    """
    real = os.environ if real is None else real
    if env_file is None:
        env_file = Path(real.get("TRADINGOPS_ENV_FILE") or base_dir / ".env")
    from_file, problems = read_env_file(env_file, VARIABLE_NAMES)
    reading = _Reading(real, from_file, problems)
    database = Variable(
        "DATABASE_URL",
        values.sqlite_file(var_dir / "tradingops.sqlite3").url,
        lambda text: values.database_url(text, base_dir),
    )
    parsed: dict[str, Any] = {v.name.lower(): reading.parse(v) for v in (*VARIABLES, database)}
    for name in GATES:
        parsed[name.lower()] = values.gate(name, *reading.find(name))
    kill_switch, source = reading.find(KILL_SWITCH)
    if parsed["debug"] and _answers_beyond(parsed["host"], parsed["allowed_hosts"]):
        # Its error pages show the settings, and the memory of what failed, to whoever comes by.
        problems.append(
            f"DEBUG ({reading.source('DEBUG')}): 0 is needed where HOST or ALLOWED_HOSTS is beyond this machine"
        )
    if problems:
        raise EnvironmentProblem(problems)
    return Environment(
        kill_switch_engaged=source != FROM_DEFAULT and values.engaged(kill_switch),
        sources={name: reading.source(name) for name in VARIABLE_NAMES},
        **parsed,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """The two places a variable may be in, and the problems found on the way."""

    real: Mapping[str, str]
    from_file: Mapping[str, str]
    problems: list[str]

    def source(self, name: str) -> str:
        if name in self.real:
            return FROM_ENVIRONMENT
        return FROM_FILE if name in self.from_file else FROM_DEFAULT

    def find(self, name: str) -> tuple[str, str]:
        """Return the variable's text, blank when unset, and its source."""
        return self.real.get(name, self.from_file.get(name, "")), self.source(name)

    def parse(self, variable: Variable) -> Any:
        """Return the variable's value; what is wrong is noted among the problems."""
        text, source = self.find(variable.name)
        text = text.strip()
        if not text and variable.default is None:
            return None
        try:
            return variable.parse(text or variable.default or "")
        except ValueError as error:
            self.problems.append(f"{variable.name} ({source}): {error}")
            return None
