"""Fixtures for every room.

Most database tests use ``@pytest.mark.django_db``: a transaction that is rolled back. Tests that must really commit (audit
units, leases, several processes) use ``committed_db``, a database of their own, because the audit triggers refuse the
DELETE and TRUNCATE that would clean up after them.
"""

import gc
import os
import shutil
import sqlite3
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker, Settings

from safety import api_failures, latches, outage
from tests.spare_databases import SpareDatabases, on_server, server_url
from tradingops.rates import buckets

pytest_plugins = ["tests.loopback.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database-only", action="store_true", help="run only the tests that touch the database")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off the ten thousand tests: none of them is garbage before the run ends."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, when asked, what the choice of database can't change. What may take longest begins first.

    Else a soak of minutes would begin when all others are done, and every other worker would wait for it.
    """
    # The sort keeps the order of those that may take equally long, and with it what they share.
    items.sort(key=_seconds_max, reverse=True)
    if not config.getoption("--database-only"):
        return
    kept = [item for item in items if _touches_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _seconds_max(item: pytest.Item) -> float:
    """Return how long a test may take where it says so, as only those do that take long; else 0."""
    mark = item.get_closest_marker("timeout")
    return 0.0 if mark is None else float(mark.args[0])


def _touches_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("any_database") is not None:
        return False
    fixtures = {"committed_db", "db", "transactional_db", "live_server"}
    return item.get_closest_marker("django_db") is not None or not fixtures.isdisjoint(
        getattr(item, "fixturenames", ())
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, fail a browser test that was skipped: there the browser is installed, so skipping it means it broke."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@dataclass(frozen=True)
class CommittedDatabase:
    """A migrated database of one test's own, where commits are real. It is dropped after the test.

    ``name`` is the database's name on PostgreSQL and the file's path on SQLite; ``url`` is its DATABASE_URL.
    """

    vendor: str
    name: str
    url: str
    var_dir: Path

    @property
    def path(self) -> Path:
        """Return the database file. Raises ValueError on PostgreSQL."""
        if self.vendor != "sqlite":
            raise ValueError("a PostgreSQL database has no file")
        return Path(self.name)

    def environ(self, **extra: str) -> dict[str, str]:
        """Return the environment for a subprocess (manage.py, a worker) that shall use this database."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tradingops.settings",
            "DATABASE_URL": self.url,
            "TRADINGOPS_VAR_DIR": str(self.var_dir),
            **extra,
        }


def on_sqlite() -> bool:
    """Return whether this run is on SQLite."""
    return connection.vendor == "sqlite"


@pytest.fixture(scope="session", autouse=True)
def _urls_are_loaded() -> None:
    """Load the URLs, and with them the admin's pages, as the web process does before its first request."""
    import_module(django_settings.ROOT_URLCONF)


@pytest.fixture(autouse=True)
def _no_outage_yet() -> Iterator[None]:
    """Begin and end each test as a process that has seen no outage and copied no latch: both are kept for a while."""
    outage.forget()
    latches.look_again()
    # So do those who sent wrong tokens or asked too often.
    api_failures.forget()
    buckets.forget()
    yield
    outage.forget()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Make the test database, also when no test of this run is marked ``django_db`` (``committed_db`` copies it)."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases=["default"])  # type: ignore[arg-type]
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


@pytest.fixture(scope="session")
def _template(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """Copy the migrated test database once per worker, to somewhere nobody is connected to; yield its name."""
    with django_db_blocker.unblock():
        if on_sqlite():
            path = Path(django_settings.RUN_DIR) / f"template-{django_settings.WORKER}.sqlite3"
            connection.ensure_connection()
            with closing(sqlite3.connect(path)) as copy:
                connection.connection.backup(copy)
                copy.execute("PRAGMA journal_mode=WAL")
            yield str(path)
            return
        source = str(connection.settings_dict["NAME"])
        connection.close()
    name = f"{source}_template"
    on_server("CREATE DATABASE {} TEMPLATE {}", name, source)
    yield name
    on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def _spares(_template: str) -> Iterator[SpareDatabases | None]:
    """Return the copies of the template on PostgreSQL; None on SQLite, where a copy is a file of the test's own."""
    if on_sqlite():
        yield None
        return
    spares = SpareDatabases(_template)
    yield spares
    spares.close()


def _create(template: str, spares: SpareDatabases | None, directory: Path) -> tuple[str, str]:
    """Copy the template; return the new database's name and URL."""
    if spares is None:
        path = directory / "committed.sqlite3"
        shutil.copyfile(template, path)
        return str(path), f"sqlite:///{path}"
    name = spares.take()
    return name, server_url(name)


@pytest.fixture
def committed_db(
    _template: str,
    _spares: SpareDatabases | None,
    tmp_path: Path,
    settings: Settings,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[CommittedDatabase]:
    """Point this process at a fresh migrated database where commits are real, with a var directory of its own.

    Other threads get the same database; they close their connections themselves. Not to be mixed with ``django_db``.
    """
    if connection.in_atomic_block:
        pytest.fail("committed_db cannot be used together with django_db: its transaction hides every commit")
    name, url = _create(_template, _spares, tmp_path)
    var_dir = tmp_path / "var"
    var_dir.mkdir()
    settings.VAR_DIR, settings.KILL_FILE, settings.ANCHORS_FILE = var_dir, var_dir / "KILL", var_dir / "anchors.jsonl"
    # This dict is shared by the connections that other threads will open.
    shared: dict[str, Any] = connections.settings["default"]
    usual, usual_name = connections["default"], shared["NAME"]
    with django_db_blocker.unblock():
        # A second connection object: closing an in-memory database's would be ignored, or lose the database.
        shared["NAME"] = name
        connections["default"] = connections.create_connection("default")
        try:
            yield CommittedDatabase(usual.vendor, name, url, var_dir)
        finally:
            for thread in threading.enumerate():
                # What a page began and did not wait for ends before its database goes.
                if thread.name.startswith("page: "):
                    thread.join(30)
            connections["default"].close()
            connections["default"] = usual
            shared["NAME"] = usual_name
    if _spares is not None:
        _spares.give_back(name)
