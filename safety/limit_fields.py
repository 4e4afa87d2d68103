"""Every limit that people set: its column, its control, its default and its words. The one list that all others follow."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LimitField:
    """One figure of the risk limits.

    ``name`` is its column in RiskLimits and ``limit`` its field in LimitSet; ``code`` the control that asks for it. ``unit``
    is for a page's column, ``meaning`` a sentence's beginning. ``book`` is ``live`` or ``paper`` where it holds for that one
    only. ``is_larger_stricter``: of two figures the larger is the stricter one.
    """

    name: str
    code: str
    title: str
    unit: str
    meaning: str
    default: Decimal | int
    book: str = ""
    is_larger_stricter: bool = False

    @property
    def limit(self) -> str:
        """Return the name of the field in LimitSet."""
        return self.name.removesuffix("_paper").removesuffix("_live")


D = Decimal
FIELDS: tuple[LimitField, ...] = (
    LimitField("notional_usd_max_paper", "NOTIONAL_ABOVE_MAX", "Order value, paper", "USD",
               "US dollars at most, for one entry on paper", D(5000), "paper"),
    LimitField("notional_usd_max_live", "NOTIONAL_ABOVE_MAX", "Order value, live", "USD",
               "US dollars at most, for one entry with real money", D(250), "live"),
    LimitField("notional_equity_pct", "NOTIONAL_ABOVE_MAX", "Order value, share of the account", "%",
               "Per cent of the account's equity at most, for one entry with real money", D(2), "live"),
    LimitField("notional_floor_usd", "NOTIONAL_ABOVE_MAX", "Order value, always allowed", "USD",
               "US dollars that one live entry may be worth whatever that share is", D(125), "live"),
    LimitField("ramp_usd_max", "LIVE_RAMP", "Order value of the first live orders", "USD",
               "US dollars at most, for one live entry until the bot has 10 live fills", D(50), "live"),
    LimitField("size_outlier_multiple", "SIZE_OUTLIER", "Size beside the usual", "times",
               "Times the bot's usual or planned order at most", D(5)),
    LimitField("collar_pct_major", "PRICE_COLLAR", "Price from the market, majors and stocks", "%",
               "Per cent at most that a purchase is above the market, or a sale below", D(2)),
    LimitField("collar_pct_other", "PRICE_COLLAR", "Price from the market, others", "%",
               "Per cent at most that a purchase is above the market, or a sale below", D(5)),
    LimitField("collar_passive_pct", "PRICE_COLLAR", "Price from the market, waiting side", "%",
               "Per cent at most that a purchase is below the market, or a sale above", D(30)),
    LimitField("quote_age_s_max", "STALE_MARKET_DATA", "Age of a quote", "s",
               "Seconds at most, for an entry", D(10)),
    LimitField("candle_periods_max", "STALE_MARKET_DATA", "Age of the last candle", "bars",
               "Lengths of a bar at most, for an entry", D(2)),
    LimitField("rate_per_minute_bot", "RATE_LIMIT", "Rate, one bot", "a minute",
               "Orders and cancels a minute at most", 20),
    LimitField("rate_per_minute_account", "RATE_LIMIT", "Rate, the account", "a minute",
               "Orders and cancels a minute at most", 60),
    LimitField("repeat_per_day", "REPEAT_THROTTLE", "Executions of one symbol", "a day",
               "Live orders in one symbol at most that are executed in a UTC day with no person in between", 60, "live"),
    LimitField("open_orders_bot_max", "OPEN_ORDERS_MAX", "Resting orders, one bot", "orders",
               "Orders at most", 10),
    LimitField("open_orders_account_max", "OPEN_ORDERS_MAX", "Resting orders, account", "orders",
               "Orders at most", 50),
    LimitField("position_equity_pct", "POSITION_MAX", "Position in one symbol", "%",
               "Per cent of the account's equity at most, open orders counted in", D(10)),
    LimitField("position_floor_usd", "POSITION_MAX", "Position, always allowed", "USD",
               "US dollars that a position may be worth whatever that share is", D(300)),
    LimitField("gross_equity_pct", "GROSS_EXPOSURE_MAX", "All positions together", "%",
               "Per cent of the account's equity at most, all its bots and open orders together", D(50)),
    LimitField("gross_floor_usd", "GROSS_EXPOSURE_MAX", "All positions, always allowed", "USD",
               "US dollars that all positions may be worth whatever that share is, but never more than the equity",
               D(500)),
    LimitField("daily_loss_pct", "DAILY_LOSS", "Loss in a day", "%",
               "Per cent of the equity at the start of the UTC day; once lost, the account only exits", D(3)),
    LimitField("drawdown_pct", "DRAWDOWN", "Loss from the peak", "%",
               "Per cent below the highest equity since the last reset; once there, the account only exits", D(10)),
    LimitField("losing_streak_max", "LOSING_STREAK", "Losing deals in a row", "deals",
               "Deals in a row; with so many the bot pauses its entries", 5),
    LimitField("losing_pause_h", "LOSING_STREAK", "Pause after losing deals", "h",
               "Hours that entries pause at least", D(4), is_larger_stricter=True),
    LimitField("reject_streak_max", "ERROR_STREAK", "Rejects in a row", "orders",
               "Orders in a row that the venue rejected; with so many the bot pauses", 5),
    LimitField("intent_age_s_max", "INTENT_EXPIRED", "Age of an order", "s",
               "Seconds at most, from its making to its sending", D(30)),
)  # fmt: skip
DEFAULTS: dict[str, Decimal | int] = {one.name: one.default for one in FIELDS}

#: Which figures of LimitSet belong together. Without the first of a group, that part of its control is switched off.
#: Only controls whose default is a figure are here: the others, and READINESS, cannot be switched off.
GAUGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("NOTIONAL_ABOVE_MAX", ("notional_usd_max",)),
    ("NOTIONAL_ABOVE_MAX", ("notional_equity_pct", "notional_floor_usd")),
    ("SIZE_OUTLIER", ("size_outlier_multiple",)),
    ("STALE_MARKET_DATA", ("quote_age_s_max",)),
    ("STALE_MARKET_DATA", ("candle_periods_max",)),
    ("RATE_LIMIT", ("rate_per_minute_bot",)),
    ("RATE_LIMIT", ("rate_per_minute_account",)),
    ("REPEAT_THROTTLE", ("repeat_per_day",)),
    ("OPEN_ORDERS_MAX", ("open_orders_bot_max",)),
    ("OPEN_ORDERS_MAX", ("open_orders_account_max",)),
    ("POSITION_MAX", ("position_equity_pct", "position_floor_usd")),
    ("GROSS_EXPOSURE_MAX", ("gross_equity_pct", "gross_floor_usd")),
    ("DAILY_LOSS", ("daily_loss_pct",)),
    ("DRAWDOWN", ("drawdown_pct",)),
    ("LOSING_STREAK", ("losing_streak_max", "losing_pause_h")),
    ("ERROR_STREAK", ("reject_streak_max",)),
    ("INTENT_EXPIRED", ("intent_age_s_max",)),
    ("LIVE_RAMP", ("ramp_usd_max",)),
)
SWITCHABLE: tuple[str, ...] = tuple(dict.fromkeys(code for code, _ in GAUGES))


def fields_of(*, is_live: bool) -> tuple[LimitField, ...]:
    """Return the figures that hold for live orders, or for paper ones."""
    return _LIVE if is_live else _PAPER


_LIVE = tuple(one for one in FIELDS if one.book != "paper")
_PAPER = tuple(one for one in FIELDS if one.book != "live")
