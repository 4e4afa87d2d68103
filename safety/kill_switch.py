"""The kill switch: three latches, any of which halts, and what it takes to engage and to release them.

Engage commits the state *before* anybody reads who is sending, and a sender commits its order *before* it reads the state: at
least one of the two sees the other. So both are commits of their own, never part of somebody's transaction.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import Error, connection
from django.db.models import Q
from django.utils import timezone

from audit.log import OperatorEventRecord, record, unit
from audit.records import bounded
from safety import outage
from safety.intents import Level
from safety.kill_file import kill_file, write_kill_file
from safety.models import KillRun, Setting, TradingState
from safety.notifications import stops
from safety.scopes import GLOBAL, KILL_SETTING, SCOPE_PATTERN, UnknownScopeError, check_scope, scopes_of
from safety.signals import kill_switch_engaged, kill_switch_released, tell
from safety.states import Latch, StateBook, latch_of, local_latches, read_rows, read_state

__all__ = [
    "GLOBAL", "KILL_SETTING", "SCOPE_PATTERN", "EngageFailedError", "FlattenRefusedError", "Latch", "ReleaseRefusedError",
    "StateBook", "UnknownScopeError", "begin_flatten", "end_flatten", "engage", "engage_rows", "local_latches", "read_state",
    "release", "scopes_of", "tell_engaged",
]  # fmt: skip

log = logging.getLogger(__name__)

REASON_CHARS_MAX = 2_000
ACTOR_CHARS_MAX = 150
#: How long a flatten may go on.
FLATTEN_FOR = timedelta(minutes=2)
#: How long an engage waits for locks before it sets the file latch instead, in ms. SQLite queues all writers of its one host.
LOCK_MS_MAX = {"postgresql": 2_000, "sqlite": 5_000}


class ReleaseRefusedError(Exception):
    """The release was not done; the message names the latches that still hold."""


class FlattenRefusedError(Exception):
    """The flatten was not begun; the message says why."""


class EngageFailedError(Exception):
    """Neither the database nor the file latch could be written. The message says what halts this host all the same."""


@dataclass(frozen=True, slots=True)
class _Order:
    """One engagement as it was asked for."""

    level: Level
    scope: str
    reason: str
    actor: str
    cancel_resting: bool
    is_flatten: bool = False


def engage(level: Level, reason: str, *, actor: str, scope: str = GLOBAL, cancel_resting: bool = True) -> KillRun:
    """Raise ``scope`` to ``level``; a lower level never replaces a higher one. Nothing new is sent once this returns.

    The state, its audit row and the run commit in a transaction of their own. Then others are told, who cancel what rests; what
    comes of it is in ``kill_runs.progress(run)``. Without the database the file latch halts this host, whatever the scope, and
    ``kill_runs.is_host_only(run)`` says so. Raises RuntimeError inside a transaction, UnknownScopeError, ValueError
    for ``active``, and EngageFailedError when not even the file could be written.
    """
    started_s = time.monotonic()
    check_scope(scope)
    order = _order(level, scope, reason, actor, cancel_resting)
    try:
        run = _commit(order)
    except Error as error:
        outage.note_failure(error)
        log.exception("the database did not take the kill switch; this host is halted by its file")
        return _engage_file(order, started_s)
    return _told(run, started_s)


def engage_rows(level: Level, reason: str, *, actor: str, scope: str = GLOBAL) -> KillRun:
    """Engage as ``engage`` does, but in the database or not at all, and leave ``tell_engaged`` to the caller.

    Raises django.db.Error, and otherwise as ``engage`` does.
    """
    started_s = time.monotonic()
    check_scope(scope)
    return _timed(_commit(_order(level, scope, reason, actor, cancel_resting=True)), started_s)


def tell_engaged(run: KillRun) -> None:
    """Tell the others of an engagement that is committed; one that fails is logged."""
    tell(kill_switch_engaged, run=run)


def _order(level: Level, scope: str, reason: str, actor: str, cancel_resting: bool) -> _Order:
    if level == Level.ACTIVE:
        raise ValueError("Engaging never releases: a person does, with release().")
    return _Order(level, scope, bounded(reason, REASON_CHARS_MAX), bounded(actor, ACTOR_CHARS_MAX), cancel_resting)


def _commit(order: _Order) -> KillRun:
    """Commit the engagement; a connection that had gone stale is opened anew, once."""
    try:
        return _raise(order)
    except Error as error:
        if connection.in_atomic_block or _is_busy(error):
            raise
        connection.close()
        return _raise(order)


def _is_busy(error: Error) -> bool:
    """Return whether the database answers and others hold the lock: to wait once more would only take longer."""
    is_locked = connection.vendor == "sqlite" and "locked" in str(error)
    return is_locked or getattr(error.__cause__, "sqlstate", None) in outage.BUSY_STATES


def _raise(order: _Order) -> KillRun:
    with _short_waits(), unit():
        row = _locked(order.scope)
        return _raise_locked(row, order)


def _raise_locked(row: TradingState, order: _Order) -> KillRun:
    """Raise a locked state, with its audit row and its run, in the open unit."""
    before = latch_of(row.scope, row.level, row.reason).level
    holds = max(before, order.level, key=lambda one: one.rank)
    now = timezone.now()
    action = "kill_switch_flatten" if order.is_flatten else "kill_switch_engaged"
    _audit(action, row, holds, order.reason, order.actor)
    if holds != before:
        _save(row, holds, order.reason, order.actor, now)
    if holds != before or order.is_flatten:
        stops.tell_of_stop(holds, row.scope, order.reason, order.actor, is_flatten=order.is_flatten)
    if order.level == Level.HALTED:
        # The newer order of the two: who halts wants the flatten's orders stopped too.
        _stop_flattens(order.scope, now)
        if order.scope == GLOBAL:
            _set_setting("1")
    return KillRun.objects.create(
        scope=order.scope,
        level=holds if order.is_flatten else order.level,
        reason=order.reason,
        actor=order.actor,
        cancel_resting=order.cancel_resting,
        is_flatten=order.is_flatten,
        flatten_until=now + FLATTEN_FOR if order.is_flatten else None,
        engaged_at=now,
        updated_at=now,
    )


@contextmanager
def _short_waits() -> Iterator[None]:
    """Wait for locks no longer than an emergency can; SQLite's connection waits as long as ever afterwards."""
    limit_ms = LOCK_MS_MAX[connection.vendor]
    if connection.in_atomic_block:
        # The unit refuses to open in here, and says why.
        yield
        return
    pragma = "PRAGMA busy_timeout" if connection.vendor == "sqlite" else "SET lock_timeout"
    with connection.cursor() as cursor:
        cursor.execute(f"{pragma} = {limit_ms}")
    try:
        yield
    finally:
        if connection.connection is not None:
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute(f"{pragma} = {_usual_wait_ms()}")


