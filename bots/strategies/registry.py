"""The strategies that there are, by key."""

from bots.strategies.base import Strategy
from bots.strategies.breakout import Breakout
from bots.strategies.rsi_reversion import RsiReversion
from bots.strategies.sma_cross import SmaCross
from bots.strategies.smart_dca import SmartDca

_strategies: dict[str, Strategy] = {}


class UnknownStrategyError(LookupError):
    """No strategy has this key."""


class DuplicateStrategyError(ValueError):
    """Another strategy already has this key."""


def register(strategy: Strategy) -> None:
    """Add a strategy. Raises DuplicateStrategyError when its key is taken."""
    if strategy.key in _strategies:
        raise DuplicateStrategyError(f"strategy key {strategy.key!r} is taken")
    _strategies[strategy.key] = strategy


def get(key: str) -> Strategy:
    """Return the strategy with this key. Raises UnknownStrategyError, which lists the known keys."""
    try:
        return _strategies[key]
    except KeyError:
        raise UnknownStrategyError(f"unknown strategy {key!r}; known: {', '.join(_strategies)}") from None


def all() -> tuple[Strategy, ...]:
    """Return every strategy, in the order in which they were registered."""
    return tuple(_strategies.values())


for _strategy in (SmartDca(), SmaCross(), RsiReversion(), Breakout()):
    register(_strategy)
