"""The environment: every variable missing, blank, good and bad."""

from decimal import Decimal
from pathlib import Path

import environ
import pytest

from tradingops.environment import (
    GATES,
    KILL_SWITCH,
    VARIABLE_NAMES,
    Environment,
    EnvironmentProblem,
    load_environment,
)
from tradingops.environment_values import Endpoint

SECRET = "s" * 50
BASE_DIR = Path("/srv/console")
VAR_DIR = BASE_DIR / "var"
NO_FILE = Path("/nonexistent/.env")


def load(env_file: Path = NO_FILE, /, **real: str) -> Environment:
    return load_environment(BASE_DIR, VAR_DIR, {"SECRET_KEY": SECRET, **real}, env_file)


def problems_of(env_file: Path = NO_FILE, /, **real: str) -> list[str]:
    with pytest.raises(EnvironmentProblem) as caught:
        load(env_file, **real)
    return caught.value.problems


# What each variable is when it is missing; a blank one is the same, but for KILL_SWITCH and SECRET_KEY.
DEFAULTS = {
    "WORKER_API_TOKEN": None,
    "WORKER_API_TOKEN_PREVIOUS": None,
    "KRAKEN_API_KEY": None,
    "KRAKEN_API_SECRET": None,
    "ALPACA_API_KEY_LIVE": None,
    "ALPACA_API_SECRET_LIVE": None,
    "ALPACA_API_KEY_PAPER": None,
    "ALPACA_API_SECRET_PAPER": None,
    "DISCORD_WEBHOOK_URL": None,
    "DEBUG": False,
    "ALLOWED_HOSTS": ("127.0.0.1", "localhost", "[::1]"),
    "CSRF_TRUSTED_ORIGINS": (),
    "HOST": "127.0.0.1",
    "PORT": 8000,
    "KRAKEN_BASE_URL": Endpoint("https://api.kraken.com", False),
    "ALPACA_BASE_URL_LIVE": Endpoint("https://api.alpaca.markets", False),
    "ALPACA_BASE_URL_PAPER": Endpoint("https://paper-api.alpaca.markets", False),
    "ALPACA_DATA_URL": Endpoint("https://data.alpaca.markets", False),
    "MIN_NOTIONAL_USD": Decimal(1),
    "MIN_NOTIONAL_KRAKEN_USD": Decimal(5),
    "MIN_NOTIONAL_ALPACA_USD": Decimal(1),
    "HEARTBEAT_URL": None,
    "EMAIL_URL": None,
    "ALERT_EMAIL_TO": (),
    "API_REQUESTS_PER_MINUTE": 600,
    "API_WRITES_PER_MINUTE": 120,
}


def test_every_variable_has_its_default_tested() -> None:
    assert {*DEFAULTS, *GATES, KILL_SWITCH, "SECRET_KEY", "DATABASE_URL"} == set(VARIABLE_NAMES)


@pytest.mark.parametrize("name", DEFAULTS)
def test_variable_when_missing_has_its_default(name: str) -> None:
    environment = load()
    assert getattr(environment, name.lower()) == DEFAULTS[name]
    assert environment.sources[name] == "default"


@pytest.mark.parametrize("blank", ["", " ", "\t"])
@pytest.mark.parametrize("name", DEFAULTS)
def test_variable_when_blank_has_its_default(name: str, blank: str) -> None:
    assert getattr(load(**{name: blank}), name.lower()) == DEFAULTS[name]


