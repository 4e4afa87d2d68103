"""The kill switch on the Safety page: what holds trading back now, whom it holds back, and what a release would leave."""

from dataclasses import dataclass
from datetime import datetime

from bots.models import Bot, BotStatus, Position
from safety.intents import Level
from safety.kill_switch import GLOBAL, KILL_SETTING, local_latches
from safety.models import Setting, TradingState
from tradingops.mode import scope_name

SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Hold:
    """One latch that holds trading back. ``how`` says what ends it, where a release does not."""

    what: str
    level: str
    reason: str
    actor: str = ""
    since: datetime | None = None
    how: str = ""


def holds() -> list[Hold]:
    """Return every latch that holds trading back, as seen from this host."""
    local = [Hold("This host", Level.HALTED, latch.reason, how=_how(latch.source)) for latch in local_latches()]
    rows = [_hold(row) for row in _held_rows()]
    if GLOBAL not in {row.scope for row in _held_rows()} and _setting_holds():
        rows.insert(0, Hold("Everything", Level.HALTED, "the kill_switch setting is on"))
    return [*local, *rows]


def held_scopes() -> list[tuple[str, str]]:
    """Return the scopes that a release would change, with their names."""
    scopes = [row.scope for row in _held_rows()]
    if GLOBAL not in scopes and (local_latches() or _setting_holds()):
        scopes.insert(0, GLOBAL)
    return [(scope, scope_name(scope).capitalize()) for scope in scopes]


def held_bots() -> list[Bot]:
    """Return the bots whose entries wait for a person."""
    held = Bot.objects.exclude(entries_held="").exclude(status=BotStatus.ARCHIVED)
    return list(held.order_by("name").only("name", "entries_held", "dry_run", "status")[:SHOWN_MAX])


def positions_open() -> int:
    """Return how many positions there are that a flatten of everything would sell."""
    return Position.objects.filter(quantity__gt=0).count()


def _held_rows() -> list[TradingState]:
    rows = TradingState.objects.exclude(level=Level.ACTIVE).order_by("scope")[:SHOWN_MAX]
    return sorted(rows, key=lambda row: row.scope != GLOBAL)


def _setting_holds() -> bool:
    setting = Setting.objects.filter(key=KILL_SETTING).first()
    return setting is None or setting.value.strip() != "0"


def _hold(row: TradingState) -> Hold:
    level = row.level if row.level in Level.values else Level.HALTED.value
    return Hold(
        scope_name(row.scope).capitalize(), level, row.reason or "no reason was given", row.actor, row.changed_at
    )


def _how(source: str) -> str:
    if source == "file":
        return "Remove the file on this host, then release here."
    return "Set KILL_SWITCH=0 in the environment or .env and restart this host's processes, then release here."
