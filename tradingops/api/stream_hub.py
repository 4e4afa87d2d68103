"""Who listens to event streams in this process, and the one thread that reads the news for all of them.

A listener costs a thread of the server, so there is a bound on them, which leaves threads for everybody else: the kill switch
must find one free. Between two looks the reader holds neither a connection to the database nor a transaction.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import Error, connections

from tradingops.api.stream_rows import BOT, SAFETY, Bots, News, Place, heads, order_news, safety_news

log = logging.getLogger(__name__)

#: Of one web process; gunicorn.conf.py has twice as many threads. And of one caller in it.
LISTENERS_MAX = 6
LISTENERS_OF_CALLER_MAX = 3
LOOK_EVERY_S = 1.0
#: How often each listener is asked whether it still may listen.
CHECK_EVERY_S = 5.0
#: What a listener may lag behind before it is let go; it comes back with its last id and misses nothing.
NEWS_KEPT_MAX = 5_000
#: After so many news at once the reader lets the listeners catch up, and how long it waits for those that lag far behind.
NEWS_AT_ONCE_MAX = 500
CATCH_UP_WITHIN_S = 0.5
#: Of a listener that was admitted, and whose answer was never begun.
BEGIN_WITHIN_S = 30.0
#: How long the database may be silent before the listeners are told to come back later.
SILENCE_S_MAX = 30.0

NOT_ALLOWED, TOO_SLOW, NO_DATABASE, RESTARTING, FAILED = (
    "not_allowed",
    "too_slow",
    "no_database",
    "restarting",
    "failed",
)


class FullError(Exception):
    """No further stream is possible now. ``is_callers``: this caller has as many as one may have."""

    def __init__(self, *, is_callers: bool) -> None:
        super().__init__("too many event streams")
        self.is_callers = is_callers


@dataclass(eq=False)
class Listener:
    """One stream. ``place`` is how far it has come; ``ended`` is why it has to end, once it has to."""

    caller: str
    place: Place
    still_allowed: Callable[[], bool]
    ended: str = ""
    next_index: int | None = None
    admitted_s: float = field(default_factory=time.monotonic)
    checked_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listener finds when it begins: how far the hub has come, and how everything stands."""

    upto: Place
    standing: list[News]