GOOD = [
    ("WORKER_API_TOKEN", "t-oken_1", "t-oken_1"),
    ("WORKER_API_TOKEN_PREVIOUS", "old", "old"),
    ("KRAKEN_API_KEY", "k/e+y==", "k/e+y=="),
    ("KRAKEN_API_SECRET", " padded ", "padded"),
    ("ALPACA_API_KEY_LIVE", "AK1", "AK1"),
    ("ALPACA_API_SECRET_LIVE", "s", "s"),
    ("ALPACA_API_KEY_PAPER", "PK1", "PK1"),
    ("ALPACA_API_SECRET_PAPER", "s", "s"),
    ("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/x", "https://discord.com/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "https://ptb.discord.com/api/webhooks/1/x", "https://ptb.discord.com/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "http://127.0.0.1:9/hook", "http://127.0.0.1:9/hook"),
    ("DEBUG", "1", True),
    ("DEBUG", "Off", False),
    ("ALLOWED_HOSTS", "a.example.org, .example.com,10.0.0.1", ("a.example.org", ".example.com", "10.0.0.1")),
    ("ALLOWED_HOSTS", "*", ("*",)),
    ("CSRF_TRUSTED_ORIGINS", "https://a.example.org:8443", ("https://a.example.org:8443",)),
    ("HOST", "0.0.0.0", "0.0.0.0"),
    ("HOST", "::1", "::1"),
    ("HOST", "[::1]", "::1"),
    ("HOST", "localhost", "localhost"),
    ("PORT", "1", 1),
    ("PORT", "65535", 65535),
    ("API_REQUESTS_PER_MINUTE", "1", 1),
    ("API_REQUESTS_PER_MINUTE", "1000000", 1_000_000),
    ("API_WRITES_PER_MINUTE", "30", 30),
    ("KRAKEN_BASE_URL", "https://api.kraken.com/", Endpoint("https://api.kraken.com", False)),
    ("KRAKEN_BASE_URL", "http://127.0.0.1:9001", Endpoint("http://127.0.0.1:9001", True)),
    ("ALPACA_BASE_URL_LIVE", "http://localhost:9002/", Endpoint("http://localhost:9002", True)),
    ("ALPACA_BASE_URL_PAPER", "http://[::1]:9002", Endpoint("http://[::1]:9002", True)),
    ("ALPACA_DATA_URL", "https://data.alpaca.markets:443", Endpoint("https://data.alpaca.markets:443", False)),
    ("MIN_NOTIONAL_USD", "0", Decimal(0)),
    ("MIN_NOTIONAL_KRAKEN_USD", "10.50", Decimal("10.50")),
    ("MIN_NOTIONAL_ALPACA_USD", "1e1", Decimal(10)),
    ("HEARTBEAT_URL", "https://beat.example.org/id", "https://beat.example.org/id"),
    ("HEARTBEAT_URL", "http://127.0.0.1:5/id", "http://127.0.0.1:5/id"),
    ("EMAIL_URL", "smtp+tls://u:p@mail.example.org:587", "smtp+tls://u:p@mail.example.org:587"),
    ("EMAIL_URL", "consolemail://", "consolemail://"),
    ("ALERT_EMAIL_TO", "a@example.org,b@example.org", ("a@example.org", "b@example.org")),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_variable_when_good_is_parsed(name: str, text: str, value: object) -> None:
    environment = load(**{name: text})
    assert getattr(environment, name.lower()) == value
    assert environment.sources[name] == "environment"


BAD = [
    ("WORKER_API_TOKEN", "two words"),
    ("WORKER_API_TOKEN_PREVIOUS", "umläut"),
    ("KRAKEN_API_KEY", "a\nb"),
    ("KRAKEN_API_SECRET", "a b"),
    ("ALPACA_API_KEY_LIVE", "a\x00b"),
    ("ALPACA_API_SECRET_LIVE", "\N{EN DASH}x"),
    ("ALPACA_API_KEY_PAPER", "a b"),
    ("ALPACA_API_SECRET_PAPER", "a b"),
    ("DISCORD_WEBHOOK_URL", "http://discord.com/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "https://discord.com.evil.example/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "https://discord.com@evil.example/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "https://u@discord.com/api/webhooks/1/x"),
    ("DISCORD_WEBHOOK_URL", "http://10.0.0.1/hook"),
    ("DISCORD_WEBHOOK_URL", "https://discord.com/"),
    ("DEBUG", "maybe"),
    ("DEBUG", "2"),
    ("ALLOWED_HOSTS", "https://a.example.org"),
    ("ALLOWED_HOSTS", "a.example.org:8000"),
    ("ALLOWED_HOSTS", "a b"),
    ("CSRF_TRUSTED_ORIGINS", "a.example.org"),
    ("CSRF_TRUSTED_ORIGINS", "https://a.example.org/"),
    ("CSRF_TRUSTED_ORIGINS", "ftp://a.example.org"),
    ("HOST", "http://127.0.0.1"),
    ("HOST", "127.0.0.1:8000"),
    ("HOST", "*"),
    ("API_REQUESTS_PER_MINUTE", "0"),
    ("API_REQUESTS_PER_MINUTE", "1000001"),
    ("API_REQUESTS_PER_MINUTE", "1_000"),
    ("API_WRITES_PER_MINUTE", "-1"),
    ("API_WRITES_PER_MINUTE", "a few"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "eight"),
    ("PORT", "8000.0"),
    ("PORT", "+80"),
    ("PORT", "8_000"),
    ("PORT", "٨٠"),
    ("KRAKEN_BASE_URL", "http://api.kraken.com"),
    ("KRAKEN_BASE_URL", "https://api.kraken.com.evil.example"),
    ("KRAKEN_BASE_URL", "https://api.kraken.com@evil.example"),
    ("KRAKEN_BASE_URL", "https://api.kraken.com:8443"),
    ("KRAKEN_BASE_URL", "https://api.kraken.com/proxy"),
    ("KRAKEN_BASE_URL", "https://127.0.0.1"),
    ("KRAKEN_BASE_URL", "http://127.0.0.1.evil.example"),
    ("KRAKEN_BASE_URL", "http://127.0.0.1:port"),
    ("KRAKEN_BASE_URL", "api.kraken.com"),
    ("ALPACA_BASE_URL_LIVE", "https://paper-api.alpaca.markets"),
    ("ALPACA_BASE_URL_PAPER", "https://api.alpaca.markets"),
    ("ALPACA_DATA_URL", "http://10.1.2.3"),
    ("MIN_NOTIONAL_USD", "-1"),
    ("MIN_NOTIONAL_USD", "NaN"),
    ("MIN_NOTIONAL_KRAKEN_USD", "Infinity"),
    ("MIN_NOTIONAL_KRAKEN_USD", "5,00"),
    ("MIN_NOTIONAL_ALPACA_USD", "one"),
    ("MIN_NOTIONAL_ALPACA_USD", "1_0"),
    ("HEARTBEAT_URL", "http://beat.example.org/id"),
    ("HEARTBEAT_URL", "https://"),
    ("EMAIL_URL", "mail.example.org"),
    ("EMAIL_URL", "smtp://"),
    ("ALERT_EMAIL_TO", "nobody"),
    ("ALERT_EMAIL_TO", "a@example.org;b@example.org"),
    ("DATABASE_URL", "mysql://u:p@h/db"),
    ("DATABASE_URL", "postgres://u:p@host:5432"),
    ("DATABASE_URL", "postgres://u:p@host:many/db"),
    ("DATABASE_URL", "sqlite://:memory:"),
    ("DATABASE_URL", "sqlite:///:memory:"),
    ("DATABASE_URL", "sqlite://var/x.sqlite3"),
    ("DATABASE_URL", "sqlite:///"),
    ("SECRET_KEY", ""),
]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_variable_when_bad_stops_the_start_naming_it(name: str, text: str) -> None:
    [problem] = problems_of(**{name: text})
    assert problem.startswith(f"{name} (environment): ")


@pytest.mark.parametrize("name", [*DEFAULTS, "DATABASE_URL"])
def test_no_problem_repeats_what_was_written(name: str) -> None:
    # It may be a secret that was pasted into the wrong line.
    [problem] = problems_of(**{name: "https://hunter2:hunter2@hunter2 ü"})
    assert "hunter2" not in problem


def test_every_ordinary_variable_has_a_good_and_a_bad_case() -> None:
    ordinary = set(DEFAULTS)
    assert ordinary <= {name for name, *_ in GOOD}
    assert ordinary <= {name for name, _ in BAD}


@pytest.mark.parametrize(
    ("host", "hosts", "is_refused"),
    [
        ("127.0.0.1", "localhost,127.0.0.1,[::1]", False),
        ("0.0.0.0", "localhost", True),
        ("192.168.1.5", "localhost", True),
        ("127.0.0.1", "localhost,console.example.org", True),
        ("127.0.0.1", "*", True),
    ],
)
def test_debug_is_refused_where_others_reach_the_console(host: str, hosts: str, is_refused: bool) -> None:
    assert not load(HOST=host, ALLOWED_HOSTS=hosts).debug
    if not is_refused:
        assert load(DEBUG="1", HOST=host, ALLOWED_HOSTS=hosts).debug
        return
    [problem] = problems_of(DEBUG="1", HOST=host, ALLOWED_HOSTS=hosts)
    assert problem.startswith("DEBUG (environment): 0 is needed")


def test_all_problems_come_in_one_error() -> None:
    problems = problems_of(PORT="x", MIN_NOTIONAL_USD="x", KRAKEN_BASE_URL="x", SECRET_KEY="")
    assert [problem.split(" ")[0] for problem in problems] == [
        "SECRET_KEY",
        "PORT",
        "KRAKEN_BASE_URL",
        "MIN_NOTIONAL_USD",
    ]


def test_secret_key_when_missing_says_how_to_get_one() -> None:
    with pytest.raises(EnvironmentProblem, match="make run"):
        load_environment(BASE_DIR, VAR_DIR, {}, NO_FILE)


# Gates: only exactly 1 opens.


@pytest.mark.parametrize("name", GATES)
def test_gate_when_1_is_open(name: str) -> None:
    gate = getattr(load(**{name: "1"}), name.lower())
    assert (gate.name, gate.is_open, gate.source, gate.hint) == (name, True, "environment", "")


@pytest.mark.parametrize("text", ["", " ", "0", "false", "no", "off", "OFF"])
@pytest.mark.parametrize("name", GATES)
def test_gate_when_off_is_closed_without_a_hint(name: str, text: str) -> None:
    gate = getattr(load(**{name: text}), name.lower())
    assert (gate.is_open, gate.hint) == (False, "")


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "on", " 1", "1 ", "01", "1.0", "+1", "２", "１", "2", "maybe"])
@pytest.mark.parametrize("name", GATES)
def test_gate_when_mistyped_is_closed_with_a_hint(name: str, text: str) -> None:
    gate = getattr(load(**{name: text}), name.lower())
    assert not gate.is_open
    assert f"{name}=1" in gate.hint


@pytest.mark.parametrize("name", GATES)
def test_gate_when_missing_is_closed(name: str) -> None:
    gate = getattr(load(), name.lower())
    assert (gate.is_open, gate.source, gate.hint) == (False, "default", "")


# Kill switch: everything engages but what says off.


def test_kill_switch_when_missing_is_not_engaged() -> None:
    assert not load().kill_switch_engaged


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "False", "OFF", " 0 "])
def test_kill_switch_when_off_is_not_engaged(text: str) -> None:
    assert not load(KILL_SWITCH=text).kill_switch_engaged


