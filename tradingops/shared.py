"""One reading for all who ask at the same time: what many ask for at once is read once, and nobody gets an old answer."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Shared(Generic[T]):
    """Calls ``read`` for its callers. Whoever asks gets a reading that began after the asking: nothing is kept for later."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._changed = threading.Condition()
        self._begun = 0
        self._is_reading = False
        #: The number of the last reading that came to its end, and what it found.
        self._found: tuple[int, T] | None = None

    def get(self) -> T:
        """Return a reading. Raises what ``read`` raises, to the one caller in whose thread it was called."""
        with self._changed:
            # The one that is under way may have looked before what the caller knows of.
            wanted = self._begun + 1
            while True:
                if self._found is not None and self._found[0] >= wanted:
                    return self._found[1]
                if not self._is_reading:
                    break
                self._changed.wait()
            self._is_reading = True
            self._begun += 1
            number = self._begun
        return self._lead(number)

    def _lead(self, number: int) -> T:
        try:
            found = self._read()
            with self._changed:
                self._found = (number, found)
            return found
        finally:
            with self._changed:
                self._is_reading = False
                self._changed.notify_all()


class SharedByQuestion(Generic[K, T]):
    """Calls ``read`` with each question, once for all who ask the same one at the same time.

    The reading must depend on the question only, never on who asks: who may ask is checked before.
    """

    def __init__(self, read: Callable[[K], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        #: What is asked just now, with how many ask it. A question that nobody asks any more is forgotten.
        self._asked: dict[K, tuple[Shared[T], int]] = {}

    def get(self, question: K) -> T:
        """Return a reading that began after the asking. Raises what ``read`` raises, to the one caller in whose thread it was."""
        with self._joined(question) as shared:
            return shared.get()

    @contextmanager
    def _joined(self, question: K) -> Iterator[Shared[T]]:
        with self._lock:
            shared, askers = self._asked.get(question) or (Shared(partial(self._read, question)), 0)
            self._asked[question] = (shared, askers + 1)
        try:
            yield shared
        finally:
            with self._lock:
                _, askers = self._asked[question]
                if askers == 1:
                    del self._asked[question]
                else:
                    self._asked[question] = (shared, askers - 1)
