"""What came of each engagement of the kill switch, kept up by whoever works on it, and told to pages, API and command.

Safety does not know orders: bots/clean_up.py does the work and notes it here. Several processes may note at once, and one that
dies loses nothing, since what is noted only ever grows: see ``note``.
"""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import Error, transaction

from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record, unit
from safety import outage
from safety.models import KillRun
from safety.scopes import GLOBAL
from safety.signals import kill_run_unfinished, tell
from safety.states import read_state

WAIT_S_MAX = 10.0
POLL_EVERY_S = 0.1
#: Runs that one look at the unfinished ones returns at most.
UNFINISHED_MAX = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """What came of one engagement so far. The lists are client order ids.

    ``in_flight`` may still trade: sends whose outcome is not known, and orders whose cancel the venue has not confirmed.
    ``cancel_failed`` are those of them that were asked to be cancelled in vain; they are asked again. ``is_drained``: no further
    order reaches any venue. ``is_done``: nothing is left to do. ``is_host_only``: the database did not answer, so the file latch
    was set, and only this host is halted so far.
    """

    run_id: int | None
    scope: str
    level: str
    state: str
    reason: str
    actor: str
    engaged_at: datetime
    blocked_ms: int | None
    is_drained: bool
    is_done: bool
    is_flatten: bool
    flatten_until: datetime | None
    is_host_only: bool
    in_flight: tuple[str, ...]
    canceled: tuple[str, ...]
    cancel_failed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer of the API: the state that holds now, and what was blocked, cancelled, failed and is in flight."""
        return {
            "state": self.state,
            "blocked_ms": self.blocked_ms,
            "drained": self.is_drained,
            "in_flight": list(self.in_flight),
            "canceled": list(self.canceled),
            "cancel_failed": list(self.cancel_failed),
        }


def is_host_only(run: KillRun) -> bool:
    """Return whether the engagement is only in this host's file latch, since the database did not answer."""
    return run.pk is None


def unfinished(scope: str | None = None) -> list[KillRun]:
    """Return the runs that still have something to do, oldest first. Raises django.db.Error."""
    rows = KillRun.objects.filter(ended_at__isnull=True).order_by("id")
    return list((rows if scope is None else rows.filter(scope=scope))[:UNFINISHED_MAX])


def latest(scope: str = GLOBAL) -> KillRun | None:
    """Return the last run of a scope, finished or not. Raises django.db.Error."""
    return KillRun.objects.filter(scope=scope).order_by("-id").first()


def progress(which: KillRun | str = GLOBAL) -> Progress | None:
    """Return what came of a run so far, or of the last run of a scope (None: there was none). Raises django.db.Error."""
    run = latest(which) if isinstance(which, str) else _fresh(which)
    return None if run is None else _progress(run)


def _fresh(run: KillRun) -> KillRun:
    return run if is_host_only(run) else KillRun.objects.get(pk=run.pk)


def _progress(run: KillRun) -> Progress:
    return Progress(
        run_id=run.pk,
        scope=run.scope,
        level=run.level,
        state=_state_of(run.scope),
        reason=run.reason,
        actor=run.actor,
        engaged_at=run.engaged_at,
        blocked_ms=run.blocked_ms,
        is_drained=run.drained_at is not None,
        is_done=run.ended_at is not None,
        is_flatten=run.is_flatten,
        flatten_until=run.flatten_until,
        is_host_only=is_host_only(run),
        in_flight=tuple(run.in_flight),
        canceled=tuple(run.canceled),
        cancel_failed=tuple(run.cancel_failed),
    )


def _state_of(scope: str) -> str:
    """Return the level that now binds a scope, by whatever latch."""
    kind, _, name = scope.partition(":")
    venue = name if kind == "venue" else None
    return read_state(venue, int(name) if kind == "bot" else None).level.value


def expect(run: KillRun, order_ids: Collection[str]) -> None:
    """Keep that these orders are about to be cancelled, so that a process that dies then leaves none untold."""
    if set(order_ids) <= set(run.in_flight):
        return
    with transaction.atomic():
        stored = KillRun.objects.select_for_update().get(pk=run.pk)
        if stored.ended_at is None:
            stored.in_flight = sorted({*stored.in_flight, *order_ids})
            stored.save(update_fields=["in_flight"])


def note(
    run_id: int,
    *,
    now: datetime,
    in_flight: Collection[str],
    failed: Collection[str],
    is_drained: bool,
    is_done: bool,
    canceled_of: Callable[[Collection[str]], Iterable[str]],
) -> KillRun:
    """Write how a run stands and return it. ``canceled_of`` says which of the orders that are in flight no longer were cancelled.

    The first who finds the run drained, or done, sets the time. A run that has ended stays as it is. The audit is told of the end
    where there was anything to wait for.
    """
    with transaction.atomic():
        run = KillRun.objects.select_for_update().get(pk=run_id)
        if run.ended_at is not None:
            return run
        before = (run.canceled, run.cancel_failed, run.in_flight, run.drained_at)
        gone = {*run.in_flight, *run.cancel_failed} - set(in_flight)
        run.canceled = sorted({*run.canceled, *(canceled_of(gone) if gone else ())})
        run.cancel_failed, run.in_flight = sorted(failed), sorted(in_flight)
        if is_drained:
            run.drained_at = run.drained_at or now
            run.ended_at = now if is_done else None
        if before != (run.canceled, run.cancel_failed, run.in_flight, run.drained_at) or run.ended_at is not None:
            run.updated_at = now
            run.save()
    if run.ended_at is not None and (run.canceled or before[2]):
        _audit_end(run)
    return run


def _audit_end(run: KillRun) -> None:
    """Tell the audit what came of the run in the end. A death just before it loses the row, and nothing else."""
    found = {"canceled": run.canceled, "drained_ms": _ms_to_drain(run)}
    with unit():
        record(
            OperatorEventRecord(
                actor="automatic", action="kill_switch_done", object=run.scope, old="", new=canonical_json(found),
                reason=f"everything that the halt by {run.actor} asked for is confirmed",
            )
        )  # fmt: skip


def _ms_to_drain(run: KillRun) -> int | None:
    return None if run.drained_at is None else round((run.drained_at - run.engaged_at).total_seconds() * 1000)


def wait_for_drain(run: KillRun, timeout_s: float = WAIT_S_MAX) -> Progress:
    """Help with a run until it is drained and each cancel was tried, or for ``timeout_s`` (10 s at most).

    Not inside a transaction. A cancel that was begun is seen through, so this may end a few seconds later.
    """
    if is_host_only(run):
        return _progress(run)
    until_s = time.monotonic() + min(timeout_s, WAIT_S_MAX)
    while True:
        work_on(run, until_s)
        try:
            found = progress(run)
        except Error as error:
            outage.note_failure(error)
            found = _progress(run)
        left_s = until_s - time.monotonic()
        if found is None or left_s <= 0 or (found.is_drained and set(found.in_flight) <= set(found.cancel_failed)):
            return found or _progress(run)
        time.sleep(min(POLL_EVERY_S, left_s))


def work_on(run: KillRun, until_s: float) -> None:
    """Have those who know orders do some of what is left of a run."""
    tell(kill_run_unfinished, run=run, until_s=until_s)
