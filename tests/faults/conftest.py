"""A nursery of processes to kill, on a throw-away database."""

from collections.abc import Callable, Generator, Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from bots.strategies import registry
from safety import stamp
from tests.bots.alpaca_desk import live_stock_desk, paper_desk
from tests.bots.builders import floor
from tests.bots.live import live_desk
from tests.conftest import CommittedDatabase
from tests.faults import oracle
from tests.faults.churn import VenueChurn
from tests.faults.desk import Desk
from tests.faults.nursery import LEASE_LOST, SIGKILLED, Nursery
from tests.faults.venues import AlpacaSide, KrakenSide
from tests.loopback.client import AlpacaLoopback, KrakenLoopback

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test of a fault that passed without asking the oracle: of it the page says that the oracle was asked."""
    before = len(oracle.asked)
    # A test that fails or skips leaves here.
    yield
    if item.get_closest_marker("fault") is not None and len(oracle.asked) == before:
        pytest.fail("a test of a fault has to ask the oracle (tests.faults.oracle.check) when all has settled")


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


@pytest.fixture
def alpaca_desk(
    request: pytest.FixtureRequest,
    nursery: Nursery,
    committed_db: CommittedDatabase,
    alpaca: AlpacaLoopback,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Desk:
    """Return a live stock bot at the loopback Alpaca with nothing in its way; parameter "paper": one on the paper account."""
    monkeypatch.setitem(registry._strategies, VenueChurn.key, VenueChurn())
    is_live = getattr(request, "param", "live") == "live"
    if is_live:
        bot = live_stock_desk(alpaca, settings, strategy=VenueChurn.key)
    else:
        stamp.apply()
        bot = paper_desk(alpaca, strategy=VenueChurn.key)
    return Desk(nursery, committed_db, AlpacaSide(alpaca, is_live=is_live), bot, record_property)
