"""The only writer of audit rows: they commit with the change they tell of, or neither does.

    with unit() as u:
        with u.savepoint():
            order.save()
            record(OrderEventRecord(...))

Rows wait in the unit and are chained and inserted at its end, so that the heads of the chains are locked last and briefly.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from audit.insert import append_rows
from audit.records import OperatorEventRecord, OrderEventRecord, Prepared, prepare_operator_event, prepare_order_event

__all__ = [
    "AuditUnitError",
    "OperatorEventRecord",
    "OrderEventRecord",
    "Unit",
    "current_unit",
    "joined_unit",
    "record",
    "unit",
]

HOOKS_MAX = 1_000
ROWS_MAX = 100_000


class AuditUnitError(RuntimeError):
    """Raised when a row is recorded, or a unit opened, where it could not commit together with its change."""


class Unit:
    """One transaction and the audit rows that commit with it. Made by ``unit()``; belongs to the thread that opened it."""

    def __init__(self) -> None:
        self._rows: list[Prepared] = []
        self._hooks: list[Callable[[], object]] = []
        self._savepoints_open = _savepoints()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Open a savepoint. When it is rolled back, its rows and hooks are dropped too; an exception goes on to the caller."""
        rows_before, hooks_before = len(self._rows), len(self._hooks)
        savepoints_before = self._savepoints_open
        kept = False
        try:
            with transaction.atomic():
                self._savepoints_open = _savepoints()
                yield
                kept = not transaction.get_rollback()
        except BaseException:
            kept = False
            raise
        finally:
            self._savepoints_open = savepoints_before
            if not kept:
                del self._rows[rows_before:]
                del self._hooks[hooks_before:]

    def before_commit(self, hook: Callable[[], object]) -> None:
        """Have ``hook`` called at the end of the unit, before its rows are written. If it raises, everything is rolled back."""
        if len(self._hooks) >= HOOKS_MAX:
            raise AuditUnitError(f"more than {HOOKS_MAX} hooks in one unit")
        self._hooks.append(hook)

    def _record(self, row: Prepared) -> None:
        # A plain atomic() inside the unit could be rolled back and leave its rows in the buffer, telling of what never happened.
        if _savepoints() != self._savepoints_open:
            raise AuditUnitError("record() inside a plain atomic() of a unit: use the unit's savepoint() instead")
        if len(self._rows) >= ROWS_MAX:
            raise AuditUnitError(f"more than {ROWS_MAX} audit rows in one unit")
        self._rows.append(row)

    def _finish(self) -> None:
        done = 0
        while done < len(self._hooks):  # a hook may add another; before_commit bounds their number
            self._hooks[done]()
            done += 1
        append_rows(connection, self._rows)


_current = threading.local()  # a connection belongs to a thread, so its unit does too


def _savepoints() -> int:
    """Return how many savepoints are open; an atomic() that shares its parent's (None) rolls back with it."""
    return sum(sid is not None for sid in connection.savepoint_ids)


def current_unit() -> Unit | None:
    """Return the unit that is open in this thread, if any."""
    return getattr(_current, "unit", None)


@contextmanager
def unit() -> Iterator[Unit]:
    """Open a transaction that really commits, with its audit rows: on an exception neither rows nor changes stay.

    Raises AuditUnitError inside another unit, and RuntimeError inside any other open atomic block.
    """
    if current_unit() is not None:
        raise AuditUnitError("a unit is open already in this thread: use joined_unit()")
    with transaction.atomic(durable=True):
        opened = Unit()
        _current.unit = opened
        try:
            yield opened
            if not transaction.get_rollback():
                opened._finish()
        finally:
            _current.unit = None


@contextmanager
def joined_unit() -> Iterator[Unit]:
    """Give the unit that is open in this thread, or open one for the length of the block."""
    joined = current_unit()
    if joined is not None:
        yield joined
        return
    with unit() as opened:
        yield opened


def record(event: OrderEventRecord | OperatorEventRecord) -> None:
    """Add one audit row to the open unit; it is written when the unit commits.

    Raises AuditUnitError outside a unit, ValueError or TypeError when the row can't be kept exactly.
    """
    open_unit = current_unit()
    if open_unit is None:
        raise AuditUnitError("record() outside a unit: open one with audit.log.unit()")
    open_unit._record(
        prepare_order_event(event) if isinstance(event, OrderEventRecord) else prepare_operator_event(event)
    )
