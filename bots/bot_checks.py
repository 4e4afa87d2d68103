"""What can be wrong with a bot's settings before it is saved."""

from decimal import Decimal

from django.core.exceptions import ValidationError

from bots.models import Bot, BotStatus, PaperBroker, Venue

POLL_SECONDS_MAX = 86_400
SCORE_MAX = 100
#: Venues that have a paper account of their own.
WITH_PAPER_ACCOUNT = frozenset({Venue.ALPACA})


def problems_of(bot: Bot) -> list[str]:
    """Return everything that is wrong with a bot's settings, for people; nothing when it can be saved as it is."""
    problems = [
        f"The {name} has to be a figure above zero."
        for name, value in (("capital", bot.capital_usd), ("paper equity", bot.paper_equity_usd))
        if not isinstance(value, Decimal) or not value.is_finite() or value <= 0
    ]
    if bot.paper_broker == PaperBroker.VENUE and bot.venue not in WITH_PAPER_ACCOUNT:
        problems.append(f"{bot.venue} has no paper account: its paper orders are filled by the console itself.")
    if not 1 <= bot.poll_seconds <= POLL_SECONDS_MAX:
        problems.append(f"The poll interval has to be from 1 to {POLL_SECONDS_MAX} seconds.")
    if not 0 <= bot.score_min <= SCORE_MAX:
        problems.append(f"The least score has to be from 0 to {SCORE_MAX}.")
    if bot.by_autopilot and _others_of_autopilot(bot):
        problems.append(f"The autopilot has another bot for {bot.symbol}: it has one for a symbol.")
    try:
        bot.full_clean(
            exclude=["capital_usd", "paper_equity_usd", "poll_seconds", "score_min"], validate_constraints=False
        )
    except ValidationError as error:
        problems += [f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
    return problems


def _others_of_autopilot(bot: Bot) -> bool:
    others = Bot.objects.filter(by_autopilot=True, venue=bot.venue, symbol=bot.symbol).exclude(pk=bot.pk)
    return others.exclude(status=BotStatus.ARCHIVED).exists()
