"""``manage.py prepare``: everything between an unpacked repository and a console that can start.

Each step looks first and does nothing when there is nothing to do, since this runs at every start.
"""

import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from audit.log import OperatorEventRecord, record, unit
from audit.models import OperatorEvent
from safety import stamp

ACTOR = "system:prepare"
FIRST_USER = "admin"
PASSWORD_BYTES = 15
GATES_READ = "gate_read"
LOCK_FILE = "prepare.lock"
LOCK_ON_POSTGRES = 7_206_151_904
LOCK_WAIT_S = 120.0
LOCK_ASKED_EVERY_S = 0.2


class Command(BaseCommand):
    """Checks the port, migrates, records the gates, and on the first run makes the first user and the paper bots."""

    help = "Prepare this installation to start: port, migrations, first user, seeded paper bots. Safe to run again."
    # The checks import every page; the web process runs them anyway.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = settings.ENVIRONMENT.host, settings.ENVIRONMENT.port
        check_port(host, port)
        with alone():
            self._migrate()
            stamp_database()
            record_gates()
            if seeded := seed_bots():
                self.stdout.write(f"Seeded {seeded} paper bots on recorded market data.")
            # Printed at once: a password that was made and not shown would be lost.
            if (password := create_first_user()) is not None:
                self.stdout.write(_banner(password))
        self.stdout.write(self.style.SUCCESS(f"The console: {settings.ENVIRONMENT.console_url}"))

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        # Asked first: "migrate" costs a second even when nothing is to be done.
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Migrating the database ...")
            call_command("migrate", interactive=False, verbosity=0)


def check_port(host: str, port: int) -> None:
    """Return if the console could listen there. Raises CommandError with what to do."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        with socket.socket(family, kind, proto) as probe:
            # As gunicorn does: connections of the last run that linger don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CommandError(_port_problem(host, port, error)) from error


def _port_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use. Stop what runs there, or choose another: PORT={port + 1} make run"
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has. Choose one above 1023: PORT=8000 make run"
    return f"The console cannot listen on HOST={host} ({error.strerror}). An address of this machine is needed."


def check_database() -> None:
    """Return if the database answers. Raises CommandError with the variable to look at, and no password."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        raise CommandError(f"The database that DATABASE_URL names cannot be used: {error}") from error


@contextmanager
def alone(wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Let one start at a time prepare this installation, on this host and in this database; the others wait.

    Raises CommandError when the directory for data or the database can't be used, or when ``wait_s`` is over.
    """
    with _lock_file() as file:
        check_database()
        give_up_at = time.monotonic() + wait_s
        while not _is_locked(file):
            if time.monotonic() >= give_up_at:
                raise CommandError("Another start prepares this installation and does not come to an end. Stop it.")
            time.sleep(LOCK_ASKED_EVERY_S)
        try:
            yield
        finally:
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_ON_POSTGRES])


def _lock_file() -> TextIO:
    """Open the file that is locked, in a directory that is its owner's alone."""
    try:
        os.chmod(settings.VAR_DIR, 0o700)
        return open(settings.VAR_DIR / LOCK_FILE, "a", encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{settings.VAR_DIR} has to be a directory of this user's own ({error.strerror})."
        ) from error


def _is_locked(file: TextIO) -> bool:
    """Take the lock, or return that another start has it. The file's is for this host, the database's for all hosts."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_ON_POSTGRES])
        return bool(cursor.fetchone()[0])


def stamp_database() -> None:
    """Stamp the database of a rehearsal. Raises CommandError where database and venue addresses do not go together."""
    try:
        stamp.apply()
    except stamp.StampError as error:
        raise CommandError(str(error)) from error


def record_gates() -> None:
    """Write the live gates as read now to the operators' audit chain, where they differ from the last time."""
    environment = settings.ENVIRONMENT
    with unit():
        for gate in (environment.allow_live_trading, environment.live_trading_enabled):
            last = OperatorEvent.objects.filter(action=GATES_READ, object=gate.name).order_by("-seq").first()
            old, new = "" if last is None else last.new, "open" if gate.is_open else "closed"
            if old != new:
                record(OperatorEventRecord(ACTOR, GATES_READ, gate.name, old, new, f"read from {gate.source}"))


def create_first_user() -> str | None:
    """Make the first user, a superuser, when there is none. Return the password, which is kept nowhere, or None."""
    users = get_user_model().objects
    if users.exists():
        return None
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with unit():
        users.create_superuser(FIRST_USER, password=password)
        record(OperatorEventRecord(ACTOR, "user_created", FIRST_USER, "", "superuser", "the first user"))
    return password


def seed_bots() -> int:
    """Make the paper bots on recorded candles when there are no bots at all. Return how many were made."""
    # Here, since it loads the strategies and the recorded candles: not a cost of every start.
    from bots.models import Bot

    if Bot.objects.exists():
        return 0
    from bots.seeds import seed_paper_bots

    return len(seed_paper_bots())


def _banner(password: str) -> str:
    lines = (
        "",
        "=" * 68,
        "  The first user was made. This password is shown once and kept nowhere:",
        "",
        f"      user:      {FIRST_USER}",
        f"      password:  {password}",
        "",
        "  Lost it? .venv/bin/python manage.py changepassword admin",
        "=" * 68,
        "",
    )
    return "\n".join(lines)
