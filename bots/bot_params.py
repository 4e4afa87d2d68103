"""A bot's params as typed values, and what follows from them: parsed once for as long as they stay what they are."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bots.models import Bot
from bots.strategies import registry
from bots.strategies.base import Strategy
from bots.strategies.schema import ParamError

CACHED_MAX = 10_000


@dataclass(slots=True)
class _Parsed:
    """What was parsed from ``raw`` for ``strategy``, with the largest entry by capital."""

    strategy: Strategy
    raw: dict[str, Any]
    params: dict[str, Any]
    legs_usd: dict[Decimal, Decimal] = field(default_factory=dict)


_parsed: dict[int, _Parsed] = {}


def clean_params(bot: Bot) -> dict[str, Any]:
    """Return the bot's params as typed values. Raises ParamError and UnknownStrategyError."""
    return _of(bot).params


def planned_leg_usd(bot: Bot) -> Decimal | None:
    """Return the largest single entry in USD that the bot's params lead to, or None when its params cannot be read."""
    try:
        found = _of(bot)
    except (ParamError, registry.UnknownStrategyError):
        return None
    if bot.capital_usd not in found.legs_usd:
        # One capital at a time: it changes seldom.
        found.legs_usd = {bot.capital_usd: found.strategy.largest_leg_usd(found.params, bot.capital_usd)}
    return found.legs_usd[bot.capital_usd]


def forget() -> None:
    """Forget what was parsed, as a new process would."""
    _parsed.clear()


def _of(bot: Bot) -> _Parsed:
    # Compared with what the bot says, and not by a number: an id can come again, a revision be rolled back.
    strategy, found = registry.get(bot.strategy), _parsed.get(bot.pk)
    if found is None or found.strategy is not strategy or found.raw != bot.params:
        if len(_parsed) >= CACHED_MAX:
            _parsed.clear()
        found = _Parsed(strategy, dict(bot.params), strategy.schema.clean(bot.params))
        _parsed[bot.pk] = found
    return found
