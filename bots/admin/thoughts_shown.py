"""What the intelligence layer thinks, or thought, in plain words for a bot's page."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bots.batch import RECENT, load_books
from bots.blocks import INTELLIGENCE, Block
from bots.intelligence.scoring import PARTS
from bots.intelligence.values import Action, Assessment, Reason, Regime
from bots.markets import Moment
from bots.models import AutopilotConfig, Bot, BotDecision, BotStatus
from bots.strategies.registry import UnknownStrategyError
from bots.strategies.schema import ParamError
from bots.thoughts import Thoughts
from safety.kill_switch import StateBook

DECISIONS_SHOWN = 12
ACTIONS = {
    Action.TRADE_ALLOWED.value: "Entries and exits are allowed",
    Action.MANAGE_ONLY.value: "Exits only: new entries wait",
    Action.NO_TRADE.value: "Nothing but cancels",
}
REGIMES = {
    Regime.TREND_UP.value: "rising",
    Regime.TREND_DOWN.value: "falling",
    Regime.RANGE.value: "sideways",
    Regime.HIGH_VOLATILITY.value: "wild, far more than usual",
    Regime.UNKNOWN.value: "not clear",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An assessment in plain words, made now or kept. ``parts`` are names with figures from 0 to 100."""

    at: datetime
    action: str
    allowed: str
    regime: str
    confidence_pct: int
    score: int
    parts: tuple[tuple[str, int], ...]
    blocks: tuple[Block, ...]
    cost_bps: Decimal | None
    inputs: tuple[tuple[str, str], ...]
    version: int

    @classmethod
    def of(cls, thought: Assessment, at: datetime) -> "Shown":
        """Return what was assessed at a moment, in words."""
        return _shown(
            at, thought.action.value, thought.regime.value, thought.confidence, thought.score, thought.parts,
            thought.reasons, thought.cost_bps, thought.inputs, thought.version,
        )  # fmt: skip

    @classmethod
    def kept(cls, row: BotDecision) -> "Shown":
        """Return what a kept decision says, in words. What cannot be read of it is left out."""
        stored = row.reasons if isinstance(row.reasons, list) else []
        reasons = [Reason(str(one.get("code")), str(one.get("message"))) for one in stored if isinstance(one, dict)]
        return _shown(
            row.decided_at, row.action, row.regime, row.confidence, row.score, row.parts, reasons, row.cost_bps,
            row.inputs, row.version,
        )  # fmt: skip


def why_context(bot: Bot, now: datetime) -> dict[str, Any]:
    """Return what a bot's page says of why it trades: what is thought now, and what was kept last."""
    thought, problem = (None, "") if bot.status == BotStatus.ARCHIVED else _thought_now(bot, now)
    return {
        "bot": bot,
        "now": now,
        "thought": thought,
        "thought_problem": problem,
        "decisions": decisions_until(bot, now),
        "entries_from": entries_from(bot),
    }


def entries_from(bot: Bot) -> str:
    """Return from which score on a bot makes entries, and why from that one; an empty text for one that has no least score."""
    score = f"this bot enters from {bot.score_min} on" if bot.score_min else "this bot enters at any score"
    if not bot.by_autopilot:
        return score if bot.score_min else ""
    wanted = AutopilotConfig.objects.filter(pk=1).values_list("score_demote", flat=True).first()
    if wanted == bot.score_min:
        return f"{score}, as the autopilot's settings say"
    return f"{score}, which is its own figure and does not follow the autopilot's settings ({wanted})"


def _thought_now(bot: Bot, now: datetime) -> tuple[Shown | None, str]:
    """Return what is thought of the bot's market now, or why that can't be said."""
    books = load_books([bot.pk], now - RECENT).get(bot.pk)
    if books is None:
        return None, "There is no such bot any more."
    try:
        thought = Thoughts(Moment(now), [bot.pk]).of(books, StateBook.read().reading(bot.venue, bot.pk))
    except (ParamError, UnknownStrategyError) as error:
        return None, str(error)
    return Shown.of(thought, now), ""


def decisions_until(bot: Bot, at: datetime) -> list[Shown]:
    """Return the last decisions that were kept until a moment, the newest first."""
    rows = BotDecision.objects.filter(bot=bot, decided_at__lte=at).order_by("-decided_at", "-id")
    return [Shown.kept(row) for row in rows[:DECISIONS_SHOWN]]


def _shown(
    at: datetime, action: str, regime: str, confidence: Decimal, score: int, parts: Any, reasons: Iterable[Reason],
    cost_bps: Decimal | None, inputs: Any, version: int,
) -> Shown:  # fmt: skip
    known = parts if isinstance(parts, dict) else {}
    # What is stored comes back by the alphabet; it is shown as the score is made of it.
    names = sorted(known, key=lambda name: PARTS.index(name) if name in PARTS else len(PARTS))
    judged_by = inputs if isinstance(inputs, dict) else {}
    return Shown(
        at=at,
        action=action,
        allowed=ACTIONS.get(action, action),
        regime=REGIMES.get(regime, regime),
        confidence_pct=int(confidence * 100),
        score=score,
        parts=tuple((name, known[name]) for name in names if isinstance(known[name], int)),
        blocks=tuple(Block(f"{INTELLIGENCE}{one.code}", one.message) for one in reasons),
        cost_bps=cost_bps,
        inputs=tuple((name.replace("_", " "), str(value)) for name, value in judged_by.items()),
        version=version,
    )
