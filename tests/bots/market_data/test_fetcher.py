"""The fetcher: one job per key at a time, a bound on all waiting, and failures that are believed for a while."""

import threading
import time

import pytest

from bots.brokers.outcomes import CallFailed, Failure, Kind
from bots.market_data import fetcher
from bots.market_data.fetcher import Fetcher


def failing(kind: Kind) -> CallFailed:
    return CallFailed(Failure(kind, f"it is {kind}"))


class Job:
    """A job that counts its runs, takes as long as told, and fails as told."""

    def __init__(self, takes_s: float = 0.0, error: Exception | None = None) -> None:
        self.takes_s, self.error = takes_s, error
        self.runs = 0
        self.together = 0
        self.together_max = 0

    def __call__(self) -> None:
        self.runs += 1
        self.together += 1
        self.together_max = max(self.together, self.together_max)
        time.sleep(self.takes_s)
        self.together -= 1
        if self.error is not None:
            raise self.error


def test_job_has_run_when_run_returns() -> None:
    job = Job(0.05)
    assert Fetcher("it").run("a", job) == ""
    assert job.runs == 1


def test_all_who_ask_wait_for_one_job() -> None:
    job, found = Job(0.3), Fetcher("it")
    threads = [threading.Thread(target=found.run, args=("a", job)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (job.runs, job.together_max) == (1, 1)


def test_all_waiting_together_is_bounded_and_the_job_goes_on() -> None:
    found, jobs = Fetcher("it"), [Job(6) for _ in range(fetcher.THREADS)]
    began = time.monotonic()
    said = [found.run(str(key), job) for key, job in enumerate(jobs)]
    assert said == ["it has not answered yet"] * len(jobs)
    assert time.monotonic() - began < fetcher.WAIT_S + 3
    give_up_at = time.monotonic() + 30
    while [(job.runs, job.together) for job in jobs] != [(1, 0)] * len(jobs):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_start_waits_for_nothing() -> None:
    job, found = Job(8), Fetcher("it")
    began = time.monotonic()
    assert found.start("a", job) == ""
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("kind", "others_too"),
    [(Kind.UNKNOWN, True), (Kind.NOT_REACHED, True), (Kind.RATE, True), (Kind.ORDER, False), (Kind.RIGHTS, False)],
)
def test_failure_of_the_venue_holds_back_everything_and_a_refusal_only_itself(kind: Kind, others_too: bool) -> None:
    found, bad, good = Fetcher("it"), Job(error=failing(kind)), Job()
    assert found.run("bad", bad) == f"it is {kind}"
    assert found.run("bad", bad) == f"it is {kind}"
    assert bad.runs == 1
    assert bool(found.run("good", good)) == others_too


def test_failure_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "FAILURE_S", 0.1)
    found, job = Fetcher("it"), Job(error=failing(Kind.UNKNOWN))
    assert found.run("a", job)
    job.error = None
    time.sleep(0.15)
    assert found.run("a", job) == ""


def test_broken_job_is_told_and_ends_no_thread() -> None:
    found = Fetcher("it")
    for key in range(fetcher.THREADS + 1):
        assert "ZeroDivisionError" in found.run(str(key), Job(error=ZeroDivisionError()))
    assert found.run("good", Job()) == ""
