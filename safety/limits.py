"""Which limits hold for an order: the defaults, the global row and the bot's row, the strictest of what is set."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from django.conf import settings

from safety.intents import LimitSet
from safety.models import RiskLimits

PAPER_NOTIONAL_USD_MAX = Decimal(5000)
LIVE_NOTIONAL_USD_MAX = Decimal(250)
DEFAULTS: dict[str, Any] = {
    "rate_per_minute_bot": 20,
    "rate_per_minute_account": 60,
    "open_orders_bot_max": 10,
    "open_orders_account_max": 50,
    "quote_age_s_max": Decimal(10),
    "intent_age_s_max": Decimal(30),
}


class LimitBook:
    """The limits of some bots as they stood at one moment. Read anew for each transaction, never kept."""

    def __init__(self, rows: dict[str, RiskLimits]) -> None:
        self._rows = rows

    @classmethod
    def read(cls, bot_ids: Collection[int]) -> "LimitBook":
        """Read the global limits and those of these bots."""
        scopes = ["global", *(f"bot:{bot_id}" for bot_id in bot_ids)]
        places = ", ".join(["%s"] * len(scopes))
        rows = RiskLimits.objects.raw(f"SELECT * FROM risk_limits WHERE scope IN ({places})", scopes)
        return cls({row.scope: row for row in rows})

    def for_bot(self, bot_id: int, *, is_live: bool) -> LimitSet:
        """Return the limits for one bot's orders.

        The global row replaces a default where it is set; of the global figure and the bot's own the stricter holds.
        """
        return merge(self._rows.get("global"), self._rows.get(f"bot:{bot_id}"), is_live=is_live)


def merge(global_row: RiskLimits | None, bot_row: RiskLimits | None, *, is_live: bool) -> LimitSet:
    """Return the limits that follow from the defaults and the rows given."""
    notional = "notional_usd_max_live" if is_live else "notional_usd_max_paper"
    default_notional = LIVE_NOTIONAL_USD_MAX if is_live else PAPER_NOTIONAL_USD_MAX
    figures = {name: _strictest(name, default, global_row, bot_row) for name, default in DEFAULTS.items()}
    return LimitSet(
        notional_usd_max=_strictest(notional, default_notional, global_row, bot_row),
        notional_usd_min=settings.ENVIRONMENT.notional_usd_min,
        **figures,
    )


def _strictest(name: str, default: Any, global_row: RiskLimits | None, bot_row: RiskLimits | None) -> Any:
    global_value = getattr(global_row, name, None)
    bot_value = getattr(bot_row, name, None)
    base = default if global_value is None else global_value
    return base if bot_value is None else min(base, bot_value)
