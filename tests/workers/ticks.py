"""A tick that writes down who ticked which bot when, in a table that refuses the same (bot, due time) twice."""

import os
import signal
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from django.db import connection, models, transaction
from django.utils import timezone

from bots.workers.leases import Fence, shard_of
from bots.workers.schedule import DueTick, ScheduledBot

BOTS = 32
POLL_S = 1


class TickNote(models.Model):
    """One tick. Not one of the console's tables: the tests make it in their throw-away databases."""

    objects: ClassVar[models.Manager["TickNote"]] = models.Manager()

    bot_id = models.BigIntegerField()
    due_at = models.DateTimeField()
    holder = models.CharField(max_length=100)
    token = models.CharField(max_length=400)
    pid = models.PositiveIntegerField()
    ticked_at = models.DateTimeField()

    class Meta:
        app_label = "worker_tests"
        db_table = "tick_notes"
        managed = False
        constraints = [models.UniqueConstraint(fields=["bot_id", "due_at"], name="tick_notes_once")]


def create_table() -> None:
    """Make the table in the current database."""
    with connection.schema_editor() as editor:
        editor.create_model(TickNote)


def load_schedule(shards: Collection[int], shard_count: int) -> list[ScheduledBot]:
    """Return the bots of these shards, with the last due time that was noted."""
    last = dict(TickNote.objects.values_list("bot_id").annotate(models.Max("due_at")))
    mine = [bot_id for bot_id in range(1, BOTS + 1) if shard_of(bot_id) in shards]
    return [ScheduledBot(bot_id, POLL_S, 1, last.get(bot_id)) for bot_id in mine]


def record_tick(ticks: Sequence[DueTick], fence: Fence, now: datetime) -> None:
    """Note these ticks in one transaction, behind the fence.

    TEST_TICK_TAKES_S makes it slow. Who finds the file TEST_FREEZE_FILE takes it and freezes. Both before the write.
    """
    time.sleep(float(os.environ.get("TEST_TICK_TAKES_S", "0")))
    if "TEST_FREEZE_FILE" in os.environ and _take(Path(os.environ["TEST_FREEZE_FILE"])):
        os.kill(os.getpid(), signal.SIGSTOP)
    with transaction.atomic():
        TickNote.objects.bulk_create(
            TickNote(
                bot_id=tick.bot_id,
                due_at=tick.due_at,
                holder=fence.holder,
                token=fence.token,
                pid=os.getpid(),
                ticked_at=timezone.now(),
            )
            for tick in ticks
        )
        fence.check()


def overrun() -> None:
    """A task that takes longer than its timeout."""
    time.sleep(60)


def freeze() -> None:
    """A task whose process freezes, so that no alarm reaches it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _take(path: Path) -> bool:
    """Rename the file to one with this process's id, which tells the test who froze."""
    try:
        path.rename(path.with_suffix(f".{os.getpid()}"))
    except FileNotFoundError:
        return False
    return True
