"""Controls on what went wrong lately: losses of the account, losing deals and failing orders of the bot. They stop entries."""

from decimal import ROUND_UP, Decimal

from safety.controls.base import SECONDS_AN_HOUR, Situation, percent_of, seconds_since, share_of, text, usd
from safety.intents import Denial


def daily_loss(s: Situation) -> Denial | None:
    """Deny entries once the account has lost so much of what it had at the start of the UTC day."""
    problem = _lost(s, s.limits.daily_loss_pct, s.exposure.day_start_equity_usd)
    message = "The account has lost as much today as it may in a day: only exits until the next UTC day or a release."
    return None if problem is None else Denial("DAILY_LOSS", problem[0] or message, *problem[1:])


def drawdown(s: Situation) -> Denial | None:
    """Deny entries once the account is so far below its highest equity since the last reset."""
    problem = _lost(s, s.limits.drawdown_pct, s.exposure.peak_equity_usd)
    message = "The account is as far below its highest equity as it may be: only exits until a person resets it."
    return None if problem is None else Denial("DRAWDOWN", problem[0] or message, *problem[1:])


def _lost(s: Situation, limit_pct: Decimal | None, before: Decimal | None) -> tuple[str, str, str] | None:
    """Return message (empty: the limit is reached), limit and actual, or None where there is nothing against the order."""
    if s.is_exit or limit_pct is None:
        return None
    equity = s.exposure.equity_usd
    if equity is None or before is None:
        return "The account's equity is not known.", f"{text(limit_pct)} %", "not known"
    lost = before - equity
    # At the limit denies: what is bounded here is a loss that may not be reached. An account that had nothing has lost all.
    if lost < share_of(before, limit_pct):
        return None
    return "", f"{text(limit_pct)} % of {usd(before)}", f"{usd(lost)} ({percent_of(lost, before)})"


def losing_streak(s: Situation) -> Denial | None:
    """Deny entries for some hours after so many deals in a row closed with a loss."""
    limit, streak, last_at = s.limits.losing_streak_max, s.exposure.losing_streak, s.exposure.last_loss_at
    if s.is_exit or limit is None:
        return None
    if streak is None:
        return Denial("LOSING_STREAK", "How the bot's last deals closed is not known.", text(limit), "not known")
    if streak < limit:
        return None
    if last_at is None:
        return Denial("LOSING_STREAK", "When the last deal closed with a loss is not known.", text(limit), text(streak))
    left_s = s.limits.losing_pause_h * SECONDS_AN_HOUR - seconds_since(last_at, s.now)
    if left_s <= 0:
        return None
    minutes = (left_s / 60).quantize(Decimal(1), rounding=ROUND_UP)
    return Denial(
        "LOSING_STREAK",
        f"{streak} deals in a row closed with a loss. New entries wait for another {minutes} minutes.",
        f"below {limit}",
        text(streak),
    )


def error_streak(s: Situation) -> Denial | None:
    """Deny entries after so many rejects in a row, and while the outcome of an order in the symbol is not known."""
    limit, rejects, unknown = s.limits.reject_streak_max, s.exposure.reject_streak, s.exposure.unknown_on_symbol
    if s.is_exit or limit is None:
        return None
    if rejects is None or unknown is None:
        return Denial("ERROR_STREAK", "How the bot's last orders ended is not known.", text(limit), "not known")
    if rejects >= limit:
        return Denial(
            "ERROR_STREAK",
            "The venue rejected the bot's last orders one after another. Look at why, then start the bot again.",
            f"below {limit} in a row",
            text(rejects),
        )
    if unknown == 0:
        return None
    return Denial(
        "ERROR_STREAK",
        "The outcome of an order in this symbol is not known yet. Entries wait until it is.",
        "0 unknown",
        f"{unknown} unknown",
    )
