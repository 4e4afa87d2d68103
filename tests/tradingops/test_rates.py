"""How often one caller may ask: buckets that threads and processes share."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tradingops.rates import SharedBuckets

START_S = 1_000.0
#: The child does nothing but take from the buckets, whatever threads its parent has.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def buckets() -> SharedBuckets:
    return SharedBuckets(slots=64)


def test_bucket_holds_a_minutes_worth_and_refills_evenly(buckets: SharedBuckets) -> None:
    assert [buckets.take("a", 60, now_s=START_S) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 60, now_s=START_S) == pytest.approx(1.0)
    assert buckets.take("a", 60, now_s=START_S + 0.5) == pytest.approx(0.5)
    assert buckets.take("a", 60, now_s=START_S + 1.0) == 0.0
    assert buckets.take("a", 60, now_s=START_S + 1.0) == pytest.approx(1.0)


def test_bucket_never_holds_more_than_a_minutes_worth(buckets: SharedBuckets) -> None:
    buckets.take("a", 3, now_s=START_S)
    waits = [buckets.take("a", 3, now_s=START_S + 86_400) for _ in range(4)]
    assert waits == [0.0, 0.0, 0.0, pytest.approx(20.0)]


def test_one_caller_empties_no_others_bucket(buckets: SharedBuckets) -> None:
    assert buckets.take("a", 1, now_s=START_S) == 0.0
    assert buckets.take("a", 1, now_s=START_S) > 0
    assert buckets.take("b", 1, now_s=START_S) == 0.0


def test_clock_that_stands_still_or_goes_back_gives_nothing(buckets: SharedBuckets) -> None:
    buckets.take("a", 1, now_s=START_S)
    assert buckets.take("a", 1, now_s=START_S - 600) == pytest.approx(60.0)


def test_limit_that_was_lowered_holds_at_once(buckets: SharedBuckets) -> None:
    buckets.take("a", 600, now_s=START_S)
    assert [buckets.take("a", 2, now_s=START_S) for _ in range(3)] == [0.0, 0.0, pytest.approx(30.0)]


def test_when_all_slots_are_taken_the_oldest_is_used_again() -> None:
    buckets = SharedBuckets(slots=4)
    for number in range(4):
        buckets.take(f"caller {number}", 1, now_s=START_S + number)
    assert buckets.take("one more", 1, now_s=START_S + 4) == 0.0
    # Its slot was the first one's, who begins anew; the others' are as they were.
    assert buckets.take("caller 3", 1, now_s=START_S + 4) > 0
    assert buckets.take("caller 0", 1, now_s=START_S + 4) == 0.0


def test_threads_take_no_more_than_there_is(buckets: SharedBuckets) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: buckets.take("a", 100, now_s=START_S), range(400)))
    assert waits.count(0.0) == 100


@FORKS
def test_forked_processes_share_the_buckets(buckets: SharedBuckets) -> None:
    """As gunicorn forks its workers from the process that loaded the console."""
    reading, writing = os.pipe()
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            taken = sum(buckets.take("a", 90, now_s=START_S) == 0.0 for _ in range(60))
            os.write(writing, bytes([taken]))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sum(os.read(reading, 3)) == 90
    os.close(reading)
    os.close(writing)


@FORKS
def test_process_that_froze_with_the_lock_stops_nobody(buckets: SharedBuckets) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with buckets._locked():
            os.write(writing, b"x")
            time.sleep(600)
        os._exit(0)
    try:
        os.read(reading, 1)
        assert buckets.take("a", 1, now_s=START_S) == 0.0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    # Its lock went with it.
    assert buckets._try_lock()
