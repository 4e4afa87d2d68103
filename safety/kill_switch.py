"""The kill switch: three latches, any of which halts, and what it takes to engage and to release them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from audit.log import OperatorEventRecord, joined_unit, record
from safety.controls.base import StateReading
from safety.intents import Level
from safety.models import Setting, TradingState

GLOBAL = "global"
KILL_SETTING = "kill_switch"
# As scopes_of() writes them: a scope that is spelt otherwise would bind nothing.
SCOPE_PATTERN = re.compile(r"global|venue:[a-z0-9_-]+|bot:[1-9][0-9]*", re.ASCII)


class UnknownScopeError(ValueError):
    """There is no such scope, so engaging it would stop nothing."""


class ReleaseRefusedError(Exception):
    """The release was not done; the message names the latches that still hold."""


@dataclass(frozen=True, slots=True)
class Latch:
    """One thing that holds trading back, and why."""

    source: str
    level: Level
    reason: str


class StateBook:
    """Every latch as it stood at one moment, to be asked for many bots. Read anew for each batch, never kept."""

    def __init__(self, local: list[Latch], rows: dict[str, Latch]) -> None:
        self._local = local
        self._rows = rows

    @classmethod
    def read(cls) -> "StateBook":
        """Read the latches of this host and of the database. What cannot be read counts as halted."""
        local = local_latches()
        try:
            return cls(local, _row_latches())
        except Error:
            reason = "the trading state cannot be read from the database"
            return cls([*local, Latch("database", Level.HALTED, reason)], {})

    def reading(self, venue: str | None = None, bot_id: int | None = None) -> StateReading:
        """Return the state that binds an order of this bot at this venue: the strictest latch wins."""
        scoped = [self._rows[scope] for scope in scopes_of(venue, bot_id) if scope in self._rows]
        latches = [*self._local, *scoped]
        level = max((latch.level for latch in latches), key=lambda one: one.rank, default=Level.ACTIVE)
        return StateReading(level, tuple(latch.reason for latch in latches if latch.level == level and level.rank))


def read_state(venue: str | None = None, bot_id: int | None = None) -> StateReading:
    """Return the trading state for a venue and a bot (or the global one), read now."""
    return StateBook.read().reading(venue, bot_id)


def scopes_of(venue: str | None, bot_id: int | None) -> list[str]:
    """Return the scopes whose state binds an order of this bot at this venue."""
    scopes = [GLOBAL, KILL_SETTING]
    if venue is not None:
        scopes.append(f"venue:{venue}")
    if bot_id is not None:
        scopes.append(f"bot:{bot_id}")
    return scopes


def local_latches() -> list[Latch]:
    """Return what halts this host by itself: the file var/KILL and the KILL_SWITCH variable."""
    latches = []
    if reason := _file_reason(Path(settings.KILL_FILE)):
        latches.append(Latch("file", Level.HALTED, reason))
    if settings.ENVIRONMENT.kill_switch_engaged:
        latches.append(Latch("environment", Level.HALTED, "KILL_SWITCH is set in the environment"))
    return latches


def _file_reason(path: Path) -> str:
    """Return why the file latch halts, or an empty text. Whatever has its name counts, a broken link too.

    Not Path.exists(): it answers False to several errors, and from Python 3.14 on to all of them.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        # In a directory that is gone nobody can set the latch, and one that was set is lost.
        return "" if path.parent.is_dir() else f"the directory {path.parent.name}/ of the file {path.name} is missing"
    except OSError:
        return f"the file {path.name} cannot be looked for"
    return f"the file {path.name} exists in {path.parent.name}/"


# Read before every order: one plain statement costs a third of what two query sets do.
_LATCHES_SQL = (
    "SELECT scope, level, reason FROM trading_states"
    " UNION ALL SELECT 'kill_switch', value, '' FROM settings WHERE key = 'kill_switch'"
)


