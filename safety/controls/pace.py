"""Controls on how often and how many: duplicates, orders a minute and a day, and resting orders."""

from safety.controls.base import Situation, text
from safety.intents import Denial


def duplicate_order(s: Situation) -> Denial | None:
    """Deny a second order of one tick and leg, and one equal to another that was sent less than 10 s ago."""
    if s.exposure.is_duplicate is False:
        return None
    actual = "not known" if s.exposure.is_duplicate is None else "a second one"
    return Denial("DUPLICATE_ORDER", "An order like this one was sent a moment ago.", "one in 10 s", actual)


def rate_limit(s: Situation) -> Denial | None:
    """Deny entries above so many submits and cancels a minute, for the bot and for its account."""
    if s.is_exit:
        return None
    pairs = (
        ("bot", s.limits.rate_per_minute_bot, s.exposure.sent_last_minute_bot),
        ("account", s.limits.rate_per_minute_account, s.exposure.sent_last_minute_account),
    )
    for whose, limit, sent in pairs:
        if limit is not None and (sent is None or sent >= limit):
            return Denial(
                "RATE_LIMIT",
                f"The {whose} has sent as many orders as it may in a minute.",
                f"{limit} a minute",
                text(sent),
            )
    return None


def repeat_throttle(s: Situation) -> Denial | None:
    """Deny live entries in a symbol that has been traded that often today with no person in between."""
    limit, count = s.limits.repeat_per_day, s.exposure.executions_today
    if not s.intent.is_live or s.is_exit or limit is None:
        return None
    if count is not None and count < limit:
        return None
    return Denial(
        "REPEAT_THROTTLE",
        "As many live orders in this symbol were executed today as may be without a person looking.",
        f"{limit} a day",
        text(count),
    )


def open_orders_max(s: Situation) -> Denial | None:
    """Deny entries while the bot or its account has as many open orders as it may."""
    if s.is_exit:
        return None
    pairs = (
        ("bot", s.limits.open_orders_bot_max, s.exposure.open_orders_bot),
        ("account", s.limits.open_orders_account_max, s.exposure.open_orders_account),
    )
    for whose, limit, count in pairs:
        if limit is not None and (count is None or count >= limit):
            return Denial(
                "OPEN_ORDERS_MAX", f"The {whose} has as many open orders as it may.", text(limit), text(count)
            )
    return None
