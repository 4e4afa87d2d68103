"""The autopilot's settings: read, and changed by a person or a script, each change with its audit row."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from audit.decimals import decimal_text
from audit.fields import canonical_json
from audit.log import OperatorEventRecord, record, unit
from bots.models import AutopilotConfig, AutopilotProfile

#: What each profile sets, unless the same change says otherwise: slots, and the scores from which on and below which.
PROFILES: dict[str, dict[str, int]] = {
    AutopilotProfile.CONSERVATIVE: {"slots": 3, "score_min": 75, "score_demote": 60},
    AutopilotProfile.BALANCED: {"slots": 5, "score_min": 65, "score_demote": 50},
    AutopilotProfile.AGGRESSIVE: {"slots": 8, "score_min": 55, "score_demote": 40},
}
#: What may be changed here. Whether it trades with real money is none of these.
CHANGEABLE = (
    "enabled", "profile", "universe", "asset_types", "total_capital_usd", "is_by_conviction", "slots", "sector_slots",
    "score_min", "score_demote", "cooldown_minutes", "scan_interval_s", "daily_loss_pct", "weekly_loss_pct", "auto_start",
    "close_mode",
)  # fmt: skip


class AutopilotConfigError(ValueError):
    """Settings that make no sense together; the text says why."""


class AutopilotUnavailableError(Exception):
    """This version has no autopilot that could be switched on or run."""

    def __init__(self) -> None:
        super().__init__("This version has no autopilot yet: its settings are kept, and nothing trades by them.")


def read() -> AutopilotConfig:
    """Return the one row."""
    return AutopilotConfig.objects.get(pk=1)


def change(wanted: Mapping[str, Any], *, actor: str, reason: str) -> AutopilotConfig:
    """Change what is named, with one audit row for each that is new, and return all of it.

    Raises AutopilotConfigError, and AutopilotUnavailableError for what would make it act.
    """
    if wanted.get("enabled") or wanted.get("dry_run") is False:
        raise AutopilotUnavailableError
    with unit():
        config = AutopilotConfig.objects.select_for_update(no_key=True).get(pk=1)
        before = {name: getattr(config, name) for name in CHANGEABLE}
        given = {name: value for name, value in wanted.items() if name in CHANGEABLE and value is not None}
        if given.get("profile") not in (None, before["profile"]):
            given = {**PROFILES[given["profile"]], **given}
        for name, value in given.items():
            setattr(config, name, value)
        _check(config)
        config.save()
        for name in CHANGEABLE:
            _audit(name, before[name], getattr(config, name), actor, reason)
    return config


def _check(config: AutopilotConfig) -> None:
    if config.score_demote > config.score_min:
        raise AutopilotConfigError("score_demote must not be above score_min: what may stay would then not be let in.")
    if config.daily_loss_pct > config.weekly_loss_pct:
        raise AutopilotConfigError("daily_loss_pct must not be above weekly_loss_pct.")
    if config.sector_slots > config.slots:
        raise AutopilotConfigError("sector_slots must not be above slots.")


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
