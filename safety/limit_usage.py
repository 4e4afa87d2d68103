"""How much of its limits a bot and its account have used, for bars on pages; and the limits by themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from safety.controls.base import share_of
from safety.controls.size import larger_of
from safety.intents import Exposure, LimitSet
from safety.limit_fields import fields_of
from safety.soundness import computable, known

_EXACT = Context(prec=120)
_SHARE_STEP = Decimal("0.0001")
Figure = Decimal | int | None


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit as it holds: its control, its name, its unit, and its value or None where it is switched off."""

    code: str
    title: str
    unit: str
    value: Figure


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used of one limit. ``used`` None: not known; ``limit`` None: switched off, or not known.

    ``share`` is from 0 to 1, 1 also beyond the limit, and None where it cannot be told.
    """

    code: str
    title: str
    used: Figure
    limit: Figure
    unit: str
    share: Decimal | None


def limit_rows(limits: LimitSet, *, is_live: bool) -> tuple[LimitRow, ...]:
    """Return every limit that holds for live orders, or for paper ones, in the order of the Risk limits page."""
    return tuple(
        LimitRow(one.code, one.title, one.unit, getattr(limits, one.limit)) for one in fields_of(is_live=is_live)
    )


def usage(exposure: Exposure, limits: LimitSet, *, is_live: bool = False) -> tuple[Usage, ...]:
    """Return what is used of each limit that fills up by and by, in the order of the controls. Pure.

    Limits of single orders (their value, price and age) are not here: nothing is used of them before there is an order.
    """
    with localcontext(_EXACT):
        sound = known(exposure)
        return tuple(_usage(*one) for one in _gauges(sound, computable(limits), is_live))


def _gauges(e: Exposure, limits: LimitSet, is_live: bool) -> Iterator[tuple[str, str, Figure, Figure, str]]:
    yield "RATE_LIMIT", "Rate, one bot", e.sent_last_minute_bot, limits.rate_per_minute_bot, "a minute"
    yield "RATE_LIMIT", "Rate, the account", e.sent_last_minute_account, limits.rate_per_minute_account, "a minute"
    if is_live:
        yield "REPEAT_THROTTLE", "Executions of this symbol today", e.executions_today, limits.repeat_per_day, "a day"
    yield "OPEN_ORDERS_MAX", "Resting orders, one bot", e.open_orders_bot, limits.open_orders_bot_max, "orders"
    yield "OPEN_ORDERS_MAX", "Resting orders, account", e.open_orders_account, limits.open_orders_account_max, "orders"
    position_max = _of_equity(limits.position_equity_pct, e.equity_usd, limits.position_floor_usd)
    yield "POSITION_MAX", "Position in this symbol", e.symbol_exposure_usd, position_max, "USD"
    gross_max = _of_equity(limits.gross_equity_pct, e.equity_usd, limits.gross_floor_usd)
    if gross_max is not None and e.equity_usd is not None:
        gross_max = min(gross_max, e.equity_usd)
    yield "GROSS_EXPOSURE_MAX", "All positions together", e.gross_exposure_usd, gross_max, "USD"
    yield "BOT_CAPITAL_EXCEEDED", "The bot's capital", e.bot_committed_usd, e.capital_usd, "USD"
    for code, title, before, pct in (
        ("DAILY_LOSS", "Loss today", e.day_start_equity_usd, limits.daily_loss_pct),
        ("DRAWDOWN", "Loss from the peak", e.peak_equity_usd, limits.drawdown_pct),
    ):
        lost = None if before is None or e.equity_usd is None else max(before - e.equity_usd, Decimal(0))
        yield code, title, lost, None if before is None or pct is None else share_of(before, pct), "USD"
    yield "LOSING_STREAK", "Losing deals in a row", e.losing_streak, limits.losing_streak_max, "deals"
    yield "ERROR_STREAK", "Rejects in a row", e.reject_streak, limits.reject_streak_max, "orders"


def _of_equity(pct: Decimal | None, equity: Decimal | None, floor_usd: Decimal) -> Decimal | None:
    return None if pct is None else larger_of(pct, equity, floor_usd)


def _usage(code: str, title: str, used: Figure, limit: Figure, unit: str) -> Usage:
    # A limit that is not a number denies; nothing can be said of its share.
    if used is None or limit is None or (isinstance(limit, Decimal) and not limit.is_finite()):
        return Usage(code, title, used, limit, unit, None)
    share = Decimal(1) if used >= limit else (Decimal(used) / Decimal(limit)).quantize(_SHARE_STEP)
    return Usage(code, title, used, limit, unit, share)
