"""What the API tells of the autopilot: its settings, how it is, its last cycle and what that decided."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from pydantic import Field

from audit.decimals import decimal_text
from bots.autopilot import state as autopilot_state
from bots.models import AutopilotConfig, AutopilotCycle, AutopilotDecision, AutopilotLosses, Recommendation
from tradingops.api.values import DecimalText, Output, RowId, Time, text_of
from tradingops.autopilot_status import own_bots, used_usd

#: A universe may have so many symbols, and a cycle decides once about each, and once about everything.
DECISIONS_MAX = 600


class CycleOut(Output):
    """One cycle: scan, close, create."""

    id: RowId
    trigger: str = Field(description="schedule, or who ran it.")
    status: str = Field(
        description="running, done, failed (or an act in it did, see error), or lost: it was cut off.",
        examples=["done"],
    )
    started_at: Time
    finished_at: Time | None = Field(description="Null while it runs.")
    summary: dict[str, Any] = Field(description="How many symbols it scanned, bots it made, and so on.")
    error: str = Field(description="What went wrong; empty when nothing did.")


class DecisionOut(Output):
    """What a cycle decided about a symbol, and why."""

    at: Time
    kind: str = Field(
        description="created, started, closed, demoted, promoted, kept, watched, skipped, or failed for a fault."
    )
    venue: str = Field(description="Empty for what is about everything.")
    symbol: str = Field(description="Empty for what is about everything.")
    bot_id: RowId | None
    score: int | None
    code: str = Field(description="The reason as a stable code.", examples=["slots_full"])
    reason: str = Field(description="The reason in a sentence.")


class StoppedOut(Output):
    """One of its own limits on losses that was reached."""

    is_live: bool
    until: Time
    reason: str


class AutopilotOut(Output):
    """The autopilot's settings and how it is. It is off, and on paper, until a person says otherwise."""

    enabled: bool
    dry_run: bool = Field(description="Its bots trade on paper.")
    profile: str = Field(examples=["conservative"])
    universe: dict[str, list[str]] = Field(description="Symbols by venue.", examples=[{"replay": ["BTC-PERP"]}])
    asset_types: list[str] = Field(description="crypto, stock; none: both.")
    total_capital_usd: DecimalText = Field(description="What all its bots may have together, in USD.")
    is_by_conviction: bool = Field(description="A better score gets more of the capital.")
    slots: int = Field(description="How many bots it may have.")
    sector_slots: int = Field(description="How many of them in one sector; crypto is one.")
    score_min: int = Field(description="From this score on (0 to 100) a symbol may get a bot.")
    score_demote: int = Field(description="Below this score its bot is closed; in between it is watched.")
    cooldown_minutes: int = Field(description="How long a symbol is left alone after its bot was closed.")
    scan_interval_s: int
    daily_loss_pct: DecimalText = Field(
        description="Percent of total_capital_usd lost in a UTC day: no new bots that day."
    )
    weekly_loss_pct: DecimalText = Field(description="The same in a week from Monday.")
    auto_start: bool = Field(description="A new bot is started at once.")
    close_mode: str = Field(
        description="manage_out: no more entries, exits go on; flatten: all is sold at once. All is what the bot holds, "
        "also what was ordered by hand with it."
    )
    heartbeat_at: Time | None = Field(description="When its last whole cycle ended; null: never.")
    is_late: bool = Field(description="It is on, and no cycle has ended for more than twice its interval.")
    next_at: Time | None = Field(description="When the next cycle is due; null while it is off.")
    bots: int = Field(description="How many bots it has now; each takes a slot.")
    capital_used_usd: DecimalText = Field(description="What those bots may have together.")
    stopped: list[StoppedOut] = Field(description="Why it makes no bots now, where its losses are the reason.")
    cycle: CycleOut | None = Field(description="Its last cycle, which may still run; null: none yet.")
    decisions: list[DecisionOut] = Field(description="What that cycle decided so far, and why; newest first.")


class RecommendationOut(Output):
    """What one scan thought of a symbol."""

    id: int
    venue: str
    symbol: str
    timeframe: str = Field(examples=["1m"])
    score: int = Field(description="0 to 100.")
    score_before: int | None = Field(description="The score of the scan before; null: there was none.")
    trend: DecimalText | None = Field(description="How the score changed over the last scans, in points a scan.")
    parts: dict[str, Any] = Field(description="What the score is made of.")
    regime: str
    confidence: DecimalText = Field(description="How sure the regime is, 0 to 1.")
    action: str = Field(description="trade_allowed, manage_only or no_trade.")
    reasons: list[Any]
    cost_bps: DecimalText | None = Field(description="What a trade would cost, in basis points.")
    scanned_at: Time


def shown(config: AutopilotConfig) -> AutopilotOut:
    """Return the settings, and how the autopilot is now."""
    now = timezone.now()
    state = autopilot_state.read()
    cycle = AutopilotCycle.objects.order_by("-id").first()
    return AutopilotOut(
        **_settings(config),
        heartbeat_at=state.heartbeat_at,
        is_late=autopilot_state.late_since(config, state, now) is not None,
        next_at=state.next_at if config.enabled else None,
        bots=own_bots().count(),
        capital_used_usd=decimal_text(used_usd()),
        stopped=_stopped(now),
        cycle=None if cycle is None else _cycle(cycle),
        decisions=[] if cycle is None else _decisions(cycle),
    )


def recommended(row: Recommendation) -> RecommendationOut:
    """Return what a scan thought of a symbol."""
    return RecommendationOut(
        id=row.pk,
        venue=row.venue,
        symbol=row.symbol,
        timeframe=row.timeframe,
        score=row.score,
        score_before=row.score_before,
        trend=text_of(row.trend),
        parts=row.parts,
        regime=row.regime,
        confidence=decimal_text(row.confidence),
        action=row.action,
        reasons=row.reasons,
        cost_bps=text_of(row.cost_bps),
        scanned_at=row.scanned_at,
    )


def _settings(config: AutopilotConfig) -> dict[str, Any]:
    fields = {field.name: getattr(config, field.name) for field in config._meta.concrete_fields if field.name != "id"}
    return {name: decimal_text(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


def _stopped(now: datetime) -> list[StoppedOut]:
    rows = AutopilotLosses.objects.filter(stopped_until__gt=now).order_by("is_live")
    return [
        StoppedOut(is_live=row.is_live, until=row.stopped_until, reason=row.stopped_by)
        for row in rows
        if row.stopped_until is not None
    ]


def _cycle(row: AutopilotCycle) -> CycleOut:
    return CycleOut(
        id=row.pk,
        trigger=row.trigger,
        status=row.status,
        started_at=row.started_at,
        finished_at=row.finished_at,
        summary=row.summary,
        error=row.error,
    )


def _decisions(cycle: AutopilotCycle) -> list[DecisionOut]:
    return [
        DecisionOut(
            at=row.decided_at,
            kind=row.kind,
            venue=row.venue,
            symbol=row.symbol,
            bot_id=row.bot_id,
            score=row.score,
            code=row.code,
            reason=row.reason,
        )
        for row in AutopilotDecision.objects.filter(cycle=cycle).order_by("-id")[:DECISIONS_MAX]
    ]
