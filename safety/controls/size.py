"""Controls on how much: an order's value, the bot's capital and the account's cash."""

from decimal import Decimal

from safety.controls.base import Situation, text, usd
from safety.intents import Denial, Side

FUNDS_BUFFER = Decimal("0.01")


def notional_above_max(s: Situation) -> Denial | None:
    """Deny an entry that is worth more than one order may be."""
    limit, value = s.limits.notional_usd_max, s.notional_usd
    if s.is_exit or limit is None:
        return None
    if value is not None and value <= limit:
        return None
    return Denial("NOTIONAL_ABOVE_MAX", "The order is worth more than one order may be.", usd(limit), usd(value))


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