def _usual_wait_ms() -> int:
    if connection.vendor == "sqlite":
        return int(float(connection.settings_dict["OPTIONS"].get("timeout", 5)) * 1000)
    return 10_000


def _told(run: KillRun, started_s: float) -> KillRun:
    tell_engaged(_timed(run, started_s))
    return run


def _timed(run: KillRun, started_s: float) -> KillRun:
    """Note how long it took until nothing new could be sent."""
    run.blocked_ms = _ms_since(started_s)
    try:
        KillRun.objects.filter(pk=run.pk).update(blocked_ms=run.blocked_ms)
    except Error as error:
        outage.note_failure(error)
        log.warning("the time that the kill switch took was not kept: %s", error)
    return run


def _engage_file(order: _Order, started_s: float) -> KillRun:
    now = timezone.now()
    try:
        write_kill_file(f"{order.reason} (asked for: {order.scope} {order.level.value})", actor=order.actor, now=now)
    except OSError as error:
        log.exception("the file latch could not be set")
        holds = "; ".join(latch.reason for latch in local_latches()) or "NOTHING halts this host"
        raise EngageFailedError(
            f"Neither the database nor {kill_file().name} could be written ({error}). What holds: {holds}. Stop the workers."
        ) from error
    run = KillRun(
        scope=GLOBAL,
        level=Level.HALTED,
        reason=order.reason,
        actor=order.actor,
        cancel_resting=order.cancel_resting,
        engaged_at=now,
        updated_at=now,
        blocked_ms=_ms_since(started_s),
    )
    tell(kill_switch_engaged, run=run)
    return run


def _ms_since(started_s: float) -> int:
    return round((time.monotonic() - started_s) * 1000)


def release(reason: str, *, actor: str, scope: str = GLOBAL) -> list[Latch]:
    """Set ``scope`` to active and return the latches that still hold. Only a person may release, and never without a reason.

    What a release brings about (entries held on live bots, new baselines) commits with it: receivers of ``kill_switch_released``
    run before the commit. Raises ReleaseRefusedError without a reason, or while the file or the variable of this host holds,
    UnknownScopeError, and RuntimeError inside a transaction.
    """
    check_scope(scope)
    if not reason.strip():
        raise ReleaseRefusedError("A release needs a reason.")
    if latches := local_latches():
        names = "; ".join(latch.reason for latch in latches)
        raise ReleaseRefusedError(f"Nothing was released, since these still hold: {names}. Remove them first.")
    with unit():
        row = _locked(scope)
        now = timezone.now()
        _audit("kill_switch_released", row, Level.ACTIVE, reason, actor)
        _save(row, Level.ACTIVE, reason, actor, now)
        if scope == GLOBAL:
            _set_setting("0")
        KillRun.objects.filter(scope=scope, ended_at__isnull=True, is_flatten=True).update(flatten_until=None)
        stops.tell_of_release(scope, reason, actor)
        kill_switch_released.send(sender=KillRun, scope=scope, reason=reason, actor=actor)
        held, _ = read_rows()
    scopes = dict.fromkeys([GLOBAL, KILL_SETTING, scope])
    return [held[name] for name in scopes if name in held and held[name].level.rank]


