"""The locks on live trading as they are read, from the environment's text to the lock; and the database's stamp."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from pytest_django import Settings

from audit.log import OrderEventRecord, record, unit
from audit.models import EventKind, OperatorEvent
from safety import stamp
from safety.controls.live import LOCKS, live_gate_closed, locks_required
from safety.intents import Lock
from safety.live_gate import read_locks, venue_locks
from safety.models import Setting
from tests.conftest import CommittedDatabase
from tests.safety.builders import LIVE, situation
from tradingops.environment import load_environment
from tradingops.management.commands.prepare import stamp_database

LOOPBACK = "http://127.0.0.1:9"
KEYS = {
    "KRAKEN_API_KEY": "kraken-key-text",
    "KRAKEN_API_SECRET": "kraken-secret-text",
    "ALPACA_API_KEY_LIVE": "alpaca-key-text",
    "ALPACA_API_SECRET_LIVE": "alpaca-secret-text",
}
OPEN = {"ALLOW_LIVE_TRADING": "1", "LIVE_TRADING_ENABLED": "1", **KEYS}
REHEARSAL = {"KRAKEN_BASE_URL": LOOPBACK, "ALPACA_BASE_URL_LIVE": LOOPBACK}


def set_environment(settings: Settings, tmp_path: Path, variables: dict[str, str]) -> None:
    """Have the console read these variables, from their text on."""
    real = {"SECRET_KEY": "s" * 50, **variables}
    settings.ENVIRONMENT = load_environment(django_settings.BASE_DIR, tmp_path, real, tmp_path / "none")


def shut(locks: tuple[Lock, ...]) -> set[str]:
    return {lock.id for lock in locks if not lock.is_open}


@pytest.mark.django_db
@pytest.mark.parametrize("venue", ["kraken", "alpaca"])
def test_every_lock_is_listed_open_or_shut(settings: Settings, tmp_path: Path, venue: str) -> None:
    needed = set(locks_required(venue))
    for variables, dry_run, expected in (
        (OPEN, False, set()),
        (OPEN, True, {"DRY_RUN"}),
        ({}, True, needed - {"DATABASE_STAMP"}),
    ):
        set_environment(settings, tmp_path, variables)
        locks = read_locks(venue, dry_run=dry_run)
        assert [lock.id for lock in locks] == [one for one in LOCKS if one in needed]
        assert shut(locks) == expected
        assert all(lock.reason.endswith(".") and lock.source for lock in locks)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["yse", " 1", "1 ", "\t1", "1\n", "TRUE", "true", "on", "yes", "01", "1.0", "", "0", None]
)
@pytest.mark.parametrize("name", ["ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED"])
def test_only_1_opens_a_gate(settings: Settings, tmp_path: Path, name: str, text: str | None) -> None:
    variables = {key: value for key, value in OPEN.items() if key != name}
    set_environment(settings, tmp_path, variables if text is None else variables | {name: text})
    locks = read_locks("alpaca", dry_run=False)
    assert shut(locks) == {name}
    (lock,) = (one for one in locks if one.id == name)
    assert f"{name}=1" in lock.reason
    assert lock.source == ("default" if text is None else "environment")
    denial = live_gate_closed(situation(**LIVE, venue="alpaca", locks=locks))
    assert denial is not None
    assert denial.actual == f"shut: {name}"


@pytest.mark.django_db
@pytest.mark.parametrize("missing", KEYS)
def test_key_that_is_missing_is_named_and_no_value_is_ever_told(
    settings: Settings, tmp_path: Path, missing: str
) -> None:
    set_environment(settings, tmp_path, OPEN | {missing: " "})
    for venue in ("kraken", "alpaca"):
        locks = read_locks(venue, dry_run=False)
        is_its_own = missing.lower().startswith(venue)
        assert shut(locks) == ({"KEYS"} if is_its_own else set())
        told = " ".join(f"{lock.id} {lock.source} {lock.reason}" for lock in locks)
        assert (missing in told) is is_its_own
        assert not any(value in told for value in KEYS.values())


@pytest.mark.django_db
@pytest.mark.parametrize("dry_run", [True, None, 0, "", "False"])
def test_bot_that_is_not_plainly_live_is_on_paper(settings: Settings, tmp_path: Path, dry_run: Any) -> None:
    set_environment(settings, tmp_path, OPEN)
    assert shut(read_locks("kraken", dry_run=dry_run)) == {"DRY_RUN"}


@pytest.mark.django_db
@pytest.mark.parametrize("venue", ["replay", "", "Kraken", "binance"])
def test_other_venues_can_never_be_live(settings: Settings, tmp_path: Path, venue: str) -> None:
    set_environment(settings, tmp_path, OPEN)
    assert {"KEYS", "DATABASE_STAMP"} <= shut(read_locks(venue, dry_run=False))


@pytest.mark.django_db
def test_pages_see_each_venues_locks_but_the_bots_own(settings: Settings, tmp_path: Path) -> None:
    set_environment(settings, tmp_path, OPEN)
    found = venue_locks()
    assert {venue: [lock.id for lock in locks] for venue, locks in found.items()} == {
        "kraken": ["ALLOW_LIVE_TRADING", "KEYS", "DATABASE_STAMP"],
        "alpaca": ["ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "KEYS", "DATABASE_STAMP"],
    }
    assert not any(shut(locks) for locks in found.values())


def stamp_as(text: str) -> None:
    Setting.objects.create(key="database_stamp", value=text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "variables", "is_open", "goes_together"),
    [
        ("", {}, True, True),
        ("", REHEARSAL, False, True),
        ("rehearsal", REHEARSAL, True, True),
        ("rehearsal", {}, False, False),
        # The venue without a loopback URL is off in a rehearsal.
        ("rehearsal", {"ALPACA_BASE_URL_LIVE": LOOPBACK}, False, True),
        ("real", {}, False, False),
        ("rehearsal ", REHEARSAL, False, False),
    ],
)
def test_stamp_has_to_agree_with_the_endpoint(
    settings: Settings, tmp_path: Path, text: str, variables: dict[str, str], is_open: bool, goes_together: bool
) -> None:
    if text:
        stamp_as(text)
    set_environment(settings, tmp_path, OPEN | variables)
    assert shut(read_locks("kraken", dry_run=False)) == (set() if is_open else {"DATABASE_STAMP"})
    assert (stamp.problem(stamp.read()) == "") is goes_together


@pytest.mark.django_db
def test_stamp_that_cannot_be_read_is_a_shut_lock(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(settings, tmp_path, OPEN)

    def broken() -> str:
        raise DatabaseError("gone")

    monkeypatch.setattr(stamp, "read", broken)
    assert shut(read_locks("kraken", dry_run=False)) == {"DATABASE_STAMP"}


class TestStamp:
    """What a start does with the database. Each test has one of its own."""

    @pytest.fixture(autouse=True)
    def _database(self, committed_db: CommittedDatabase) -> None:
        """Commits are real here."""

    def live_event(self, event: EventKind, is_live: bool = True) -> None:
        with unit():
            record(
                OrderEventRecord(
                    1, "t-1", "kraken", "BTC/USD", "buy", "market", None, None, event, "x", is_live, "bot:1"
                )
            )

    def test_first_start_with_a_loopback_venue_stamps_once(self, settings: Settings, tmp_path: Path) -> None:
        set_environment(settings, tmp_path, {"KRAKEN_BASE_URL": LOOPBACK})
        assert stamp.apply()
        assert not stamp.apply()
        assert stamp.read() == "rehearsal"
        events = OperatorEvent.objects.filter(action="database_stamped")
        assert [(one.actor, one.old, one.new) for one in events] == [("system:prepare", "", "rehearsal")]

    def test_start_with_the_real_venues_stamps_nothing(self, settings: Settings, tmp_path: Path) -> None:
        set_environment(settings, tmp_path, OPEN)
        assert not stamp.apply()
        assert not Setting.objects.filter(key="database_stamp").exists()

    def test_stamped_database_never_starts_with_the_real_venues(self, settings: Settings, tmp_path: Path) -> None:
        set_environment(settings, tmp_path, REHEARSAL)
        stamp_database()
        set_environment(settings, tmp_path, {})
        with pytest.raises(CommandError, match="rehearsal's stamp"):
            stamp_database()
        with pytest.raises(stamp.StampError):
            stamp.check_at_start()
        with pytest.raises(CommandError, match="rehearsal's stamp"):
            call_command("check", databases=["default"])

    @pytest.mark.parametrize("event", [EventKind.SUBMITTING, EventKind.FILLED, EventKind.EXTERNAL])
    def test_database_with_real_live_orders_never_becomes_a_rehearsal(
        self, settings: Settings, tmp_path: Path, event: EventKind
    ) -> None:
        self.live_event(event)
        set_environment(settings, tmp_path, OPEN)
        stamp_database()
        set_environment(settings, tmp_path, REHEARSAL)
        with pytest.raises(CommandError, match="real live orders"):
            stamp_database()
        assert stamp.read() == ""
        assert shut(read_locks("kraken", dry_run=False)) >= {"DATABASE_STAMP"}

    def test_paper_orders_and_denied_live_ones_do_not_count(self, settings: Settings, tmp_path: Path) -> None:
        self.live_event(EventKind.FILLED, is_live=False)
        self.live_event(EventKind.INTENT)
        self.live_event(EventKind.DENIED)
        set_environment(settings, tmp_path, REHEARSAL)
        assert stamp.apply()

    def test_rehearsals_own_live_orders_are_no_real_ones(self, settings: Settings, tmp_path: Path) -> None:
        set_environment(settings, tmp_path, REHEARSAL)
        stamp.apply()
        self.live_event(EventKind.SUBMITTING)
        stamp.check()
        assert not stamp.apply()

    def test_worker_starts_though_the_database_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> str:
            raise DatabaseError("gone")

        monkeypatch.setattr(stamp, "read", broken)
        stamp.check_at_start()
        assert connection.connection is None
