"""How the autopilot is, in a few words and one query: for the dashboard, Safety, the banner, health and the metrics."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from audit import figures
from bots.autopilot.state import late_since
from bots.books import EXACT
from bots.models import AutopilotConfig, AutopilotLosses, AutopilotState, Bot, BotStatus


@dataclass(frozen=True, slots=True)
class AutopilotStatus:
    """The switch, the money, and the heartbeat: when its last whole cycle ended, None for never."""

    enabled: bool
    dry_run: bool
    slots: int
    interval_s: int
    heartbeat_at: datetime | None
    enabled_at: datetime | None
    is_late: bool
    bots: int
    now: datetime
    stopped_until: datetime | None = None
    stopped_by: str = ""

    @property
    def is_live(self) -> bool:
        """Return whether it may trade with real money now."""
        return self.enabled and not self.dry_run

    @property
    def is_stopped(self) -> bool:
        """Return whether one of its own limits on losses keeps it from making bots now."""
        return self.stopped_until is not None

    @property
    def heartbeat_age_s(self) -> float | None:
        """Return the seconds since its last whole cycle; None while it is off, and until one ended since it was switched on."""
        if not self.enabled or self.heartbeat_at is None or (self.enabled_at and self.heartbeat_at < self.enabled_at):
            return None
        return max(0.0, round((self.now - self.heartbeat_at).total_seconds(), 1))

    @property
    def name(self) -> str:
        """Return what it is in a word or two."""
        if not self.enabled:
            return "OFF"
        return "LIVE" if self.is_live else "ON PAPER"

    @property
    def sign(self) -> str:
        """Return the colour of the name, by the page's style sheet."""
        if not self.enabled:
            return "off"
        return "live" if self.is_live else "paper"

    @property
    def text(self) -> str:
        """Return how it does, in a sentence or two."""
        if not self.enabled:
            return f"It makes no bot and closes none.{self._left_text}"
        beat = (
            "No whole cycle has ended yet."
            if self.heartbeat_at is None
            else f"Last whole cycle {figures.age(self.heartbeat_at, self.now)}."
        )
        late = f" LATE: one is due every {figures.duration(self.interval_s)}." if self.is_late else ""
        return f"{self.bots} of {self.slots} slots in use. {beat}{late}{self._stopped_text}"

    @property
    def _left_text(self) -> str:
        if not self.bots:
            return ""
        return (
            " One bot of its own stays as it is."
            if self.bots == 1
            else f" {self.bots} bots of its own stay as they are."
        )

    @property
    def _stopped_text(self) -> str:
        if self.stopped_until is None:
            return ""
        return f" It makes no bot until {self.stopped_until:%Y-%m-%d %H:%M} UTC: {self.stopped_by}"


def read(now: datetime) -> AutopilotStatus:
    """Return how it is. Raises DatabaseError when that can't be read."""
    config = _rows(now).first()
    if config is None:
        return AutopilotStatus(False, True, 0, 0, None, None, False, 0, now)
    state = AutopilotState(heartbeat_at=config.beat_at, enabled_at=config.on_at)
    return AutopilotStatus(
        enabled=config.enabled,
        dry_run=config.dry_run,
        slots=config.slots,
        interval_s=config.scan_interval_s,
        heartbeat_at=state.heartbeat_at,
        enabled_at=state.enabled_at,
        is_late=late_since(config, state, now) is not None,
        bots=config.own_bots,
        now=now,
        stopped_until=config.stop_until,
        stopped_by=config.stop_by or "",
    )


def _rows(now: datetime) -> QuerySet[Any]:
    """Return the settings with all the rest beside them: every page asks for this, so it is one statement."""
    state = AutopilotState.objects.filter(pk=OuterRef("pk"))
    stops = AutopilotLosses.objects.filter(stopped_until__gt=now).exclude(is_live=OuterRef("dry_run"))
    bots = own_bots().order_by().values("by_autopilot").annotate(found=Count("pk"))
    return AutopilotConfig.objects.filter(pk=1).annotate(
        beat_at=Subquery(state.values("heartbeat_at")),
        on_at=Subquery(state.values("enabled_at")),
        stop_until=Subquery(stops.values("stopped_until")[:1]),
        stop_by=Subquery(stops.values("stopped_by")[:1]),
        own_bots=Coalesce(Subquery(bots.values("found")), 0),
    )


def own_bots() -> QuerySet[Bot]:
    """Return the bots that it made and that are not archived."""
    return Bot.objects.filter(by_autopilot=True).exclude(status=BotStatus.ARCHIVED)


def used_usd() -> Decimal:
    """Return what its bots may have together."""
    total = Decimal(0)
    for one in own_bots().values_list("capital_usd", flat=True):
        total = EXACT.add(total, one)
    return total
