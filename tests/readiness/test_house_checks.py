"""Checks on the database, the limits, the kill switch, the workers, the queue, the orders and the people."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_q.models import OrmQ

from audit import triggers
from bots.models import Bot, Order
from bots.models.worker import WorkerKind
from bots.workers.watchdog import plans, queue_shift
from safety import chain_watch, readiness
from safety.checks import audit_chain, controls, database
from safety.controls import CONTROLS
from safety.intents import Level
from safety.kill_switch import GLOBAL, read_state
from safety.models import KillRun, RiskLimits, Setting, TradingState
from safety.readiness_values import State
from tests.audit.factories import drop_triggers, execute, write_fills
from tests.conftest import CommittedDatabase
from tests.readiness.conftest import Environ, find
from tests.readiness.processes import beat, beat_all
from tradingops import readiness_checks as people

in_test_db = pytest.mark.django_db


@in_test_db
class TestDatabase:
    def test_applied_migrations_pass(self) -> None:
        assert find("migrations").state == State.OK

    def test_one_that_is_not_applied_fails_and_is_named(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'safety' AND name = '0001_initial'")
        finding = find("migrations")
        assert finding.state == State.FAILED
        assert "safety.0001_initial" in finding.found

    def test_triggers_in_place_pass(self) -> None:
        assert find("audit_triggers").state == State.OK

    def test_dropped_trigger_fails_and_is_named(self) -> None:
        table, name = "order_events", "order_events_refuse_update"
        on = f" ON {table}" if connection.vendor == "postgresql" else ""
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER {name}{on}")
        finding = find("audit_triggers")
        assert finding.state == State.FAILED
        assert name in finding.found
        assert triggers.missing_triggers(connection)

    @pytest.mark.parametrize(
        ("free", "state"), [(database.FREE_BYTES_MIN, State.OK), (database.FREE_BYTES_MIN - 1, State.FAILED)]
    )
    def test_free_space(self, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
        usage = type("Usage", (), {"free": free, "total": free * 2})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        assert find("disk_space").state == state

    @pytest.mark.parametrize(("free", "state"), [(100, State.OK), (99, State.FAILED)])
    def test_free_share(self, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
        usage = type("Usage", (), {"free": free, "total": 1000})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        assert find("disk_share").state == state

    def test_space_that_cannot_be_read_blocks(self, settings: Any) -> None:
        settings.VAR_DIR = Path("/no/such/place")
        assert find("disk_space").blocks


class TestDurability:
    def test_console_settings_pass_on_sqlite(self, committed_db: CommittedDatabase) -> None:
        if committed_db.vendor != "sqlite":
            pytest.skip("SQLite's settings")
        beat_all()
        assert find("database_durable").state == State.OK

    def test_sqlite_on_two_hosts_fails(self, committed_db: CommittedDatabase) -> None:
        if committed_db.vendor != "sqlite":
            pytest.skip("more hosts are what PostgreSQL is for")
        beat_all()
        beat(WorkerKind.RUNNER, host="another")
        finding = find("database_durable")
        assert finding.state == State.FAILED
        assert "another" in finding.found

    @pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "journal_mode=DELETE"])
    def test_sqlite_set_otherwise_fails(self, committed_db: CommittedDatabase, pragma: str) -> None:
        if committed_db.vendor != "sqlite":
            pytest.skip("SQLite's settings")
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA {pragma}")
        assert find("database_durable").state == State.FAILED

    def test_postgresql_as_the_server_is_set(self, committed_db: CommittedDatabase) -> None:
        if committed_db.vendor != "postgresql":
            pytest.skip("PostgreSQL's settings")
        with connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            [fsync] = cursor.fetchone()
            cursor.execute("SHOW full_page_writes")
            [pages] = cursor.fetchone()
            cursor.execute("SET synchronous_commit = on")
            expected = State.OK if (fsync, pages) == ("on", "on") else State.FAILED
            assert find("database_durable").state == expected
            cursor.execute("SET synchronous_commit = off")
            assert find("database_durable").state == State.FAILED


class TestChain:
    def test_rows_that_verify_pass_and_are_not_read_again(self, committed_db: CommittedDatabase) -> None:
        write_fills(20)
        assert find("audit_chain").state == State.OK
        points = audit_chain.read_points()
        assert max(point.seq for point in points.values()) == 20
        write_fills(5)
        finding = find("audit_chain")
        assert finding.state == State.OK
        assert max(point.seq for point in audit_chain.read_points().values()) == 25

    def test_no_row_and_no_anchor_pass(self, committed_db: CommittedDatabase) -> None:
        assert find("audit_chain").state == State.OK

    def test_first_pass_that_is_not_through_blocks_and_goes_on(
        self, committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_fills(30)
        monkeypatch.setattr(audit_chain, "ROWS_PER_PART", 10)
        monkeypatch.setattr(audit_chain, "BEHIND_MAX", 5)
        monkeypatch.setattr(audit_chain, "PASS_S", 0.0)
        states = [find("audit_chain").state for _ in range(3)]
        assert states == [State.NOT_KNOWN, State.NOT_KNOWN, State.OK]

    @pytest.mark.parametrize("seq", [3, 7])
    def test_tampered_row_is_found(self, committed_db: CommittedDatabase, seq: int) -> None:
        write_fills(8)
        tamper(f"UPDATE order_events SET reason = 'other' WHERE seq = {seq}")
        finding = find("audit_chain")
        assert (finding.state, finding.blocks) == (State.FAILED, True)
        assert f"seq {seq}" in finding.found
        assert find("audit_chain").state == State.FAILED

    def test_cut_off_tail_is_found_though_nothing_was_added(self, committed_db: CommittedDatabase) -> None:
        write_fills(8)
        assert find("audit_chain").state == State.OK
        tamper("DELETE FROM order_events WHERE seq = 8")
        assert find("audit_chain").state == State.FAILED

    def test_what_the_watch_reported_blocks_until_it_is_mended(self, committed_db: CommittedDatabase) -> None:
        write_fills(8)
        assert find("audit_chain").state == State.OK
        tamper("UPDATE order_events SET reason = 'other' WHERE seq = 3")
        assert find("audit_chain").state == State.OK  # not looked at again by this check ...
        chain_watch.check_some()
        finding = find("audit_chain")  # ... but by the watch, which this check asks
        assert finding.state == State.FAILED
        assert "seq 3" in finding.found

    def test_anchors_file_that_cannot_be_read_blocks(self, committed_db: CommittedDatabase, settings: Any) -> None:
        write_fills(3)
        Path(settings.ANCHORS_FILE).write_text("no anchor\n")
        assert find("audit_chain").state == State.NOT_KNOWN


def tamper(statement: str) -> None:
    """Change audit rows as somebody would who has the owner's rights."""
    drop_triggers()
    execute(statement)