@pytest.mark.parametrize("text", ["1", "true", "", " ", "00", "0.0", "none", "halt", "0 # off", "disabled"])
def test_kill_switch_when_anything_else_is_engaged(text: str) -> None:
    assert load(KILL_SWITCH=text).kill_switch_engaged


def test_kill_switch_in_the_file_engages(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("KILL_SWITCH=\n")
    assert load(file).kill_switch_engaged


# What follows from several variables.


def test_rehearsal_needs_one_loopback_endpoint() -> None:
    assert not load().is_rehearsal
    assert load(ALPACA_DATA_URL="http://127.0.0.1:1").is_rehearsal


@pytest.mark.parametrize(
    ("real", "exposed"),
    [
        ({}, False),
        ({"HOST": "::1"}, False),
        ({"HOST": "0.0.0.0"}, True),
        ({"HOST": "192.168.1.5"}, True),
        ({"ALLOWED_HOSTS": "localhost"}, False),
        ({"ALLOWED_HOSTS": "localhost,console.example.org"}, True),
        ({"ALLOWED_HOSTS": "*"}, True),
    ],
)
def test_exposed_when_host_or_names_go_beyond_loopback(real: dict[str, str], exposed: bool) -> None:
    assert load(**real).is_exposed is exposed


def test_https_is_told_by_a_trusted_origin() -> None:
    assert not load(CSRF_TRUSTED_ORIGINS="http://a.example.org").is_served_over_https
    assert load(CSRF_TRUSTED_ORIGINS="https://a.example.org").is_served_over_https


def test_floor_of_a_venue_is_the_larger_of_the_general_one_and_its_own() -> None:
    floors = load(MIN_NOTIONAL_USD="3", MIN_NOTIONAL_KRAKEN_USD="2", MIN_NOTIONAL_ALPACA_USD="4").notional_usd_min
    assert floors == {"replay": Decimal(3), "kraken": Decimal(3), "alpaca": Decimal(4)}


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8000/"), ("0.0.0.0", "http://127.0.0.1:8000/"), ("::", "http://[::1]:8000/")],
)
def test_console_url_is_one_that_a_browser_can_open(host: str, url: str) -> None:
    assert load(HOST=host).console_url == url


