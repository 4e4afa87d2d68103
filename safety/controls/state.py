"""Controls on whether trading is allowed at all: the trading state, holds, open questions and an intent's age."""

from safety.controls.base import CLOCK_SKEW_S_MAX, Situation, seconds_since, text
from safety.intents import Denial, Level


def kill_switch(s: Situation) -> Denial | None:
    """Deny everything while halted, and all but exits while reducing. A state that cannot be read reads as halted.

    The exits of a flatten that a person confirmed pass a halt, too.
    """
    if s.state.level == Level.ACTIVE or (s.state.level == Level.REDUCING and s.is_exit):
        return None
    if s.intent.is_flatten is True and s.state.is_flattening is True and s.is_exit:
        return None
    why = "; ".join(s.state.reasons) or "no reason was given"
    if s.state.level == Level.REDUCING:
        return Denial(
            "KILL_SWITCH", f"Only orders that shrink a position are allowed: {why}.", "an exit", "not an exit"
        )
    return Denial("KILL_SWITCH", f"Trading is halted: {why}. A person has to release it.", "active", "halted")


def entries_held(s: Situation) -> Denial | None:
    """Deny entries while the bot is paused or its entries are held for a person."""
    if s.is_exit or s.exposure.entries_held == "":
        return None
    why = s.exposure.entries_held or "it is not known whether entries are held"
    return Denial("ENTRIES_HELD", f"New entries wait: {why}.", "entries free", "held")


def intent_expired(s: Situation) -> Denial | None:
    """Deny an intent that is older than its limit: what was right half a minute ago may be wrong now.

    One from the future is denied too: it would not grow old.
    """
    limit_s = s.limits.intent_age_s_max
    if limit_s is None:
        return None
    age_s = seconds_since(s.intent.created_at, s.now)
    if -CLOCK_SKEW_S_MAX <= age_s <= limit_s:
        return None
    return Denial(
        "INTENT_EXPIRED",
        "The intent is too old to send, or a clock is wrong.",
        f"{text(limit_s)} s",
        f"{text(age_s)} s",
    )


def reconciliation_open(s: Situation) -> Denial | None:
    """Deny entries in a symbol of which the books and the venue are not settled, or an order's outcome is not known."""
    if s.is_exit:
        return None
    open_points, unknown = s.exposure.reconciliation_open, s.exposure.unknown_on_symbol
    if open_points is None or unknown is None:
        return Denial(
            "RECONCILIATION_OPEN", "It is not known whether our books and the venue agree.", "settled", "not known"
        )
    if open_points == () and unknown == 0:
        return None
    found = [*map(str, open_points), *([f"{unknown} unknown"] if unknown else [])]
    return Denial(
        "RECONCILIATION_OPEN",
        "Something about this symbol is not settled between our books and the venue. Entries wait until it is.",
        "settled",
        "; ".join(found) or "unsound",
    )