@in_test_db
class TestKillSwitch:
    def test_rows_and_place_of_the_file_pass(self) -> None:
        assert find("kill_switch_readable").state == State.OK

    def test_halted_is_readable(self) -> None:
        TradingState.objects.filter(scope=GLOBAL).update(level=Level.HALTED)
        assert find("kill_switch_readable").state == State.OK
        assert find("kill_switch_self_test").state == State.OK

    def test_missing_row_fails(self) -> None:
        TradingState.objects.filter(scope=GLOBAL).delete()
        assert find("kill_switch_readable").state == State.FAILED

    def test_missing_setting_fails(self) -> None:
        Setting.objects.filter(key="kill_switch").delete()
        assert find("kill_switch_readable").state == State.FAILED

    def test_missing_directory_fails(self, settings: Any, tmp_path: Path) -> None:
        settings.KILL_FILE = tmp_path / "gone" / "KILL"
        assert find("kill_switch_readable").state == State.FAILED

    def test_file_in_the_way_of_the_directory_fails(self, settings: Any, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        settings.KILL_FILE = tmp_path / "file" / "KILL"
        assert find("kill_switch_readable").state == State.FAILED

    def test_nothing_is_left_behind(self, settings: Any, tmp_path: Path) -> None:
        settings.KILL_FILE = tmp_path / "KILL"
        before = TradingState.objects.get(scope=GLOBAL)
        assert find("kill_switch_readable").state == State.OK
        assert find("kill_switch_self_test").state == State.OK
        assert list(tmp_path.iterdir()) == []
        after = TradingState.objects.get(scope=GLOBAL)
        assert (after.level, after.reason, after.changed_at) == (before.level, before.reason, before.changed_at)

    def test_gate_that_lets_a_halted_order_pass_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(CONTROLS, controls.KILL_SWITCH, lambda situation: None)
        assert find("kill_switch_self_test").state == State.FAILED

    def test_state_that_is_not_read_back_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading = read_state()
        monkeypatch.setattr(controls, "read_state", lambda *scope: reading)
        assert find("kill_switch_self_test").state == State.FAILED

    @pytest.mark.parametrize(
        ("age", "is_drained", "state"),
        [
            (timedelta(days=29, hours=23), True, State.OK),
            (timedelta(days=30, minutes=1), True, State.FAILED),
            (timedelta(days=1), False, State.FAILED),
        ],
    )
    def test_drill(self, age: timedelta, is_drained: bool, state: State) -> None:
        at = timezone.now() - age
        KillRun.objects.create(
            scope=GLOBAL,
            level="halted",
            actor="ada",
            engaged_at=at,
            updated_at=at,
            drained_at=at if is_drained else None,
        )
        finding = find("kill_drill")
        assert (finding.state, finding.blocks) == (state, False)

    def test_never_drilled(self) -> None:
        assert find("kill_drill").state == State.FAILED


@in_test_db
class TestLimits:
    def test_defaults_are_set(self) -> None:
        assert find("limits_set").state == State.OK

    def test_control_that_a_person_switched_off_is_named_and_passes(self) -> None:
        RiskLimits.objects.update_or_create(scope="global", defaults={"switched_off": ["DAILY_LOSS"]})
        finding = find("limits_set")
        assert finding.state == State.OK
        assert "DAILY_LOSS" in finding.found

    def test_figure_that_is_no_number_blocks(self) -> None:
        RiskLimits.objects.update_or_create(scope="global", defaults={"daily_loss_pct": Decimal(3)})
        update = "UPDATE risk_limits SET daily_loss_pct = 'NaN' WHERE scope = 'global'"
        if connection.vendor == "sqlite":
            with pytest.raises(IntegrityError), transaction.atomic():
                execute(update)
            return
        # To PostgreSQL, NaN is above every number, so that the table's own constraint lets it in.
        execute(update)
        assert find("limits_set").blocks


@in_test_db
class TestWorkers:
    def test_fresh_ones_pass(self) -> None:
        beat_all(age_s=29)
        assert find("workers_alive").state == State.OK

    @pytest.mark.parametrize("late", [WorkerKind.RUNNER, WorkerKind.CHORES])
    def test_late_ones_fail(self, late: WorkerKind) -> None:
        for kind in (WorkerKind.RUNNER, WorkerKind.CHORES):
            beat(kind, age_s=31 if kind == late else 0)
        assert find("workers_alive").state == State.FAILED

    def test_none_ever_fails(self) -> None:
        finding = find("workers_alive")
        assert finding.state == State.FAILED
        assert "never" in finding.found

    def test_one_version_passes_and_two_fail(self) -> None:
        beat_all()
        assert find("one_version").state == State.OK
        beat(WorkerKind.RUNNER, version="0.0.9")
        finding = find("one_version")
        assert finding.state == State.FAILED
        assert "0.0.9" in finding.found

    def test_no_process_is_no_version(self) -> None:
        assert find("one_version").state == State.FAILED

    def test_delivered_queue_settings_pass(self) -> None:
        assert find("queue_settings").state == State.OK

    @pytest.mark.parametrize(
        "change", [{"timeout": 60}, {"max_attempts": 2}, {"ack_failures": False}, {"bulk": 2}, {"catch_up": True}]
    )
    def test_dangerous_queue_settings_fail(self, settings: Any, change: dict[str, Any]) -> None:
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, **change}
        assert find("queue_settings").state == State.FAILED

    @pytest.mark.parametrize(("age_s", "state"), [(29, State.OK), (32, State.FAILED)])
    def test_waiting_task(self, age_s: int, state: State) -> None:
        OrmQ.objects.create(key="slow", payload="p", lock=timezone.now() - timedelta(seconds=age_s))
        assert find("queue_moves").state == state

    def test_spare_shift_may_wait_while_as_many_run_as_are_wanted(self) -> None:
        plan = next(one for one in plans() if one.kind == WorkerKind.RUNNER)
        queue_shift(plan)
        OrmQ.objects.update(lock=timezone.now() - timedelta(minutes=2))
        for _ in range(plan.per_cluster - 1):
            beat(WorkerKind.RUNNER)
        assert find("queue_moves").state == State.FAILED
        beat(WorkerKind.RUNNER)
        assert find("queue_moves").state == State.OK

    def test_task_that_is_worked_on_does_not_count(self) -> None:
        OrmQ.objects.create(key="slow", payload="p", lock=timezone.now() + timedelta(seconds=10))
        assert find("queue_moves").state == State.OK


