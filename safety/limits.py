"""Which limits hold for an order: the defaults, the global row and the bot's row, the strictest of what is set."""

from collections.abc import Collection
from typing import Any

from django.conf import settings

from audit.table import Table
from safety.intents import LimitSet
from safety.limit_fields import DEFAULTS, GAUGES, SWITCHABLE, LimitField, fields_of
from safety.models import RiskLimits

_TABLE = Table(RiskLimits)
__all__ = ["DEFAULTS", "LimitBook", "merge", "switched_off", "unknown_codes"]


class LimitBook:
    """The limits of some bots as they stood at one moment. Read anew for each transaction, never kept."""

    def __init__(self, rows: dict[str, RiskLimits]) -> None:
        self._rows = rows
        self._common: dict[bool, LimitSet] = {}

    @classmethod
    def read(cls, bot_ids: Collection[int]) -> "LimitBook":
        """Read the global limits and those of these bots."""
        scopes = ["global", *(f"bot:{bot_id}" for bot_id in bot_ids)]
        return cls({row.scope: row for row in _TABLE.read("scope", scopes)})

    def for_bot(self, bot_id: int, *, is_live: bool) -> LimitSet:
        """Return the limits for one bot's orders.

        The global row replaces a default where it is set; of the global figure and the bot's own the stricter holds.
        """
        own = self._rows.get(f"bot:{bot_id}")
        if own is not None:
            return merge(self._rows.get("global"), own, is_live=is_live)
        if is_live not in self._common:
            self._common[is_live] = merge(self._rows.get("global"), None, is_live=is_live)
        return self._common[is_live]


def merge(global_row: RiskLimits | None, bot_row: RiskLimits | None, *, is_live: bool) -> LimitSet:
    """Return the limits that follow from the defaults and the rows given.

    A control that the global row switches off is None, but for what the bot's own row sets of it: that still binds, with
    the common figures for what it leaves empty.
    """
    of_book = fields_of(is_live=is_live)
    own = {one.limit: value for one in of_book if (value := getattr(bot_row, one.name, None)) is not None}
    figures = {one.limit: _common(one, global_row) for one in of_book}
    if not is_live:
        # A share of the account bounds live orders only. The floor beside it then bounds nothing.
        figures["notional_equity_pct"] = None
    off = switched_off(global_row)
    is_off = {name for code, names in GAUGES if code in off for name in names}
    for one in of_book:
        if one.limit in own:
            figures[one.limit] = own[one.limit] if one.limit in is_off else _stricter(one, figures, own)
    for code, names in GAUGES:
        if code in off and own.keys().isdisjoint(names):
            figures[names[0]] = None
    return LimitSet(notional_usd_min=settings.ENVIRONMENT.notional_usd_min, **figures)


def switched_off(global_row: RiskLimits | None) -> frozenset[str]:
    """Return the controls that the global row switches off, of those that can be. What else it lists counts for nothing."""
    return frozenset(SWITCHABLE).intersection(_listed(global_row))


def unknown_codes(global_row: RiskLimits | None) -> list[str]:
    """Return what the global row lists as switched off and what cannot be: an unknown code, or one that always holds."""
    return sorted({str(one) for one in _listed(global_row)} - set(SWITCHABLE))


def _listed(row: RiskLimits | None) -> list[Any]:
    listed = getattr(row, "switched_off", None)
    return [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []


def _common(one: LimitField, global_row: RiskLimits | None) -> Any:
    value = getattr(global_row, one.name, None)
    return one.default if value is None else value


def _stricter(one: LimitField, common: dict[str, Any], own: dict[str, Any]) -> Any:
    pick = max if one.is_larger_stricter else min
    return pick(common[one.limit], own[one.limit])
