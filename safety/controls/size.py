"""Controls on how much: an order's value, the account's exposure, the bot's capital and the free cash."""

from decimal import Decimal

from safety.controls.base import Situation, share_of, text, usd
from safety.intents import Denial, Side

FUNDS_BUFFER = Decimal("0.01")
#: From so many filled orders on, a bot has a usual size.
USUAL_FROM_ORDERS = 10


def notional_above_max(s: Situation) -> Denial | None:
    """Deny an entry that is worth more than one order may be: in USD, and live as a share of the account's equity, too."""
    limit, pct, value = s.limits.notional_usd_max, s.limits.notional_equity_pct, s.notional_usd
    if s.is_exit:
        return None
    if pct is not None:
        by_equity = larger_of(pct, s.exposure.equity_usd, s.limits.notional_floor_usd)
        if by_equity is None:
            return Denial("NOTIONAL_ABOVE_MAX", "The account's equity is not known.", f"{text(pct)} %", "not known")
        if limit is None or by_equity < limit:
            limit = by_equity
    if limit is None or (value is not None and value <= limit):
        return None
    return Denial("NOTIONAL_ABOVE_MAX", "The order is worth more than one order may be.", usd(limit), usd(value))


def size_outlier(s: Situation) -> Denial | None:
    """Deny an entry far larger than the bot's orders usually are. A bot with few orders has nothing usual yet."""
    multiple, recent, planned = (
        s.limits.size_outlier_multiple,
        s.exposure.recent_notionals_usd,
        s.exposure.planned_leg_usd,
    )
    if s.is_exit or multiple is None:
        return None
    if recent is None:
        return Denial("SIZE_OUTLIER", "What the bot's last orders were worth is not known.", "known", "not known")
    if len(recent) < USUAL_FROM_ORDERS:
        return None
    value = s.notional_usd
    if planned is None or value is None:
        return Denial("SIZE_OUTLIER", "The size of the order or of the bot's plan is not known.", "known", "not known")
    limit = multiple * max(median(recent), planned)
    if value <= limit:
        return None
    return Denial(
        "SIZE_OUTLIER",
        f"The order is more than {text(multiple)} times what this bot usually trades and plans to.",
        usd(limit),
        usd(value),
    )


def position_max(s: Situation) -> Denial | None:
    """Deny an entry that would make the account's position in the symbol too large, open orders counted in."""
    pct, held = s.limits.position_equity_pct, s.exposure.symbol_exposure_usd
    if s.is_exit or pct is None:
        return None
    problem = _beyond(s, larger_of(pct, s.exposure.equity_usd, s.limits.position_floor_usd), held)
    return None if problem is None else Denial("POSITION_MAX", f"The position in this symbol{problem[0]}", *problem[1:])


def gross_exposure_max(s: Situation) -> Denial | None:
    """Deny an entry that would commit too much of the account, all its bots together; and never more than it owns."""
    pct, held, equity = s.limits.gross_equity_pct, s.exposure.gross_exposure_usd, s.exposure.equity_usd
    if s.is_exit or pct is None:
        return None
    limit = larger_of(pct, equity, s.limits.gross_floor_usd)
    # Leverage 1: the floor is for small accounts, and may be more than such a one has.
    problem = _beyond(s, limit if limit is None or equity is None else min(limit, equity), held)
    return (
        None if problem is None else Denial("GROSS_EXPOSURE_MAX", f"All positions together{problem[0]}", *problem[1:])
    )


def _beyond(s: Situation, limit: Decimal | None, held: Decimal | None) -> tuple[str, str, str] | None:
    """Return the end of a message, limit and actual where what is held and the order together pass the limit, else None."""
    value = s.notional_usd
    if limit is None or held is None or value is None:
        return ", or the account's equity, are not known.", usd(limit), "not known"
    if held + value <= limit:
        return None
    return f" would be too large: {usd(held)} without this order.", usd(limit), usd(held + value)


def larger_of(pct: Decimal, equity: Decimal | None, floor_usd: Decimal) -> Decimal | None:
    """Return the larger of a share of the equity and the floor in USD, or None when the equity is not known."""
    return None if equity is None else max(share_of(equity, pct), floor_usd)


def median(values: tuple[Decimal, ...]) -> Decimal:
    """Return the middle of the values, or the mean of the two in the middle; exact. There has to be one at least."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def bot_capital_exceeded(s: Situation) -> Denial | None:
    """Deny an entry that would commit more than the bot's own capital, open entries counted in."""
    if s.is_exit:
        return None
    capital, committed, value = s.exposure.capital_usd, s.exposure.bot_committed_usd, s.notional_usd
    # A bot whose position nobody can tell has no business enlarging it, whatever its figures in USD say.
    is_blind = s.exposure.position_quantity is None or s.exposure.pending_exit_quantity is None
    if capital is None or committed is None or value is None or is_blind:
        return Denial("BOT_CAPITAL_EXCEEDED", "What the bot has committed is not known.", usd(capital), "not known")
    if committed + value <= capital:
        return None
    return Denial(
        "BOT_CAPITAL_EXCEEDED",
        f"The bot has {usd(committed)} committed; this order would pass its capital.",
        usd(capital),
        usd(committed + value),
    )


def insufficient_funds(s: Situation) -> Denial | None:
    """Deny a purchase beyond the free cash less fees and a 1 % buffer, and a sale beyond what is held."""
    if s.intent.side == Side.SELL:
        return None if s.is_exit else _not_held(s)
    if s.intent.reduce_only:
        return Denial("INSUFFICIENT_FUNDS", "A reduce-only order has to be a sale.", "sell", "buy")
    cash, fee_rate, value = s.exposure.cash_free_usd, s.exposure.fee_rate, s.notional_usd
    if cash is None or fee_rate is None or value is None:
        return Denial("INSUFFICIENT_FUNDS", "The free cash is not known.", usd(cash), usd(value))
    needed = value * (1 + fee_rate) * (1 + FUNDS_BUFFER)
    if needed <= cash:
        return None
    return Denial(
        "INSUFFICIENT_FUNDS", "There is not enough free cash for the order and its fee.", usd(cash), usd(needed)
    )


def _not_held(s: Situation) -> Denial:
    held, on_offer = s.exposure.position_quantity, s.exposure.pending_exit_quantity
    free = None if held is None or on_offer is None else held - on_offer
    return Denial(
        "INSUFFICIENT_FUNDS", "The order would sell more than is held and free.", text(free), text(s.intent.quantity)
    )