def begin_flatten(reason: str, *, actor: str, scope: str = GLOBAL) -> KillRun:
    """Raise ``scope`` to reducing at least, and let its flatten's own orders pass for two minutes. A person has confirmed it.

    Raises FlattenRefusedError without a reason, while one is under way in this scope, or while a latch of this host holds;
    UnknownScopeError, and RuntimeError inside a transaction.
    """
    started_s = time.monotonic()
    check_scope(scope)
    if not reason.strip():
        raise FlattenRefusedError("A flatten needs a reason.")
    if latches := local_latches():
        names = "; ".join(latch.reason for latch in latches)
        raise FlattenRefusedError(
            f"Nothing was sold: no order leaves this host while this holds: {names}. Remove it first; trading stays halted."
        )
    with _short_waits(), unit():
        row = _locked(scope)
        under_way = KillRun.objects.filter(scope=scope, is_flatten=True, ended_at__isnull=True)
        if under_way.filter(flatten_until__gt=timezone.now()).exists():
            raise FlattenRefusedError(f"A flatten of {scope} is under way already.")
        order = _order(Level.REDUCING, scope, reason, actor, cancel_resting=True)
        run = _raise_locked(row, replace(order, is_flatten=True))
    return _told(run, started_s)


def end_flatten(run_id: int, why: str) -> None:
    """Halt the scope of a flatten that is over, and let none of its orders pass from now on.

    One that a release or a halt has ended meanwhile is left as it is: what a person decided last holds.
    """
    scope = KillRun.objects.values_list("scope", flat=True).get(pk=run_id)
    with unit():
        row = _locked(scope)
        run = KillRun.objects.select_for_update().get(pk=run_id)
        if run.flatten_until is None or run.ended_at is not None:
            return
        before = latch_of(row.scope, row.level, row.reason).level
        _audit("kill_switch_flattened", row, Level.HALTED, why, "automatic")
        now = timezone.now()
        if before != Level.HALTED:
            _save(row, Level.HALTED, f"{run.reason} ({why})", run.actor, now)
        if scope == GLOBAL:
            _set_setting("1")
        run.level, run.flatten_until, run.drained_at, run.updated_at = Level.HALTED, None, None, now
        run.save(update_fields=["level", "flatten_until", "drained_at", "updated_at"])
        stops.tell_of_flatten_end(scope, why, run.actor)


def _stop_flattens(scope: str, now: datetime) -> None:
    """Let no order of a flatten pass any more in this scope; a halt of everything stops them all."""
    concerned = Q() if scope == GLOBAL else Q(scope=scope)
    under_way = KillRun.objects.filter(concerned, is_flatten=True, ended_at__isnull=True, flatten_until__isnull=False)
    under_way.update(flatten_until=None, level=Level.HALTED, drained_at=None, updated_at=now)


def _locked(scope: str) -> TradingState:
    """Return the scope's row, locked. One that is missing is made as it reads: halted for the global scope, else active."""
    rows = TradingState.objects.select_for_update().filter(scope=scope)
    found = rows.first()
    if found is None:
        level = Level.HALTED if scope == GLOBAL else Level.ACTIVE
        TradingState.objects.get_or_create(scope=scope, defaults={"level": level, "changed_at": timezone.now()})
        found = rows.get()
    return found


def _set_setting(value: str) -> None:
    """Keep the kill_switch setting telling the same as the global state, whose row is locked."""
    if not Setting.objects.filter(key=KILL_SETTING).update(value=value):
        Setting.objects.update_or_create(key=KILL_SETTING, defaults={"value": value})


def _save(row: TradingState, level: Level, reason: str, actor: str, now: datetime) -> None:
    row.level, row.changed_at = level, now
    row.reason, row.actor = bounded(reason, REASON_CHARS_MAX), bounded(actor, ACTOR_CHARS_MAX)
    row.save()


def _audit(action: str, row: TradingState, new: Level, reason: str, actor: str) -> None:
    record(
        OperatorEventRecord(actor=actor, action=action, object=row.scope, old=row.level, new=new.value, reason=reason)
    )
