"""Checks on what must not be lost: the database's settings, its migrations, the audit's triggers and chains, and the disk."""

import shutil
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from audit.triggers import missing_triggers
from safety.readiness import register
from safety.readiness_values import Context, Outcome, Severity, failed, ok

FREE_BYTES_MIN = 2_000_000_000
FREE_SHARE_MIN = 0.10
NAMED_MAX = 3
#: What SQLite answers to PRAGMA synchronous: 2 is FULL, 3 is EXTRA.
SQLITE_SYNCHRONOUS = {2, 3}
#: remote_apply waits for more than "on" does.
POSTGRES_COMMIT = {"on", "remote_apply"}


@register("migrations", "All migrations are applied", Severity.BLOCKER)
def migrations(context: Context) -> Outcome:
    """Compare the migrations on disk with those that the database has."""
    loader = MigrationLoader(connection)
    applied = set(loader.applied_migrations or ())
    wanted = sorted(node for node in loader.graph.nodes if node not in applied)
    if wanted:
        names = ", ".join(f"{app}.{name}" for app, name in wanted[:NAMED_MAX])
        return failed(
            f"{len(wanted)} migrations are not applied: {names}.",
            "Stop the console and start it again with make run, or run manage.py prepare.",
        )
    return ok(f"{len(applied)} migrations are applied.")


@register("database_durable", "The database keeps what it has committed", Severity.BLOCKER)
def database_durable(context: Context) -> Outcome:
    """Ask the database for the settings by which a commit outlives a power cut; SQLite serves one host only."""
    return _postgresql() if connection.vendor == "postgresql" else _sqlite(context)


def _postgresql() -> Outcome:
    found = {name: _ask(f"SHOW {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")}
    shown = ", ".join(f"{name} is {value}" for name, value in found.items())
    if (
        found["fsync"] != "on"
        or found["full_page_writes"] != "on"
        or found["synchronous_commit"] not in POSTGRES_COMMIT
    ):
        return failed(
            f"{shown}.",
            "As the database's superuser run ALTER SYSTEM SET fsync = on; the same for full_page_writes and"
            " synchronous_commit; then SELECT pg_reload_conf().",
        )
    return ok(f"{shown}.")


def _sqlite(context: Context) -> Outcome:
    journal, synchronous = _ask("PRAGMA journal_mode"), _ask("PRAGMA synchronous")
    if journal != "wal" or synchronous not in SQLITE_SYNCHRONOUS:
        return failed(
            f"SQLite's journal_mode is {journal}, synchronous is {synchronous} (2 is FULL).",
            "Put back SQLITE_OPTIONS in tradingops/settings.py as it was delivered, and start the console again.",
        )
    hosts = sorted({one.host for one in context.processes})
    if len(hosts) > 1:
        return failed(
            f"SQLite is used from {len(hosts)} hosts: {', '.join(hosts[:NAMED_MAX])}.",
            "Use PostgreSQL for more than one host (DATABASE_URL), or stop the console on all hosts but one.",
        )
    return ok("SQLite with WAL and synchronous FULL, used from one host.")


def _ask(question: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@register("audit_triggers", "Audit rows are guarded by triggers", Severity.BLOCKER)
def audit_triggers(context: Context) -> Outcome:
    """Look for every trigger that refuses to change or delete an audit row."""
    if absent := missing_triggers(connection):
        return failed(
            f"{len(absent)} triggers are missing or off: {', '.join(absent[:NAMED_MAX])}.",
            "Run manage.py verify_audit first: somebody may have changed rows. Then put the triggers back, as"
            " docs/audit-chain.md tells.",
        )
    return ok("Every table of the audit refuses to be changed.")


@register("disk_space", "2 GB of disk are free", Severity.BLOCKER)
def disk_space(context: Context) -> Outcome:
    """Look at the disks of the data directory and of SQLite's file."""
    free = {path: shutil.disk_usage(path).free for path in _places()}
    shown = "; ".join(f"{count / 1e9:.1f} GB free in {path}" for path, count in free.items())
    if min(free.values()) < FREE_BYTES_MIN:
        return failed(f"{shown}.", "Free some disk space there: 2 GB at least.")
    return ok(f"{shown}.")


@register("disk_share", "A tenth of the disk is free", Severity.WARNING)
def disk_share(context: Context) -> Outcome:
    """Look at the same disks as disk_space does, for the share that is left."""
    usage = {path: shutil.disk_usage(path) for path in _places()}
    share = {path: one.free / one.total if one.total else 0.0 for path, one in usage.items()}
    shown = "; ".join(f"{part:.0%} free in {path}" for path, part in share.items())
    if min(share.values()) < FREE_SHARE_MIN:
        return failed(f"{shown}.", "Free some disk space there before it gets short.")
    return ok(f"{shown}.")


def _places() -> list[Path]:
    """Return the directories that must not fill up: the data's, and SQLite's where that is another."""
    places = [Path(settings.VAR_DIR)]
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and Path(name).is_file() and Path(name).parent not in places:
        places.append(Path(name).parent)
    return places
