"""How a bot's settings are written in the audit."""

from decimal import Decimal

from audit.decimals import decimal_text
from audit.fields import canonical_json
from bots.models import Bot, PaperBroker


def describe(bot: Bot) -> str:
    """Return a bot's configuration as canonical JSON, for the audit."""
    fields = ("venue", "symbol", "strategy", "params", "capital_usd", "paper_equity_usd", "poll_seconds", "dry_run")
    shown = {name: getattr(bot, name) for name in fields}
    # What is seldom set is named only where it is.
    seldom = {"paper_broker": bot.paper_broker} if bot.paper_broker == PaperBroker.VENUE else {}
    return canonical_json(shown | seldom | ({"score_min": bot.score_min} if bot.score_min else {}))


def shown(value: object) -> str:
    """Return a setting as a text, figures without an exponent."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value if isinstance(value, str) else canonical_json(value)
