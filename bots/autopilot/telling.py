"""What people are told of the bots that the autopilot makes and closes."""

from datetime import datetime
from decimal import Decimal

from audit.decimals import decimal_text
from bots.autopilot.values import Decision
from bots.models import Bot, Phase, Position
from safety.notifications.outbox import tell


def tell_created(bot: Bot, decision: Decision, phase: Phase, *, is_live: bool, now: datetime) -> None:
    """Tell of a bot that was made, in the unit that made it."""
    waits = " It waits for you to start it: auto-start is off." if phase == Phase.WAITING else ""
    capital = decimal_text(bot.capital_usd)
    text = f"{decision.reason} It trades {bot.symbol} at {bot.venue} with {bot.strategy} and {capital} USD of capital.{waits}"
    facts = (
        *_facts(bot, is_live=is_live),
        ("Strategy", bot.strategy),
        ("Capital", f"{capital} USD"),
        ("Score", str(decision.score)),
    )
    tell(
        "autopilot_bot_created",
        f"bot:{bot.pk}",
        f"The autopilot made a bot for {bot.symbol}",
        text,
        facts=facts,
        at=now,
    )


def tell_closed(bot: Bot, decision: Decision, now: datetime, *, is_over: bool) -> None:
    """Tell of a bot that makes no more entries, or, where ``is_over``, that is archived, in the unit that did it."""
    made = sum(Position.objects.filter(bot=bot, is_live=bot.is_live).values_list("realised_pnl", flat=True), Decimal(0))
    doing = "closed" if is_over else "is closing"
    facts = (*_facts(bot, is_live=bot.is_live), ("Realised", f"{made:.2f} USD"))
    title = f"The autopilot {doing} its bot for {bot.symbol}"
    tell("autopilot_bot_closed", f"bot:{bot.pk}", title, decision.reason, facts=facts, at=now)


def _facts(bot: Bot, *, is_live: bool) -> tuple[tuple[str, str], ...]:
    return (("Bot", bot.name), ("Venue", bot.venue), ("Symbol", bot.symbol), ("Mode", "LIVE" if is_live else "PAPER"))