def order(**changed: Any) -> Order:
    """Return a live order at Kraken that was sent a while ago."""
    now = timezone.now()
    age = changed.pop("age", timedelta(0))
    shape = {
        "client_order_id": f"t{Order.objects.count()}", "venue": "kraken", "symbol": "BTC/USD", "side": "buy",
        "type": "market", "status": "unknown", "quantity": Decimal(1), "is_live": True, "leg": "base", "actor": "t",
        "created_at": now, "updated_at": now, "submitting_at": now - age,
    }  # fmt: skip
    if "bot" not in changed:
        changed["bot"] = bot()
    return Order.objects.create(**{**shape, **changed})


def bot(**changed: Any) -> Bot:
    shape = {
        "name": f"b{Bot.objects.count()}", "venue": "kraken", "symbol": "BTC/USD", "strategy": "smart_dca",
        "capital_usd": Decimal(100), "dry_run": False,
    }  # fmt: skip
    return Bot.objects.create(**{**shape, **changed})


@in_test_db
class TestOrders:
    @pytest.mark.parametrize("status", ["unknown", "submitting"])
    def test_outcome_not_known_for_five_minutes(self, status: str) -> None:
        order(status=status, age=timedelta(minutes=4, seconds=58))
        assert find("orders_settled", "kraken").state == State.OK
        late = order(status=status, age=timedelta(minutes=5, seconds=1))
        finding = find("orders_settled", "kraken")
        assert finding.state == State.FAILED
        assert late.client_order_id in finding.found
        assert find("orders_settled", "alpaca").state == State.OK

    def test_paper_order_does_not_count(self) -> None:
        order(is_live=False, age=timedelta(hours=1))
        assert find("orders_settled", "kraken").state == State.OK

    def test_open_order_without_a_bot_is_an_orphan(self) -> None:
        order(status="accepted", bot=None)
        assert find("orders_settled", "kraken").state == State.FAILED

    def test_open_order_of_an_archived_bot_is_an_orphan(self) -> None:
        order(status="accepted", bot=bot(status="archived"))
        assert find("orders_settled", "kraken").state == State.FAILED

    def test_order_of_somebody_else_is_none(self) -> None:
        order(status="external", bot=None)
        assert find("orders_settled", "kraken").state == State.OK


