"""Shifts: tasks with a bounded life that hand over to a successor, and the one that ticks the bots."""

import logging
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.utils import timezone
from django.utils.module_loading import import_string

from bots.models.worker import WorkerKind
from bots.workers.heartbeats import BEAT_EVERY_S, Heart, live
from bots.workers.leases import SHARD_COUNT, Fence, LeaseHolder, LeaseLost, shard_lease, shard_of
from bots.workers.process import rest, stopping
from bots.workers.schedule import DueTick, Schedule, ScheduledBot
from bots.workers.watchdog import top_up, wanted_per_cluster
from safety import outage
from safety.latches import copy_to_row

log = logging.getLogger(__name__)

#: How many bots tick in one transaction.
BATCH_MAX = 64
RENEW_EVERY_S = 1.5
SHARE_EVERY_S = 0.5
RELOAD_EVERY_S = 1.0
TOP_UP_EVERY_S = 3.0
#: The longest and the shortest rest between two rounds, in seconds. A short rest makes fuller batches.
REST_MAX_S = 0.25
REST_MIN_S = 0.05
BACKOFF_MAX_S = 5.0


class TickBatch(Protocol):
    """Ticks these bots. It calls ``fence.check`` last in each of its transactions."""

    def __call__(self, ticks: Sequence[DueTick], fence: Fence, now: datetime) -> None: ...


class LoadSchedule(Protocol):
    """Returns the running bots of these shards."""

    def __call__(self, shards: Collection[int], shard_count: int) -> list[ScheduledBot]: ...


def tick_path() -> str:
    """Return the dotted path of the function that ticks a batch of bots."""
    return str(getattr(settings, "RUNNER_TICK", "bots.tick.tick_batch"))


def schedule_path() -> str:
    """Return the dotted path of the function that lists the running bots."""
    return str(getattr(settings, "RUNNER_SCHEDULE", "bots.tick.load_schedule"))


class Every:
    """Says when something is to be done again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._after_s = 0.0

    def due(self) -> bool:
        """Return whether it is time; if so the next time is set."""
        if time.monotonic() < self._after_s:
            return False
        self._after_s = time.monotonic() + self._seconds
        return True

    def now(self) -> None:
        """Make it due at once."""
        self._after_s = 0.0


class Shift:
    """A task that works in rounds until its life is over or a stop is asked for, and then hands over."""

    def __init__(self, kind: WorkerKind, leases: LeaseHolder, heart: Heart, life_s: float) -> None:
        self.kind = kind
        self.leases = leases
        self.heart = heart
        self.last_error = ""
        self._ends_s = time.monotonic() + life_s
        self._failures, self._worked = 0, False
        self._beat, self._top_up, self._look_around = Every(BEAT_EVERY_S), Every(TOP_UP_EVERY_S), Every(TOP_UP_EVERY_S)

    def run(self) -> str:
        """Work until the end of this shift; return why it ended."""
        try:
            self.heart.beat()
            while not stopping() and time.monotonic() < self._ends_s:
                # Asked again now and then: two that began in the same moment may both have seen nobody else.
                if self._look_around.due() and self._is_surplus():
                    return "not needed here"
                self._worked = True
                self._guarded_round()
                rest(self.rest_s())
        finally:
            self._hand_over()
        return "stopped" if stopping() else "handed over"

    def round(self) -> None:
        """Do what is due now."""
        raise NotImplementedError

    def rest_s(self) -> float:
        """Return how long to rest before the next round."""
        return REST_MAX_S

    def shown(self) -> dict[str, Any]:
        """Return what the heartbeat's row says of this shift."""
        return {"last_error": self.last_error}

    def keep_up(self) -> None:
        """Write the heartbeat, look after the other shifts and after this host's latches, each when it is time."""
        copy_to_row()
        if self._beat.due():
            shards = [int(name.partition(":")[2]) for name in self.leases.names if name.startswith("shard:")]
            self.heart.beat(shards=shards, details=self.shown())
        if self._top_up.due():
            top_up()

    def failed(self, error: Exception) -> None:
        """Keep an error for the page and rest, longer with each failure in a row."""
        self.last_error = f"{type(error).__name__}: {error}"[:500]
        self._failures = min(self._failures + 1, 8)
        rest(min(0.1 * 2**self._failures, BACKOFF_MAX_S))

    def _is_surplus(self) -> bool:
        """Return whether this cluster carries enough shifts of this kind: it took one that another host waits for.

        Its free workers are for other tasks. The watchdog queues the shift again.
        """
        mine = live(self.kind).filter(cluster_id=self.heart.cluster_id).order_by("started_at", "worker_id")
        try:
            return self.heart.worker_id in list(mine.values_list("pk", flat=True))[wanted_per_cluster(self.kind) :]
        except (DatabaseError, InterfaceError):
            connections.close_all()
            return False

    def _guarded_round(self) -> None:
        try:
            self.keep_up()
            self.round()
            self._failures = 0
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s shift: database: %s", self.kind, error)
            outage.note_failure(error)
            connections.close_all()
            self.failed(error)
        except Exception as error:  # the shift must outlive any fault of the code it runs
            log.exception("%s shift: a round failed", self.kind)
            self.failed(error)

    def _hand_over(self) -> None:
        """Queue the successor unless all is stopping, then give the leases back: another takes over at once."""
        try:
            if stopping() or not self._worked:
                self.heart.stop()
            else:
                self.heart.hand_over()
                top_up()
            self.leases.release()
        except (DatabaseError, InterfaceError) as error:
            log.warning("%s shift: leases not given back, they run out: %s", self.kind, error)
            connections.close_all()


