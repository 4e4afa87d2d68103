"""One reading for all who ask at once, and never one that began before the asking."""

import threading

import pytest

from tests.workers.conftest import wait_until
from tradingops.shared import Shared, SharedByQuestion

SOON_S = 30


class Slow:
    """A reading that waits until the test lets it end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Semaphore(0)

    def read(self) -> int:
        self.begun += 1
        mine = self.begun
        assert self.may_end.acquire(timeout=SOON_S)
        return mine


def ask(shared: Shared[int], found: list[int]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(shared.get()))
    thread.start()
    return thread


def test_those_who_ask_during_a_reading_share_the_next_one() -> None:
    slow, first, later = Slow(), list[int](), list[int]()
    shared = Shared(slow.read)
    threads = [ask(shared, first)]
    wait_until(lambda: slow.begun == 1, SOON_S, "the first reading")
    threads += [ask(shared, later) for _ in range(5)]
    wait_until(lambda: len(shared._changed._waiters) == 5, SOON_S, "five who wait")  # type: ignore[attr-defined]
    for _ in range(2):
        slow.may_end.release()
    for thread in threads:
        thread.join(SOON_S)
    assert (first, later, slow.begun) == ([1], [2] * 5, 2)


def test_nothing_is_kept_for_who_asks_later() -> None:
    slow = Slow()
    shared = Shared(slow.read)
    for expected in (1, 2, 3):
        slow.may_end.release()
        assert shared.get() == expected


def test_reading_that_fails_fails_for_one_and_the_next_one_reads_anew() -> None:
    answers: list[int | ValueError] = [7, ValueError("no")]

    def read() -> int:
        answer = answers.pop()
        if isinstance(answer, ValueError):
            raise answer
        return answer

    shared = Shared(read)
    with pytest.raises(ValueError, match="no"):
        shared.get()
    assert shared.get() == 7


class SlowByQuestion:
    """Readings that tell which question they answer, and wait until the test lets them end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Semaphore(0)

    def read(self, question: str) -> str:
        self.begun.append(question)
        mine = f"{question} {self.begun.count(question)}"
        assert self.may_end.acquire(timeout=SOON_S)
        return mine


def ask_for(shared: SharedByQuestion[str, str], question: str, found: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(shared.get(question)))
    thread.start()
    return thread


def askers(shared: SharedByQuestion[str, str], question: str) -> int:
    return shared._asked[question][1] if question in shared._asked else 0


def test_only_those_who_ask_the_same_question_share_a_reading() -> None:
    slow, of_a, of_b = SlowByQuestion(), list[str](), list[str]()
    shared = SharedByQuestion(slow.read)
    threads = [ask_for(shared, "a", of_a)]
    wait_until(lambda: slow.begun == ["a"], SOON_S, "the first reading")
    threads += [ask_for(shared, "a", of_a) for _ in range(3)]
    wait_until(lambda: askers(shared, "a") == 4, SOON_S, "three who wait for the next reading")
    threads.append(ask_for(shared, "b", of_b))
    wait_until(lambda: slow.begun == ["a", "b"], SOON_S, "a reading of the other question beside it")
    for _ in range(3):
        slow.may_end.release()
    for thread in threads:
        thread.join(SOON_S)
    assert (sorted(of_a), of_b) == (["a 1", "a 2", "a 2", "a 2"], ["b 1"])
    assert sorted(slow.begun) == ["a", "a", "b"]


def test_a_question_is_forgotten_with_its_last_asker_however_it_ended() -> None:
    def read(question: str) -> str:
        if question == "bad":
            raise ValueError(question)
        return question

    shared = SharedByQuestion(read)
    assert shared.get("good") == "good"
    with pytest.raises(ValueError, match="bad"):
        shared.get("bad")
    assert not shared._asked


def test_a_question_asked_again_later_is_read_again() -> None:
    slow = SlowByQuestion()
    shared = SharedByQuestion(slow.read)
    for expected in ("a 1", "a 2"):
        slow.may_end.release()
        assert shared.get("a") == expected
