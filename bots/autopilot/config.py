"""The autopilot's settings: read, and changed by a person or a script, each change with its audit row."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from audit.decimals import decimal_text
from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record, unit
from audit.models import OperatorEvent
from bots.autopilot.checks import AutopilotConfigError, check, check_symbols
from bots.blocks import Block, lock_blocks, readiness_blocks, state_blocks
from bots.models import AutopilotConfig, AutopilotProfile, AutopilotState, Bot, BotStatus, Venue
from safety import live_gate, readiness
from safety.kill_switch import read_state

__all__ = [
    "AutopilotConfigError", "AutopilotLiveRefused", "change", "is_about_real_money", "live_blocks", "read", "set_live",
    "set_paper",
]  # fmt: skip

#: What has to be typed to let the autopilot trade with real money.
LIVE_WORDS = "autopilot live"
#: What each profile sets, unless the same change says otherwise: slots, and the scores from which on and below which.
PROFILES: dict[str, dict[str, int]] = {
    AutopilotProfile.CONSERVATIVE: {"slots": 3, "score_min": 75, "score_demote": 60},
    AutopilotProfile.BALANCED: {"slots": 5, "score_min": 65, "score_demote": 50},
    AutopilotProfile.AGGRESSIVE: {"slots": 8, "score_min": 55, "score_demote": 40},
}
#: What ``change`` changes. Whether it trades with real money is none of these: see ``set_live`` and ``set_paper``.
CHANGEABLE = (
    "enabled", "profile", "universe", "asset_types", "total_capital_usd", "is_by_conviction", "slots", "sector_slots",
    "score_min", "score_demote", "cooldown_minutes", "scan_interval_s", "daily_loss_pct", "weekly_loss_pct", "auto_start",
    "close_mode",
)  # fmt: skip


class AutopilotLiveRefused(Exception):
    """The autopilot may not be set live now. ``blocks`` is all that is against it; empty where what was typed is wrong."""

    def __init__(self, message: str, blocks: tuple[Block, ...] = ()) -> None:
        super().__init__(message)
        self.blocks = blocks


def read() -> AutopilotConfig:
    """Return the one row."""
    return AutopilotConfig.objects.get(pk=1)


def is_about_real_money(config: AutopilotConfig) -> bool:
    """Return whether a change may move real money: it is set live, or bots that it made are live still, which it may close."""
    if not config.dry_run:
        return True
    return Bot.objects.filter(by_autopilot=True, dry_run=False).exclude(status=BotStatus.ARCHIVED).exists()


def change(wanted: Mapping[str, Any], *, actor: str, reason: str, may_be_real_money: bool = True) -> AutopilotConfig:
    """Change what is named, with one audit row for each that is new, and return all of it.

    None leaves a field as it is. Its bots make entries from the new ``score_demote`` on, but for those to which a person gave a
    least score of their own. A profile brings its slots and scores, unless they are named beside it. After a change it is due
    at once. New symbols are looked up at their venues, so not to be called inside a transaction. Without ``may_be_real_money``
    the caller took it to be about paper when he asked for the rights: where it is about real money by then, nothing is changed.
    Raises AutopilotConfigError.
    """
    given = {name: value for name, value in wanted.items() if name in CHANGEABLE and value is not None}
    if "universe" in given:
        check_symbols(given["universe"], read().universe)
    now = timezone.now()
    with unit():
        config = locked()
        if not may_be_real_money and is_about_real_money(config):
            raise AutopilotConfigError([("dry_run", "It was set live meanwhile. Look at it again first.")])
        before = {name: getattr(config, name) for name in CHANGEABLE}
        if given.get("profile") in PROFILES and given["profile"] != before["profile"]:
            given = {**_slots_for(PROFILES[given["profile"]], config), **given}
        for name, value in given.items():
            setattr(config, name, value)
        check(config)
        config.save()
        _carry_score(before["score_demote"], config.score_demote, actor)
        for name in CHANGEABLE:
            _audit(name, before[name], getattr(config, name), actor, reason)
        if any(before[name] != getattr(config, name) for name in CHANGEABLE):
            _make_due(config, now, is_new=config.enabled and not before["enabled"])
    return config


def locked() -> AutopilotConfig:
    """Return the one row, locked. It comes before every other row of the autopilot, and before accounts and bots."""
    return AutopilotConfig.objects.select_for_update(no_key=True).get(pk=1)


def live_blocks(config: AutopilotConfig) -> tuple[Block, ...]:
    """Return all that is against letting the autopilot trade live now, at each venue in its universe that can be live."""
    venues = sorted(venue for venue, symbols in config.universe.items() if symbols and venue != Venue.REPLAY)
    if not venues:
        text = "Its universe has no symbol of a venue that can be live: recorded prices never can."
        return (Block("LIVE_GATE_CLOSED", text),)
    return tuple(dict.fromkeys(block for venue in venues for block in venue_live_blocks(venue)))


def venue_live_blocks(venue: str) -> list[Block]:
    """Return all that is against a live bot at a venue now: the trading state, every lock, and what readiness found."""
    if venue == Venue.REPLAY:
        return [Block("LIVE_GATE_CLOSED", "Recorded prices can never be traded live.")]
    locks = live_gate.read_locks(venue, dry_run=False)
    checks = readiness_blocks(readiness.verdict(venue), timezone.now())
    return [*state_blocks(read_state(venue)), *lock_blocks(locks), *checks]


def set_live(*, actor: str, confirm: str, reason: str) -> AutopilotConfig:
    """Let the bots that it makes from now on trade with real money, and return the settings. Audited.

    The caller has seen to it that a person asks, or a token with the right to trade. ``confirm`` has to be LIVE_WORDS and
    ``reason`` may not be blank. Every lock of every venue in its universe has to be open now, and each is asked again for each
    bot. Raises AutopilotLiveRefused, and nothing has changed then.
    """
    if not reason.strip():
        raise AutopilotLiveRefused("Say why: letting the autopilot trade live needs a reason. It is kept in the audit.")
    if confirm != LIVE_WORDS:
        raise AutopilotLiveRefused(f"Type exactly: {LIVE_WORDS}. Nothing was changed.")
    with unit():
        config = locked()
        if not config.dry_run:
            return config
        blocks = live_blocks(config)
        if blocks:
            raise AutopilotLiveRefused("Not every lock is open: " + " ".join(one.message for one in blocks), blocks)
        _set_dry_run(config, dry_run=False, actor=actor, reason=reason)
    return config


def set_paper(*, actor: str, reason: str = "") -> AutopilotConfig:
    """Have the bots that it makes from now on trade on paper, and return the settings. Audited; always possible.

    Bots that are live already stay live: it goes on closing them by their scores, and a person may set each to paper.
    """
    with unit():
        config = locked()
        if not config.dry_run:
            _set_dry_run(config, dry_run=True, actor=actor, reason=reason)
    return config


def _slots_for(profile: Mapping[str, int], config: AutopilotConfig) -> dict[str, int]:
    """Return what a profile sets. A cap per sector that would not fit its slots any more comes down with them."""
    return {**profile, "sector_slots": min(config.sector_slots, profile["slots"])}


def _carry_score(old: int, new: int, actor: str) -> None:
    """Let its bots make entries from the new score on. The settings are locked, and each bot is by its id, as everywhere."""
    if old == new:
        return
    mine = Bot.objects.select_for_update(no_key=True).filter(by_autopilot=True, score_min=old)
    for bot in mine.exclude(status=BotStatus.ARCHIVED).order_by("pk"):
        what, why = f"bot:{bot.pk} {bot.name}", "score_demote of the autopilot was changed"
        changes = OperatorEvent.objects.filter(action="bot_score_min_changed", object=what)
        if changes.order_by("-id").values_list("reason", flat=True).first() not in (None, why):
            # A person's own figure, which happens to be the same.
            continue
        record(OperatorEventRecord(actor, "bot_score_min_changed", what, str(old), str(new), why))
        bot.score_min, bot.revision = new, bot.revision + 1
        bot.save(update_fields=["score_min", "revision"])


def _set_dry_run(config: AutopilotConfig, *, dry_run: bool, actor: str, reason: str) -> None:
    before, config.dry_run = config.dry_run, dry_run
    config.save()
    _audit("dry_run", before, dry_run, actor, reason)
    _make_due(config, timezone.now(), is_new=False)


def _make_due(config: AutopilotConfig, now: datetime, *, is_new: bool) -> None:
    """Let the next cycle come at once after a change, so that people see what it does."""
    if not config.enabled:
        return
    fields: dict[str, Any] = {"next_at": now}
    if is_new:
        fields |= {"enabled_at": now, "told_late_at": None}
    AutopilotState.objects.filter(pk=1).update(**fields)


def _audit(name: str, old: Any, new: Any, actor: str, reason: str) -> None:
    if old == new:
        return
    record(
        OperatorEventRecord(
            actor=actor,
            action=f"autopilot_{name}_changed",
            object="autopilot",
            old=_shown(old),
            new=_shown(new),
            reason=reason,
        )
    )


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value if isinstance(value, str) else canonical_json(value)
