"""The rows that an act locks and writes: decisions, its own bots and what the autopilot knows of each."""

from datetime import datetime
from decimal import Decimal

from audit.decimals import decimal_text
from audit.log import OperatorEventRecord, record
from audit.records import bounded
from bots.autopilot.losses import ACTOR
from bots.autopilot.values import Decision
from bots.models import AutopilotBot, AutopilotConfig, AutopilotCycle, AutopilotDecision, Bot, BotStatus, Phase

#: Of a reason, which may hold what a venue answered.
REASON_CHARS_MAX = 2000


def row(cycle: AutopilotCycle, decision: Decision, now: datetime, bot_id: int | None = None) -> AutopilotDecision:
    """Return the row that keeps a decision."""
    facts = {"regime": decision.regime, "strategy": decision.strategy, "capital_usd": decision.capital_usd}
    told = {name: decimal_text(one) if isinstance(one, Decimal) else one for name, one in facts.items() if one}
    return AutopilotDecision(
        cycle=cycle,
        decided_at=now,
        kind=decision.kind.value,
        venue=decision.venue,
        symbol=decision.symbol,
        bot_id=bot_id or decision.bot_id,
        score=decision.score,
        code=decision.code,
        reason=bounded(decision.reason, REASON_CHARS_MAX),
        facts=told,
    )


def claim(bot: Bot, config: AutopilotConfig) -> None:
    """Make a new bot the autopilot's own; it buys only while its symbol would not be demoted."""
    bot.by_autopilot, bot.score_min = True, config.score_demote
    bot.save(update_fields=["by_autopilot", "score_min"])


def locked_own(bot_id: int) -> AutopilotBot:
    """Return what the autopilot knows of a bot, locked. The bot's own lock comes before."""
    return AutopilotBot.objects.select_for_update().get(pk=bot_id)


def move(own: AutopilotBot, phase: Phase, now: datetime) -> None:
    """Leave a bot in a phase."""
    own.phase, own.phase_at = phase, now
    own.save()


def set_running(bot: Bot, reason: str) -> None:
    """Start a bot whose row is locked. Not as a person does: no loss is forgotten, and nobody has attended to it."""
    record(OperatorEventRecord(ACTOR, "bot_running", f"bot:{bot.pk} {bot.name}", bot.status, "running", reason))
    bot.status, bot.status_reason, bot.last_error = BotStatus.RUNNING, "", ""
    bot.revision += 1
    bot.save()
