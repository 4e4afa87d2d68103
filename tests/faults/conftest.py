"""A nursery of processes to kill, on a throw-away database."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from bots.strategies import registry
from tests.bots.builders import floor
from tests.bots.live import live_desk
from tests.conftest import CommittedDatabase
from tests.faults.churn import VenueChurn
from tests.faults.desk import Desk
from tests.faults.nursery import LEASE_LOST, SIGKILLED, Nursery
from tests.faults.venues import KrakenSide
from tests.loopback.client import KrakenLoopback

__all__ = ["LEASE_LOST", "SIGKILLED", "Nursery", "floor"]


@pytest.fixture(scope="session")
def _nursery() -> Iterator[Nursery]:
    """Start one nursery for all tests: importing the console takes seconds."""
    nursery = Nursery()
    yield nursery
    nursery.end()


@pytest.fixture
def nursery(committed_db: CommittedDatabase, _nursery: Nursery) -> Nursery:
    """Return the nursery, its processes on this test's own database."""
    _nursery.database, _nursery.common = committed_db.name, {}
    return _nursery


@pytest.fixture(autouse=True)
def _rows(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Note which rows of docs/faults.md a test is about."""
    for mark in request.node.iter_markers("fault"):
        for row in mark.args:
            record_property("row", row)
    record_property("database", connection.vendor)


@pytest.fixture
def kraken_desk(
    nursery: Nursery,
    committed_db: CommittedDatabase,
    kraken: KrakenLoopback,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Desk:
    """Return a live bot at the loopback Kraken, with nothing in its way."""
    monkeypatch.setitem(registry._strategies, VenueChurn.key, VenueChurn())
    bot = live_desk(kraken, settings, strategy=VenueChurn.key)
    return Desk(nursery, committed_db, KrakenSide(kraken), bot, record_property)
