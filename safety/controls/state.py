"""Controls on whether trading is allowed at all: the live gate, the trading state, holds and an intent's age."""

from decimal import Decimal

from safety.controls.base import CLOCK_SKEW_S_MAX, Situation, text
from safety.intents import Denial, Level


def live_gate_closed(s: Situation) -> Denial | None:
    """Deny every live order: this version has no live venue, whatever else is set."""
    if not s.intent.is_live:
        return None
    return Denial(
        "LIVE_GATE_CLOSED",
        "Live trading is closed: this version trades on paper only. Set the bot to dry run.",
        "paper only",
        "live order",
    )


def kill_switch(s: Situation) -> Denial | None:
    """Deny everything while halted, and all but exits while reducing. A state that cannot be read reads as halted."""
    why = "; ".join(s.state.reasons) or "no reason was given"
    if s.state.level == Level.ACTIVE or (s.state.level == Level.REDUCING and s.is_exit):
        return None
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
    age_s = Decimal(str((s.now - s.intent.created_at).total_seconds()))
    if -CLOCK_SKEW_S_MAX <= age_s <= s.limits.intent_age_s_max:
        return None
    return Denial(
        "INTENT_EXPIRED",
        "The intent is too old to send, or a clock is wrong.",
        f"{text(s.limits.intent_age_s_max)} s",
        f"{text(age_s)} s",
    )
