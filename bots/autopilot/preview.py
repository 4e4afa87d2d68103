"""What the autopilot would do now. It looks at the markets as a cycle does, and writes nothing."""

from dataclasses import dataclass
from datetime import datetime

from bots.autopilot import config as settings_of
from bots.autopilot.planning import plan
from bots.autopilot.scan import Watch, scan
from bots.autopilot.situation import gather, own_bots
from bots.autopilot.values import Decision, Kind
from bots.models import Recommendation


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cycle would decide as of ``made_at``, with what it sees of each symbol (rows that are not saved)."""

    made_at: datetime
    decisions: tuple[Decision, ...]
    seen: tuple[Recommendation, ...]

    @property
    def created(self) -> list[Decision]:
        """Return the bots that it would make."""
        return [one for one in self.decisions if one.kind == Kind.CREATED]


def preview(now: datetime) -> Plan:
    """Return what a cycle would decide now, also while the autopilot is switched off.

    A live account at a venue is not asked for here, so its size may be unknown where a cycle would know it. Bounded in time as a
    scan is.
    """
    config, watch = settings_of.read(), Watch(now)
    seen = scan(config, watch, [bot.key for bot in own_bots(config)])
    decisions = plan(gather(config, seen, watch.now(), is_dry=True))
    return Plan(now, decisions, tuple(one.row for one in seen if one.row is not None))