@in_test_db
class TestPaperRun:
    @pytest.mark.parametrize(("days", "state"), [(14, State.OK), (13, State.FAILED)])
    def test_of_the_console(self, days: int, state: State) -> None:
        order(is_live=False, bot=bot(dry_run=True), status="filled", created_at=timezone.now() - timedelta(days=days))
        assert find("paper_run").state == state

    @pytest.mark.parametrize(("days", "state"), [(14, State.OK), (13, State.FAILED)])
    def test_of_a_live_bot(self, days: int, state: State) -> None:
        one, now = bot(), timezone.now()
        Bot.objects.filter(pk=one.pk).update(
            created_at=now - timedelta(days=30), went_live_at=now - timedelta(days=30 - days)
        )
        assert find("paper_run").state == state

    def test_never_on_paper(self) -> None:
        assert find("paper_run").state == State.FAILED


@in_test_db
class TestPeople:
    @pytest.mark.parametrize("password", ["admin", "password", "Ada-the-name"])
    def test_default_password_fails_and_is_not_shown(self, password: str) -> None:
        User.objects.create_user("Ada-the-name", password=password, is_staff=True)
        finding = find("default_passwords")
        assert finding.state == State.FAILED
        assert "Ada-the-name" in finding.found

    def test_other_password_passes_and_is_tried_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        user = User.objects.create_user("ada", password="a-good-one-9")
        assert find("default_passwords").state == State.OK
        with monkeypatch.context() as patched:
            patched.setattr(people, "check_password", lambda *args: pytest.fail("tried again"))
            assert find("default_passwords").state == State.OK
        user.set_password("admin")
        user.save()
        assert find("default_passwords").state == State.FAILED

    def test_many_accounts_are_looked_at_over_several_runs(self) -> None:
        for number in range(people.ACCOUNTS_PER_RUN + 1):
            User.objects.create_user(f"u{number}", password="a-good-one-9")
        assert [find("default_passwords").state for _ in range(2)] == [State.NOT_KNOWN, State.OK]

    @pytest.mark.parametrize("text", ["", "no json", "3", "{}"])
    def test_note_of_what_was_tried_that_cannot_be_read_tries_all_again(self, text: str) -> None:
        User.objects.create_user("ada", password="admin")
        Setting.objects.create(key=people.TRIED_KEY, value=text)
        assert find("default_passwords").state == State.FAILED

    def test_account_that_cannot_sign_in_does_not_count(self) -> None:
        User.objects.create_user("off", password="admin", is_active=False)
        User.objects.create_user("none")
        assert find("default_passwords").state == State.OK

    def test_one_operator_is_too_few(self) -> None:
        User.objects.create_user("ada", is_staff=True)
        assert find("operator_accounts").state == State.FAILED
        User.objects.create_user("bob", is_staff=True)
        assert find("operator_accounts").state == State.OK

    def test_second_factor(self) -> None:
        user = User.objects.create_user("ada", is_staff=True)
        assert find("second_factor").state == State.FAILED
        TOTPDevice.objects.create(user=user, name="authenticator app", confirmed=True)
        assert find("second_factor").state == State.OK


