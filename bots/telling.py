"""What people are told of bots and orders: the facts that go with a message, and the messages that are not alarms.

All of them are written in the transaction that is open. What must happen in any case, a fill or a pause, never fails by it.
"""

from datetime import UTC, datetime

from django.conf import settings

from audit.decimals import decimal_text
from bots.models import Account, Bot, Order
from safety.notification_models import Notification
from safety.notifications.beside import once, tell_beside
from safety.notifications.messages import Severity

Facts = tuple[tuple[str, str], ...]
ERROR_CHARS_MAX = 400


def mode_of(is_live: bool) -> str:
    """Return in one word whose money it is about."""
    if is_live and settings.ENVIRONMENT.is_rehearsal:
        return "LIVE (rehearsal: no real money)"
    return "LIVE" if is_live else "PAPER"


def about_bot(bot: Bot, *, is_live: bool | None = None) -> Facts:
    """Return the facts of a bot, and of the book that it is about if that is not the one it trades in now."""
    mode = mode_of(bot.is_live if is_live is None else is_live)
    return (("Mode", mode), ("Bot", bot.name), ("Venue", bot.venue.capitalize()), ("Symbol", bot.symbol))


def about_order(order: Order) -> Facts:
    """Return the facts of an order."""
    price = "at the market" if order.limit_price is None else f"at {decimal_text(order.limit_price)}"
    return (
        ("Mode", mode_of(order.is_live)),
        ("Bot", "somebody else" if order.bot is None else order.bot.name),
        ("Venue", order.venue.capitalize()),
        ("Symbol", order.symbol),
        ("Order", f"{order.side} {decimal_text(order.quantity)} {price}"),
        ("Filled", decimal_text(order.filled_quantity)),
        ("Order id", order.client_order_id),
    )


def about_account(account: Account, asset: str) -> Facts:
    """Return the facts of what an account holds of something."""
    return (("Mode", mode_of(account.is_live)), ("Venue", account.venue.capitalize()), ("Asset", asset))


def subject_of(bot: Bot) -> str:
    """Return how a bot is named as the subject of a message."""
    return f"bot:{bot.pk} {bot.name}"


def tell_live_enabled(bot: Bot, *, actor: str, reason: str) -> None:
    """Tell that a bot was set live."""
    tell_beside(
        "live_enabled",
        subject_of(bot),
        f"{bot.name} was set LIVE",
        f"{reason}\nIts orders go to {bot.venue.capitalize()} with real money as soon as every lock is open. If this was not you:"
        " press HALT, then look at who did it in the operator events.",
        facts=(*about_bot(bot), ("Capital", f"{decimal_text(bot.capital_usd)} USD"), ("By", actor), ("Why", reason)),
    )


def tell_live_disabled(bot: Bot, *, actor: str, reason: str) -> None:
    """Tell that a bot is on paper again."""
    tell_beside(
        "live_disabled",
        subject_of(bot),
        f"{bot.name} is on paper again",
        f"{reason}\nIt holds nothing live and has no live order.".strip(),
        facts=(*about_bot(bot), ("By", actor), ("Why", reason or "no reason given")),
    )


def tell_refused(order: Order, bot: Bot, why: str) -> None:
    """Tell that an order was refused, by its venue or, on paper, by the built-in broker in its place."""
    is_built_in = order.deadline_at is None
    venue = "The paper broker" if is_built_in else order.venue.capitalize()
    tell_beside(
        "order_rejected",
        subject_of(bot),
        f"{venue} refused an order of {bot.name}",
        f"{why or 'No reason was given.'}\nNothing of it was placed. After several in a row the bot is paused by itself; read why"
        " on its last orders.",
        facts=about_order(order),
        severity=Severity.INFO if is_built_in else None,
    )


def tell_bot_error(bot: Bot, text: str, *, was_running: bool) -> None:
    """Tell that a bot's tick failed, and that it is paused now, or fails while it is paused."""
    title = f"{bot.name} failed and was paused" if was_running else f"{bot.name} is paused, and its exits fail"
    what_next = (
        "It buys nothing; its exits are still tried."
        if was_running
        else "It can't look after what it holds: close the position by hand if it must go."
    )
    tell_beside(
        "bot_error",
        subject_of(bot),
        title,
        f"{text[:ERROR_CHARS_MAX]}\n{what_next} Read the last error on its page, mend what is wrong, then start it again.",
        facts=about_bot(bot),
    )


def tell_paused(bot: Bot, reason: str, *, is_loss: bool) -> None:
    """Tell that a bot was paused by a limit. Of a loss on paper nobody needs to be woken up."""
    tell_beside(
        "risk_alert",
        subject_of(bot),
        f"{bot.name} was paused by its limits",
        f"{reason}.",
        facts=about_bot(bot),
        severity=Severity.INFO if is_loss and not bot.is_live else None,
    )


def tell_live_loss(account: Account, why: str) -> None:
    """Tell that a live account reached a loss limit; that its venue is reduce-only now is told by the kill switch itself."""
    tell_beside(
        "risk_alert",
        f"account:{account.name}",
        f"{account.venue.capitalize()}: the live account has lost as much as it may",
        f"{why}.\nBots there sell and do not buy. Look at the positions and at the market before you release.",
        facts=(("Mode", mode_of(account.is_live)), ("Venue", account.venue.capitalize())),
    )


def tell_losing_streak(bot: Bot, streak: int, until: datetime) -> None:
    """Tell, once for each streak that holds a bot's entries, that its last deals all closed with a loss."""
    event_id = once("losing_streak", bot.pk, bot.is_live, until.isoformat())
    if Notification.objects.filter(event_id=event_id).exists():
        return
    tell_beside(
        "risk_alert",
        subject_of(bot),
        f"{bot.name}: {streak} deals in a row closed with a loss",
        f"LOSING_STREAK: its new entries wait until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC; exits go on. Look whether its"
        " strategy still fits this market.",
        facts=about_bot(bot),
        severity=None if bot.is_live else Severity.INFO,
        event_id=event_id,
    )