class Runner(Shift):
    """The shift that ticks bots: those of the shards it holds, when they are due."""

    def __init__(
        self,
        *,
        cluster_id: str,
        life_s: float,
        tick_batch: TickBatch,
        load_schedule: LoadSchedule,
        batch_max: int = BATCH_MAX,
    ) -> None:
        heart = Heart(WorkerKind.RUNNER, cluster_id=cluster_id)
        super().__init__(WorkerKind.RUNNER, LeaseHolder(heart.worker_id), heart, life_s)
        self._tick_batch, self._load_schedule = tick_batch, load_schedule
        self._schedule = Schedule()
        self._batch_max = batch_max
        self._suspects: set[int] = set()
        self._renew, self._share, self._reload = Every(RENEW_EVERY_S), Every(SHARE_EVERY_S), Every(RELOAD_EVERY_S)
        self._ticks = 0

    @property
    def shards(self) -> list[int]:
        """Return the shards held now."""
        return [shard for shard in range(SHARD_COUNT) if shard_lease(shard) in self.leases.names]

    def round(self) -> None:
        """Look after the leases, reload the schedule, tick what is due."""
        self._look_after_leases()
        if self._reload.due():
            self._schedule.replace(self._load_schedule(self.shards, SHARD_COUNT) if self.shards else [], timezone.now())
        self._tick_due()

    def rest_s(self) -> float:
        """Return the time to the next due bot, within bounds."""
        due_at = self._schedule.next_due()
        if due_at is None:
            return REST_MAX_S
        return min(REST_MAX_S, max(REST_MIN_S, (due_at - timezone.now()).total_seconds()))

    def shown(self) -> dict[str, Any]:
        """Return the ticks so far and how late the last thousand were, in milliseconds."""
        lags_ms = sorted(round(lag_s * 1000, 1) for lag_s in self._schedule.lags_s)
        lag = {"lag_ms_p99": lags_ms[int(len(lags_ms) * 0.99)], "lag_ms_max": lags_ms[-1]} if lags_ms else {}
        return super().shown() | {"bots": len(self._schedule), "ticks": self._ticks} | lag

    def _look_after_leases(self) -> None:
        before = self.leases.epochs
        if self._renew.due():
            lost = self.leases.renew()
            if lost:
                log.warning("%s lost %s", self.heart.worker_id, ", ".join(sorted(lost)))
        if self._share.due():
            self._take_fair_share()
        now = self.leases.epochs
        changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        if changed:
            self._schedule.forget(bot for bot in self._schedule.bot_ids if shard_lease(shard_of(bot)) in changed)
            self._reload.now()

    def _take_fair_share(self) -> None:
        """Claim free shards up to this runner's share, and give back what is above it."""
        others = live(WorkerKind.RUNNER).exclude(pk=self.heart.worker_id).count()
        share = -(-SHARD_COUNT // (others + 1))
        held = self.shards
        if len(held) > share:
            self.leases.release(map(shard_lease, held[share:]))
        elif len(held) < share:
            self.leases.claim([shard_lease(shard) for shard in range(SHARD_COUNT)], share - len(held))

    def _tick_due(self) -> None:
        """Tick every bot that is due now, in batches; leave early for a stop, or when the leases need renewing."""
        rounds_end_s = time.monotonic() + RENEW_EVERY_S / 2
        while not stopping() and time.monotonic() < rounds_end_s:
            now = timezone.now()
            parts = self._parts(self._schedule.pop_due(now, self._batch_max))
            if not parts:
                return
            try:
                while parts and not stopping():
                    self._tick(parts.pop(0), now)
            finally:
                self._schedule.put_back(tick for part in parts for tick in part)

    def _parts(self, ticks: list[DueTick]) -> list[list[DueTick]]:
        """Return the bots that tick together, and each that was in a batch that failed on its own."""
        together = [tick for tick in ticks if tick.bot_id not in self._suspects]
        alone = [[tick] for tick in ticks if tick.bot_id in self._suspects]
        return [together, *alone] if together else alone

    def _tick(self, ticks: list[DueTick], now: datetime) -> None:
        try:
            fence = self.leases.fence().narrowed({shard_lease(shard_of(tick.bot_id)) for tick in ticks})
            self._tick_batch(ticks, fence, now)
        except LeaseLost as lost:
            log.warning("nothing written: %s", lost)
            self._give_up_lost(ticks)
            return
        except (OperationalError, InterfaceError):
            # The database's fault, not a bot's: due again when the round's rest is over.
            self._schedule.put_back(ticks)
            raise
        except Exception:
            self._suspect(ticks)
            raise
        self._suspects.difference_update(tick.bot_id for tick in ticks)
        self._ticks += len(ticks)

    def _give_up_lost(self, ticks: list[DueTick]) -> None:
        """Learn which leases are left; the bots under those are due again."""
        self.leases.renew()
        self._share.now()
        self._reload.now()
        self._schedule.put_back(tick for tick in ticks if shard_lease(shard_of(tick.bot_id)) in self.leases.names)

    def _suspect(self, ticks: list[DueTick]) -> None:
        """Let each bot of a failed batch tick alone, so that a bad one holds up nobody; one that fails alone waits."""
        self._suspects = (self._suspects | {tick.bot_id for tick in ticks}) & self._schedule.bot_ids
        if len(ticks) > 1:
            self._schedule.put_back(ticks)


def runner_from_settings(cluster_id: str, life_s: float) -> Runner:
    """Return a runner with the tick and the schedule that the settings name."""
    return Runner(
        cluster_id=cluster_id,
        life_s=life_s,
        tick_batch=import_string(tick_path()),
        load_schedule=import_string(schedule_path()),
    )
