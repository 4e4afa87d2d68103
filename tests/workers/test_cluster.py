"""The main process's care for its sentinels, with processes that stand in for them."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from bots.workers import cluster
from bots.workers.cluster import Cluster, SentinelsKeepDying
from tests.workers.conftest import wait_until

SentinelCell = cluster._Cell


@pytest.fixture
def cell_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., None]], SentinelCell]]:
    """Return a function that makes a cell whose sentinel process runs the given function."""
    cells: list[SentinelCell] = []

    def make(run: Callable[..., None]) -> SentinelCell:
        monkeypatch.setattr(cluster, "run_sentinel", run)
        cells.append(SentinelCell("runners"))
        return cells[-1]

    yield make
    for cell in cells:
        cell.kill()


def sleep_long(*args: object) -> None:
    time.sleep(60)


def die(*args: object) -> None:
    os._exit(3)


def test_dead_sentinel_is_replaced(cell_of: Callable[[Callable[..., None]], SentinelCell]) -> None:
    cell = cell_of(sleep_long)
    cell.tend()
    first = cell._process
    assert first is not None
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not cell.is_alive(), 2, "it is dead")
    cell.tend()
    time.sleep(0.15)
    cell.tend()
    assert cell.is_alive()
    assert cell._process is not first


def test_stuck_sentinel_is_killed(
    cell_of: Callable[[Callable[..., None]], SentinelCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PULSE_MAX_S", 0.3)
    cell = cell_of(sleep_long)
    cell.tend()
    cell.tend()
    alive_before = cell.is_alive()
    time.sleep(0.35)
    cell.tend()
    assert (alive_before, cell.is_alive()) == (True, False)


def test_sentinel_that_keeps_dying_ends_the_main_process_after_growing_pauses(
    cell_of: Callable[[Callable[..., None]], SentinelCell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "DEATHS_PER_MINUTE_MAX", 3)
    cell = cell_of(die)
    started_s = time.monotonic()

    def tend_for_ever() -> None:
        while time.monotonic() - started_s < 60:
            cell.tend()
            time.sleep(0.01)

    with pytest.raises(SentinelsKeepDying, match="runners"):
        tend_for_ever()
    assert time.monotonic() - started_s >= 0.7


def test_signal_handler_only_sets_a_flag() -> None:
    """It takes no lock and waits for nothing: that is what deadlocks django-q2's own."""
    made = Cluster(["runners"])
    started_s = time.monotonic()
    made._ask_to_stop(signal.SIGTERM, sys._getframe())
    assert made._stop_asked
    # Far below any wait there is, and far above what a busy machine may take from a process.
    assert time.monotonic() - started_s < 0.5
