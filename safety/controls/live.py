"""Controls on live orders alone: the locks, the account's flags, the readiness run and the first steps."""

from decimal import ROUND_UP, Decimal

from safety.controls.base import CLOCK_SKEW_S_MAX, SECONDS_AN_HOUR, Situation, seconds_since, text, usd
from safety.intents import Denial, Lock

#: The locks that a live order must find open, in the order in which they are shown.
LOCKS = ("ALLOW_LIVE_TRADING", "LIVE_TRADING_ENABLED", "DRY_RUN", "KEYS", "DATABASE_STAMP")
_OF_ONE_VENUE = {"LIVE_TRADING_ENABLED": "alpaca"}


def locks_required(venue: str) -> tuple[str, ...]:
    """Return the ids of the locks that a live order at this venue needs open."""
    return tuple(one for one in LOCKS if _OF_ONE_VENUE.get(one, venue) == venue)


def live_gate_closed(s: Situation) -> Denial | None:
    """Deny a live order unless every lock of its venue is known and open. All that are shut are named, with their reasons."""
    if s.intent.is_live is False:
        return None
    locks = s.exposure.locks or ()
    known = {lock.id for lock in locks}
    unknown = [Lock(one, False, "", "It is not known.") for one in locks_required(s.intent.venue) if one not in known]
    shut = [lock for lock in (*locks, *unknown) if lock.is_open is not True]
    if not shut:
        return None
    reasons = " ".join(f"{lock.id}: {lock.reason or 'it is shut.'}" for lock in shut)
    return Denial(
        "LIVE_GATE_CLOSED",
        f"Live trading is closed. {reasons}",
        "every lock open",
        f"shut: {', '.join(lock.id for lock in shut)}",
    )


def account_blocked(s: Situation) -> Denial | None:
    """Deny every live order while the venue has set a flag against the account, or while that is not known."""
    flags = s.exposure.account_flags
    if not s.intent.is_live or flags == ():
        return None
    if flags is None:
        return Denial("ACCOUNT_BLOCKED", "What the venue says of the account is not known.", "no flag", "not known")
    return Denial(
        "ACCOUNT_BLOCKED",
        "The venue has blocked the account. Settle it there; it passes by itself when the flags are gone.",
        "no flag",
        ", ".join(map(str, flags)) or "unsound",
    )


def readiness(s: Situation) -> Denial | None:
    """Deny live entries unless the last readiness run of the venue is recent and found no blocker."""
    verdict, limit_h = s.exposure.readiness, s.limits.readiness_age_h_max
    if not s.intent.is_live or s.is_exit:
        return None
    if verdict is None or verdict.finished_at is None:
        return Denial("READINESS", "The readiness checks have not run for this venue.", "a run", "none")
    if verdict.blockers != ():
        return Denial(
            "READINESS",
            "The readiness checks found what blocks live entries. The Safety page says what to do.",
            "no blocker",
            ", ".join(map(str, verdict.blockers)) or "unsound",
        )
    age_s = seconds_since(verdict.finished_at, s.now)
    if -CLOCK_SKEW_S_MAX <= age_s <= limit_h * SECONDS_AN_HOUR:
        return None
    return Denial(
        "READINESS",
        "The last readiness run is too old, or a clock is wrong. Run the checks again.",
        f"{text(limit_h)} h",
        f"{text((age_s / SECONDS_AN_HOUR).quantize(Decimal('0.01'), rounding=ROUND_UP))} h",
    )


def live_ramp(s: Situation) -> Denial | None:
    """Deny a large live entry of a bot that has hardly traded live yet."""
    limit, fills, value = s.limits.ramp_usd_max, s.exposure.live_fills, s.notional_usd
    if not s.intent.is_live or s.is_exit or limit is None:
        return None
    if fills is None:
        return Denial("LIVE_RAMP", "How many live fills the bot has is not known.", usd(limit), "not known")
    if fills >= s.limits.ramp_fills or (value is not None and value <= limit):
        return None
    return Denial(
        "LIVE_RAMP",
        f"The bot has {fills} of the {s.limits.ramp_fills} live fills it needs before larger orders.",
        usd(limit),
        usd(value),
    )