# Databases.


def test_database_when_missing_is_sqlite_in_var() -> None:
    database = load().database_url
    assert (database.vendor, database.url) == ("sqlite", f"sqlite:///{VAR_DIR}/tradingops.sqlite3")


def test_relative_sqlite_path_counts_from_the_project() -> None:
    assert load(DATABASE_URL="sqlite:///var/x.sqlite3").database_url.url == f"sqlite:///{BASE_DIR}/var/x.sqlite3"


def test_absolute_sqlite_path_stays() -> None:
    assert load(DATABASE_URL="sqlite:////data/x.sqlite3").database_url.url == "sqlite:////data/x.sqlite3"


def test_default_database_survives_any_directory_name() -> None:
    odd = Path("/home/me/my bots + ünï#1?/50%")
    environment = load_environment(odd, odd / "var", {"SECRET_KEY": SECRET}, NO_FILE)
    assert environ.Env.db_url_config(environment.database_url.url)["NAME"] == str(odd / "var" / "tradingops.sqlite3")


@pytest.mark.parametrize("url", ["postgres://u:p@db.example.org:5432/name", "postgresql:///name?host=/run/pg"])
def test_postgres_url_is_kept(url: str) -> None:
    database = load(DATABASE_URL=url).database_url
    assert (database.vendor, database.url) == ("postgresql", url)


# Secrets.


def test_repr_hides_every_secret() -> None:
    secrets = {
        "SECRET_KEY": "hidden-1" * 8,
        "WORKER_API_TOKEN": "hidden-2",
        "WORKER_API_TOKEN_PREVIOUS": "hidden-3",
        "KRAKEN_API_KEY": "hidden-4",
        "KRAKEN_API_SECRET": "hidden-5",
        "ALPACA_API_KEY_LIVE": "hidden-6",
        "ALPACA_API_SECRET_LIVE": "hidden-7",
        "ALPACA_API_KEY_PAPER": "hidden-8",
        "ALPACA_API_SECRET_PAPER": "hidden-9",
        "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/hidden-10",
        "HEARTBEAT_URL": "https://beat.example.org/hidden-11",
        "EMAIL_URL": "smtp://u:hidden-12@mail.example.org",
        "DATABASE_URL": "postgres://u:hidden-13@db/name",
    }
    environment = load(**secrets)
    assert "hidden" not in repr(environment)
    assert "hidden" not in str(environment)
    assert "hidden" not in f"{environment.database_url!r} {environment.database_url}"