class Hub:
    """The listeners of this process and the news of late. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._listeners: set[Listener] = set()
        self._reader: threading.Thread | None = None
        self._is_stopping: Callable[[], bool] = lambda: False
        self._forget()

    def _forget(self) -> None:
        self._news: deque[News] = deque(maxlen=NEWS_KEPT_MAX)
        #: The number of the next news, counted from the reader's start.
        self._next_index = 0
        self._place: Place | None = None
        self._bots = Bots()
        self._safety: News | None = None
        self._standing: dict[int, News] = {}

    @property
    def count(self) -> int:
        """Return how many listen."""
        return len(self._listeners)

    def stop_when(self, is_stopping: Callable[[], bool]) -> None:
        """Have every stream end when this says that the process ends."""
        self._is_stopping = is_stopping

    def admit(self, listener: Listener) -> None:
        """Count a listener in, until ``leave``. Raises FullError."""
        with self._changed:
            if sum(one.caller == listener.caller for one in self._listeners) >= LISTENERS_OF_CALLER_MAX:
                raise FullError(is_callers=True)
            if len(self._listeners) >= LISTENERS_MAX:
                raise FullError(is_callers=False)
            self._listeners.add(listener)
            if self._reader is None:
                self._forget()
                self._reader = threading.Thread(target=self._read_on, name="event streams", daemon=True)
                self._reader.start()

    def leave(self, listener: Listener) -> None:
        """Count a listener out. Again changes nothing."""
        with self._changed:
            self._listeners.discard(listener)
            self._changed.notify_all()

    def enter(self, listener: Listener, timeout_s: float) -> Entry | None:
        """Wait until the reader knows how things stand, and begin to listen there. None: it took too long, or it has to end."""
        with self._changed:
            self._changed.wait_for(lambda: listener.ended or self._place is not None, timeout_s)
            if listener.ended or self._safety is None or self._place is None:
                return None
            listener.next_index = self._next_index
            return Entry(self._place, [self._safety, *self._standing.values()])

    def news_for(self, listener: Listener, news_max: int, timeout_s: float) -> list[News]:
        """Return the next news, an empty list when there is none in time. A listener that fell too far behind has to end."""
        with self._changed:
            if listener.next_index is None:
                raise RuntimeError("enter() comes first")
            begin = listener.next_index
            self._changed.wait_for(lambda: listener.ended or self._next_index > begin, timeout_s)
            oldest = self._next_index - len(self._news)
            if begin < oldest:
                listener.ended = listener.ended or TOO_SLOW
            if listener.ended:
                return []
            end = min(self._next_index, begin + news_max)
            listener.next_index = end
            self._changed.notify_all()
            return [self._news[index - oldest] for index in range(begin, end)]

    def _read_on(self) -> None:
        """Be the reader until nobody listens any more."""
        why = FAILED
        try:
            why = self._look_around()
        finally:
            # Whatever went wrong, nobody goes on listening to silence.
            with self._changed:
                if self._reader is threading.current_thread():
                    self._reader = None
                self._end_all(why)

    def _look_around(self) -> str:
        answered_s = time.monotonic()
        while not self._is_stopping():
            try:
                self._look()
                answered_s = time.monotonic()
            except Error as error:
                log.warning("event streams: the database does not answer: %s", type(error).__name__)
            finally:
                connections.close_all()
            if time.monotonic() - answered_s > SILENCE_S_MAX:
                return NO_DATABASE
            with self._changed:
                self._changed.wait_for(lambda: not self._listeners, LOOK_EVERY_S)
                if not self._listeners:
                    # Nobody was admitted between this look and the end: both hold the lock.
                    self._reader = None
                    return ""
        return RESTARTING

    def _look(self) -> None:
        """Read what is new and tell it; then ask some listeners whether they still may listen."""
        place, safety, bots = heads(), safety_news(), self._bots.changes()
        is_new = self._safety is None or self._safety.data != safety.data
        for news in [*([safety] if is_new else []), *bots]:
            self._tell(news)
        if self._place is not None:
            for told, news in enumerate(order_news(self._place, place), start=1):
                self._tell(news)
                if told % NEWS_AT_ONCE_MAX == 0:
                    self._let_catch_up()
        with self._changed:
            # A row that somebody took away is not looked for again and again.
            self._place = place
            self._changed.notify_all()
        self._check()

    def _tell(self, news: News) -> None:
        with self._changed:
            self._news.append(news)
            self._next_index += 1
            if news.kind == SAFETY:
                self._safety = news
            elif news.kind == BOT and news.bot_id is not None:
                self._standing[news.bot_id] = news
            elif self._place is not None:
                # At once, and not when all are told: after an error in between none is told twice.
                self._place = self._place.after(news)

    def _let_catch_up(self) -> None:
        """Wait a moment for the listeners that lag by more than half of what is kept: a burst must not throw everybody off."""
        with self._changed:
            self._changed.notify_all()
            oldest = self._next_index - NEWS_KEPT_MAX // 2
            self._changed.wait_for(
                lambda: all((one.next_index or oldest) >= oldest or one.ended for one in self._listeners),
                CATCH_UP_WITHIN_S,
            )

    def _check(self) -> None:
        now_s = time.monotonic()
        for listener in list(self._listeners):
            if listener.next_index is None and now_s - listener.admitted_s > BEGIN_WITHIN_S:
                self.leave(listener)
            elif now_s - listener.checked_s >= CHECK_EVERY_S:
                listener.checked_s = now_s
                if not listener.still_allowed():
                    self._end(listener, NOT_ALLOWED)

    def _end(self, listener: Listener, why: str) -> None:
        with self._changed:
            listener.ended = listener.ended or why
            self._changed.notify_all()

    def _end_all(self, why: str) -> None:
        # Those that came after a reader had nobody left have a reader of their own.
        for listener in self._listeners if why else ():
            listener.ended = listener.ended or why
        self._changed.notify_all()


hub = Hub()
