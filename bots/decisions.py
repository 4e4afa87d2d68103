"""What is kept of what the intelligence layer thought: one row whenever a bot's changed, and one whenever the bot acted on it.

What was kept last is remembered per process, and only while the bot's lease stays with it: a bot that comes back from another
worker is read anew. So an unchanged thought costs no query, and none is missed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from bots.intelligence.values import Assessment
from bots.models import Bot, BotDecision
from bots.workers.leases import Fence, shard_lease, shard_of

#: A score that moved by less is no news.
SCORE_STEP = 10
REMEMBERED_MAX = 100_000
_remembered: dict[int, "_Kept"] = {}


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was kept last of one bot, and under which lease. None for all: nothing was ever kept."""

    lease: tuple[str, int | None]
    action: str | None
    regime: str | None
    codes: frozenset[str]
    score: int


@dataclass(frozen=True, slots=True)
class Thought:
    """What was thought for one bot. ``is_acted_on``: it sent, or tried to send, an order."""

    bot_id: int
    assessment: Assessment
    is_acted_on: bool = False


def keep(thoughts: Collection[Thought], fence: Fence, now: datetime) -> list[BotDecision]:
    """Write those that are news, in the open transaction, and return them. Remember them when it has committed."""
    leases = {one.bot_id: _lease(one.bot_id, fence) for one in thoughts}
    known = {bot_id: _remembered.get(bot_id) for bot_id in leases}
    strange = [bot_id for bot_id, kept in known.items() if kept is None or kept.lease != leases[bot_id]]
    if strange:
        read = _read(strange, leases)
        _remember(read)
        known |= read
    rows = [_row(one, now) for one in thoughts if one.is_acted_on or _is_news(one.assessment, known[one.bot_id])]
    return BotDecision.objects.bulk_create(rows) if rows else []


def remember(rows: Collection[BotDecision], fence: Fence) -> None:
    """Remember what was kept, now that it has committed."""
    _remember({row.bot_id: _kept(row, _lease(row.bot_id, fence)) for row in rows})


def forget() -> None:
    """Forget what was kept last, as a new process would."""
    _remembered.clear()


def _is_news(thought: Assessment, kept: _Kept | None) -> bool:
    if kept is None or kept.action is None:
        return True
    codes = frozenset(reason.code for reason in thought.reasons)
    if (thought.action.value, thought.regime.value) != (kept.action, kept.regime) or codes != kept.codes:
        return True
    return abs(thought.score - kept.score) >= SCORE_STEP


def _row(one: Thought, now: datetime) -> BotDecision:
    thought = one.assessment
    return BotDecision(
        bot_id=one.bot_id,
        decided_at=now,
        action=thought.action.value,
        regime=thought.regime.value,
        confidence=thought.confidence,
        score=thought.score,
        parts=thought.parts,
        reasons=[reason.as_dict() for reason in thought.reasons],
        cost_bps=thought.cost_bps,
        inputs=thought.inputs,
        version=thought.version,
    )


def _read(bot_ids: Collection[int], leases: dict[int, tuple[str, int | None]]) -> dict[int, _Kept]:
    """Return what was kept last of these bots, in one query."""
    # One look into the index for each bot: a bot may have thousands of rows, and a worker takes over many bots at once.
    last = BotDecision.objects.filter(bot=OuterRef("pk")).order_by("-decided_at", "-id").values("pk")[:1]
    newest = Bot.objects.filter(pk__in=bot_ids).annotate(newest=Subquery(last)).values("newest")
    found = {row.bot_id: row for row in BotDecision.objects.filter(pk__in=newest)}
    return {
        bot_id: _kept(found[bot_id], leases[bot_id])
        if bot_id in found
        else _Kept(leases[bot_id], None, None, frozenset(), 0)
        for bot_id in bot_ids
    }


def _kept(row: BotDecision, lease: tuple[str, int | None]) -> _Kept:
    return _Kept(lease, row.action, row.regime, frozenset(_codes(row.reasons)), row.score)


def _codes(reasons: Any) -> list[str]:
    return [str(one.get("code", "")) for one in reasons if isinstance(one, dict)] if isinstance(reasons, list) else []


def _lease(bot_id: int, fence: Fence) -> tuple[str, int | None]:
    return fence.holder, fence.epochs.get(shard_lease(shard_of(bot_id)))


def _remember(kept: dict[int, _Kept]) -> None:
    if len(_remembered) + len(kept) > REMEMBERED_MAX:
        _remembered.clear()
    _remembered.update(kept)
