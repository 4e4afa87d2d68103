"""The trading state as it stands: every latch of this host and of the database, read anew for each batch and never kept."""

from dataclasses import dataclass

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from audit import sql
from safety import outage
from safety.controls.base import StateReading
from safety.intents import Level
from safety.kill_file import file_reason, kill_file
from safety.scopes import GLOBAL, KILL_SETTING, scopes_of


@dataclass(frozen=True, slots=True)
class Latch:
    """One thing that holds trading back, and why."""

    source: str
    level: Level
    reason: str


class StateBook:
    """Every latch as it stood at one moment, to be asked for many bots. Read anew for each batch, never kept.

    ``flattening`` are the scopes of the flattens that are under way: a person has confirmed each.
    """

    def __init__(self, local: list[Latch], rows: dict[str, Latch], flattening: frozenset[str] = frozenset()) -> None:
        self._local = local
        self._rows = rows
        self._flattening = flattening

    @classmethod
    def read(cls) -> "StateBook":
        """Read the latches of this host and of the database. What cannot be read counts as halted."""
        local = local_latches()
        try:
            rows, flattening = read_rows()
        except Error as error:
            outage.note_failure(error)
            reason = "the trading state cannot be read from the database"
            return cls([*local, Latch("database", Level.HALTED, reason)], {})
        outage.note_answer()
        if quiet := outage.quiet_reason():
            # Not even a flatten is sent: what was sent before the outage may still be unknown to us.
            return cls([*local, Latch("database", Level.HALTED, quiet)], rows)
        return cls(local, rows, flattening)

    def reading(self, venue: str | None = None, bot_id: int | None = None) -> StateReading:
        """Return the state that binds an order of this bot at this venue: the strictest latch wins."""
        scopes = scopes_of(venue, bot_id)
        latches = [*self._local, *(self._rows[scope] for scope in scopes if scope in self._rows)]
        level = max((latch.level for latch in latches), key=lambda one: one.rank, default=Level.ACTIVE)
        reasons = tuple(latch.reason for latch in latches if latch.level == level and level.rank)
        # File and variable halt their host outright: a flatten goes on from other hosts, or not at all.
        is_flattening = not self._local and not self._flattening.isdisjoint(scopes)
        return StateReading(level, reasons, is_flattening)


def read_state(venue: str | None = None, bot_id: int | None = None) -> StateReading:
    """Return the trading state for a venue and a bot (or the global one), read now."""
    return StateBook.read().reading(venue, bot_id)


def local_latches() -> list[Latch]:
    """Return what halts this host by itself: the file var/KILL and the KILL_SWITCH variable."""
    latches = []
    if reason := file_reason(kill_file()):
        latches.append(Latch("file", Level.HALTED, reason))
    if settings.ENVIRONMENT.kill_switch_engaged:
        latches.append(Latch("environment", Level.HALTED, "KILL_SWITCH is set in the environment"))
    return latches


# Read before every order: one plain statement costs a third of what query sets do.
_LATCHES_SQL = (
    "SELECT 'state', scope, level, reason FROM trading_states"
    " UNION ALL SELECT 'setting', key, value, '' FROM settings WHERE key = 'kill_switch'"
    " UNION ALL SELECT 'flatten', scope, '', '' FROM kill_runs"
    " WHERE ended_at IS NULL AND is_flatten AND flatten_until > %s"
)


def read_rows() -> tuple[dict[str, Latch], frozenset[str]]:
    """Return the latches of the database by scope, and the scopes that are being flattened. Raises django.db.Error.

    The kill_switch setting is a scope of its own.
    """
    found = sql.rows(_LATCHES_SQL, [connection.ops.adapt_datetimefield_value(timezone.now())])
    rows = [tuple(map(str, row)) for row in found]
    latches = {scope: latch_of(scope, level, reason) for kind, scope, level, reason in rows if kind == "state"}
    # A row that is named like the setting stands in for nothing.
    latches.pop(KILL_SETTING, None)
    if GLOBAL not in latches:
        latches[GLOBAL] = Latch(GLOBAL, Level.HALTED, "the global trading state is missing")
    setting = next((value for kind, _, value, _ in rows if kind == "setting"), None)
    if setting is None:
        latches[KILL_SETTING] = Latch(KILL_SETTING, Level.HALTED, "the kill_switch setting is missing")
    elif setting.strip() != "0":
        latches[KILL_SETTING] = Latch(KILL_SETTING, Level.HALTED, "the kill_switch setting is on")
    return latches, frozenset(scope for kind, scope, _, _ in rows if kind == "flatten")


def latch_of(scope: str, value: str, reason: str) -> Latch:
    """Return a stored state as a latch; a level that nobody knows is halted."""
    level = Level(value) if value in Level.values else Level.HALTED
    return Latch(scope, level, reason or f"{scope} is {value}")