@in_test_db
class TestJudgedWhenAsked:
    def ids(self) -> set[str]:
        return {one.id for one in readiness.live_ready().blockers}

    def test_trading_state(self) -> None:
        TradingState.objects.filter(scope=GLOBAL).update(level=Level.ACTIVE)
        Setting.objects.filter(key="kill_switch").update(value="0")
        beat_all()
        assert "trading_state" not in self.ids()
        beat(WorkerKind.RUNNER, kill_switch_engaged=True)
        assert "trading_state" in self.ids()

    @pytest.mark.parametrize("level", [Level.REDUCING, Level.HALTED])
    def test_trading_state_that_is_not_active(self, level: Level) -> None:
        TradingState.objects.filter(scope=GLOBAL).update(level=level)
        assert "trading_state" in self.ids()

    def test_health(self) -> None:
        assert "health" in self.ids()
        beat(WorkerKind.RUNNER)
        assert "health" not in self.ids()


@in_test_db
class TestEndpoints:
    def test_real_venues_on_a_real_database_pass(self) -> None:
        beat_all()
        assert find("endpoints").state == State.OK

    def test_loopback_venue_needs_the_stamp(self, environ: Environ) -> None:
        environ(KRAKEN_BASE_URL="http://127.0.0.1:1")
        beat_all()
        assert find("endpoints").state == State.FAILED
        Setting.objects.create(key="database_stamp", value="rehearsal")
        finding = find("endpoints")
        assert finding.state == State.OK
        assert "KRAKEN_BASE_URL" in finding.found

    def test_stamped_database_with_real_venues_fails(self) -> None:
        Setting.objects.create(key="database_stamp", value="rehearsal")
        beat_all()
        assert find("endpoints").state == State.FAILED

    def test_not_known_without_processes(self) -> None:
        assert find("endpoints").state == State.NOT_KNOWN


@in_test_db
def test_control_that_cannot_be_switched_off_fails() -> None:
    RiskLimits.objects.update_or_create(scope="global", defaults={"switched_off": ["READINESS"]})
    finding = find("limits_set")
    assert finding.state == State.FAILED
    assert "READINESS" in finding.found
