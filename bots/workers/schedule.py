"""When bots are due. Pure: no clock, no database.

Due times lie on a grid: every ``poll_seconds``, shifted by a phase that is the bot's own, counted from the epoch. So
every worker computes the same due times, and a tick repeated after a takeover has the due time of the first try.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Multiples of the golden ratio's fraction spread the bots evenly over a period, however many there are.
_SPREAD = 618_033_989
_SPREAD_OF = 1_000_000_000


@dataclass(frozen=True, order=True)
class DueTick:
    """One bot's tick and the time it was due."""

    bot_id: int
    due_at: datetime


@dataclass(frozen=True)
class ScheduledBot:
    """A running bot. ``last_due_at`` is the due time of its last finished tick, None when it never ticked."""

    bot_id: int
    poll_seconds: int
    revision: int
    last_due_at: datetime | None = None


def latest_due(bot_id: int, poll_seconds: int, now: datetime) -> datetime:
    """Return the bot's latest due time that is not after ``now``."""
    period = poll_seconds * 1_000_000
    phase = period * (bot_id * _SPREAD % _SPREAD_OF) // _SPREAD_OF
    behind = ((now - _EPOCH) // _MICROSECOND - phase) % period
    return now - timedelta(microseconds=behind)


class Schedule:
    """A heap of due times. A bot that fell behind is due once, at its latest due time: never a burst."""

    def __init__(self) -> None:
        self._bots: dict[int, ScheduledBot] = {}
        self._next: dict[int, datetime] = {}
        self._heap: list[tuple[datetime, int]] = []
        #: How late the last ticks were taken, in seconds. A bot's first tick is planned for when the bot became known.
        self.lags_s: deque[float] = deque(maxlen=1000)

    def __len__(self) -> int:
        return len(self._bots)

    @property
    def bot_ids(self) -> frozenset[int]:
        """Return the bots that are scheduled."""
        return frozenset(self._bots)

    def replace(self, bots: Iterable[ScheduledBot], now: datetime) -> None:
        """Take this as the whole list of running bots; known bots keep their due times unless they poll differently.

        A due time further ahead than a period was planned before the clock was set back: the bot would wait until then.
        """
        wanted = {bot.bot_id: bot for bot in bots}
        self.forget(self._bots.keys() - wanted.keys())
        for bot_id, bot in wanted.items():
            known = self._bots.get(bot_id)
            self._bots[bot_id] = bot
            is_stranded = known is not None and self._next[bot_id] > now + timedelta(seconds=bot.poll_seconds)
            if known is None or known.poll_seconds != bot.poll_seconds or is_stranded:
                self._push(bot_id, _first_plan(bot, now))
        if len(self._heap) > 4 * len(self._bots) + 64:  # mostly entries of bots that left
            self._heap = [(due_at, bot_id) for bot_id, due_at in self._next.items()]
            heapq.heapify(self._heap)

    def forget(self, bot_ids: Iterable[int]) -> None:
        """Drop these bots and what is planned for them: another worker may have ticked them meanwhile."""
        for bot_id in bot_ids:
            if self._bots.pop(bot_id, None) is not None:
                del self._next[bot_id]

    def next_due(self) -> datetime | None:
        """Return when the next bot is due, or None when there is none."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime, limit: int) -> list[DueTick]:
        """Take up to ``limit`` bots that are due, the longest waiting first; each is next due after ``now``."""
        ticks: list[DueTick] = []
        while len(ticks) < limit:
            first = self.next_due()
            if first is None or first > now:
                break
            _, bot_id = heapq.heappop(self._heap)
            poll_seconds = self._bots[bot_id].poll_seconds
            due_at = latest_due(bot_id, poll_seconds, now)
            ticks.append(DueTick(bot_id, due_at))
            self.lags_s.append((now - first).total_seconds())
            self._push(bot_id, due_at + timedelta(seconds=poll_seconds))
        return ticks

    def put_back(self, ticks: Iterable[DueTick]) -> None:
        """Make these ticks due again: they did not happen."""
        for tick in ticks:
            if tick.bot_id in self._bots:
                self._push(tick.bot_id, tick.due_at)

    def _push(self, bot_id: int, due_at: datetime) -> None:
        self._next[bot_id] = due_at
        heapq.heappush(self._heap, (due_at, bot_id))

    def _drop_outdated(self) -> None:
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)


def _first_plan(bot: ScheduledBot, now: datetime) -> datetime:
    """Return when to tick a bot first: at once when its latest due time was not ticked, else at the next one."""
    latest = latest_due(bot.bot_id, bot.poll_seconds, now)
    if bot.last_due_at is not None and latest <= bot.last_due_at:
        return latest + timedelta(seconds=bot.poll_seconds)
    return now