def _row_latches() -> dict[str, Latch]:
    """Return the latches of the database by scope; the kill_switch setting is a scope of its own."""
    with connection.cursor() as cursor:
        cursor.execute(_LATCHES_SQL)
        rows = {str(scope): (str(value), str(reason)) for scope, value, reason in cursor.fetchall()}
    setting = rows.pop(KILL_SETTING, None)
    latches = {scope: _latch_of(scope, level, reason) for scope, (level, reason) in rows.items()}
    if GLOBAL not in latches:
        latches[GLOBAL] = Latch(GLOBAL, Level.HALTED, "the global trading state is missing")
    if setting is None:
        latches[KILL_SETTING] = Latch(KILL_SETTING, Level.HALTED, "the kill_switch setting is missing")
    elif setting[0].strip() != "0":
        latches[KILL_SETTING] = Latch(KILL_SETTING, Level.HALTED, "the kill_switch setting is on")
    return latches


def _latch_of(scope: str, value: str, reason: str) -> Latch:
    level = Level(value) if value in Level.values else Level.HALTED
    return Latch(scope, level, reason or f"{scope} is {value}")


def engage(level: Level, reason: str, *, actor: str, scope: str = GLOBAL) -> Level:
    """Raise ``scope`` to ``level`` and return the level that now holds there. A lower level never replaces a higher one.

    Who asked is audited, also when the scope was that strict before. Raises UnknownScopeError.
    """
    with joined_unit():
        row = _locked(scope)
        before = _latch_of(scope, row.level, row.reason).level
        holds = max(before, level, key=lambda one: one.rank)
        _audit("kill_switch_engaged", row, holds, reason, actor)
        if holds != before:
            _save(row, holds, reason, actor)
        if scope == GLOBAL and level == Level.HALTED:
            Setting.objects.update_or_create(key=KILL_SETTING, defaults={"value": "1"})
        return holds


def release(reason: str, *, actor: str, scope: str = GLOBAL) -> list[Latch]:
    """Set ``scope`` to active and return the latches that still hold. Only a person may release, and never without a reason.

    Raises ReleaseRefusedError without a reason, or while the file or the variable of this host holds, and UnknownScopeError.
    """
    if not reason.strip():
        raise ReleaseRefusedError("A release needs a reason.")
    if latches := local_latches():
        names = "; ".join(latch.reason for latch in latches)
        raise ReleaseRefusedError(f"Nothing was released, since these still hold: {names}. Remove them first.")
    with joined_unit():
        row = _locked(scope)
        _audit("kill_switch_released", row, Level.ACTIVE, reason, actor)
        _save(row, Level.ACTIVE, reason, actor)
        if scope == GLOBAL:
            Setting.objects.update_or_create(key=KILL_SETTING, defaults={"value": "0"})
        held = _row_latches()
        scopes = dict.fromkeys([GLOBAL, KILL_SETTING, scope])
        return [held[name] for name in scopes if name in held and held[name].level.rank]


def _locked(scope: str) -> TradingState:
    """Return the scope's row, locked. One that is missing is made as it reads: halted for the global scope, else active."""
    if not SCOPE_PATTERN.fullmatch(scope):
        raise UnknownScopeError(f"There is no scope {scope!r}: write global, venue:NAME or bot:ID.")
    level = Level.HALTED if scope == GLOBAL else Level.ACTIVE
    defaults = {"level": level, "changed_at": timezone.now()}
    TradingState.objects.get_or_create(scope=scope, defaults=defaults)
    return TradingState.objects.select_for_update().get(scope=scope)


def _save(row: TradingState, level: Level, reason: str, actor: str) -> None:
    row.level, row.reason, row.actor, row.changed_at = level, reason, actor, timezone.now()
    row.save()


def _audit(action: str, row: TradingState, new: Level, reason: str, actor: str) -> None:
    record(
        OperatorEventRecord(actor=actor, action=action, object=row.scope, old=row.level, new=new.value, reason=reason)
    )
