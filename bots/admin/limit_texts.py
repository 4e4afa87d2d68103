"""The limits that hold for a bot's orders, in words: what is limited, and by how much."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal

from audit import figures
from bots.ladder import LegCheck
from bots.strategies.base import WorstCase
from safety.intents import LimitSet

OFF = "switched off"
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One limit: its control's code, what it is about, the most that is allowed, and whether it is switched off."""

    code: str
    about: str
    text: str

    @property
    def is_off(self) -> bool:
        """Return whether nothing is limited here."""
        return self.text == OFF


@dataclass(frozen=True, slots=True)
class LegLine:
    """One purchase of a bot's plan under a name for people, and what the controls say of it."""

    title: str
    check: LegCheck


def leg_lines(checks: Iterable[LegCheck]) -> list[LegLine]:
    """Return the purchases of a plan with names for people."""
    return [LegLine(_leg_title(one.leg.name), one) for one in checks]


def rounded_up(worst: WorstCase) -> WorstCase:
    """Return what can be lost in whole cents, never less than it is."""
    at_stop = None if worst.at_stop_usd is None else worst.at_stop_usd.quantize(CENT, ROUND_UP)
    return replace(worst, loss_usd=worst.loss_usd.quantize(CENT, ROUND_UP), at_stop_usd=at_stop)


def _leg_title(name: str) -> str:
    safety_order = re.fullmatch(r"so(\d+)", name)
    if safety_order is not None:
        return f"safety order {safety_order[1]}"
    return {"base": "first purchase", "entry": "the purchase"}.get(name, name)


def limit_lines(limits: LimitSet, capital_usd: Decimal) -> list[LimitLine]:
    """Return every limit that holds for the orders of a bot with this capital, the ones about money first."""
    return [*_money(limits, capital_usd), *_losses(limits), *_pace(limits), *_prices(limits)]


def _money(limits: LimitSet, capital_usd: Decimal) -> list[LimitLine]:
    position = _share(limits.position_equity_pct, limits.position_floor_usd)
    gross = _share(limits.gross_equity_pct, limits.gross_floor_usd)
    return [
        LimitLine("BOT_CAPITAL_EXCEEDED", "All that the bot may have in the market", _usd(capital_usd)),
        LimitLine("NOTIONAL_ABOVE_MAX", "One purchase", _order_value(limits)),
        LimitLine("LIVE_RAMP", f"One purchase, until {limits.ramp_fills} live fills", _usd(limits.ramp_usd_max)),
        LimitLine("POSITION_MAX", "Position in one symbol", position),
        LimitLine("GROSS_EXPOSURE_MAX", "All bots of the account together", gross),
    ]


def _losses(limits: LimitSet) -> list[LimitLine]:
    pause = f"{limits.losing_streak_max} in a row, then it waits {_plain(limits.losing_pause_h)} h"
    rejects = f"{limits.reject_streak_max} in a row, then the bot pauses"
    day, peak = _percent(limits.daily_loss_pct), _percent(limits.drawdown_pct)
    return [
        LimitLine(
            "DAILY_LOSS", "Loss of the account in a day", _or_off(limits.daily_loss_pct, f"{day}, then only sales")
        ),
        LimitLine("DRAWDOWN", "Fall from its highest worth", _or_off(limits.drawdown_pct, f"{peak}, then only sales")),
        LimitLine("LOSING_STREAK", "Deals that lose", _or_off(limits.losing_streak_max, pause)),
        LimitLine("ERROR_STREAK", "Orders that the venue refuses", _or_off(limits.reject_streak_max, rejects)),
    ]


def _pace(limits: LimitSet) -> list[LimitLine]:
    rate = (limits.rate_per_minute_bot, limits.rate_per_minute_account)
    resting = (limits.open_orders_bot_max, limits.open_orders_account_max)
    return [
        LimitLine("RATE_LIMIT", "Orders and cancels in a minute", _bot_and_account(*rate)),
        LimitLine("OPEN_ORDERS_MAX", "Orders that rest", _bot_and_account(*resting)),
        LimitLine("REPEAT_THROTTLE", "Trades in a day with nobody looking", _count(limits.repeat_per_day)),
    ]


def _prices(limits: LimitSet) -> list[LimitLine]:
    major, other = _percent(limits.collar_pct_major), _percent(limits.collar_pct_other)
    collar = OFF if limits.collar_pct_other is None else f"{major} for the majors, {other} for others"
    multiple = f"{_plain(limits.size_outlier_multiple)} times its usual order"
    return [
        LimitLine("PRICE_COLLAR", "Price away from the market", collar),
        LimitLine("PRICE_COLLAR", "Price of an order that waits", _percent(limits.collar_passive_pct)),
        LimitLine("SIZE_OUTLIER", "An unusually large order", _or_off(limits.size_outlier_multiple, multiple)),
        LimitLine("STALE_MARKET_DATA", "Age of the price to buy on", _with_unit(limits.quote_age_s_max, "s")),
        LimitLine("STALE_MARKET_DATA", "Age of the last candle", _with_unit(limits.candle_periods_max, "bars")),
        LimitLine("INTENT_EXPIRED", "Age of an order when it is sent", _with_unit(limits.intent_age_s_max, "s")),
        LimitLine(
            "READINESS", "Age of the readiness run", f"{_plain(limits.readiness_age_h_max)} h, without a blocker"
        ),
    ]


def _order_value(limits: LimitSet) -> str:
    if limits.notional_usd_max is None:
        return OFF
    if limits.notional_equity_pct is None:
        return _usd(limits.notional_usd_max)
    return f"{_usd(limits.notional_usd_max)}, and {_share(limits.notional_equity_pct, limits.notional_floor_usd)}"


def _share(percent: Decimal | None, floor: Decimal) -> str:
    return _or_off(percent, f"the larger of {_percent(percent)} of the account and {_usd(floor)}")


def _bot_and_account(bot: int | None, account: int | None) -> str:
    return OFF if bot is None and account is None else f"{_count(bot)} for the bot, {_count(account)} for the account"


def _or_off(limit: object, text: str) -> str:
    return OFF if limit is None else text


def _usd(value: Decimal | None) -> str:
    return OFF if value is None else figures.money(value)


def _count(value: int | None) -> str:
    return OFF if value is None else str(value)


def _percent(value: Decimal | None) -> str:
    return OFF if value is None else f"{_plain(value)} %"


def _plain(value: Decimal | None) -> str:
    return OFF if value is None else figures.quantity(value)


def _with_unit(value: Decimal | None, unit: str) -> str:
    return OFF if value is None else f"{figures.quantity(value)} {unit}"
