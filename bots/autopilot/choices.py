"""Which strategy a market gets: a plain table, not a forecast. Its params are the strategy's own defaults."""

from decimal import Decimal

from bots.intelligence.values import Regime
from bots.strategies import registry

#: A regime that is at least so sure gets the strategy that needs it most.
SURE = Decimal("0.5")


def strategy_for(regime: str, confidence: Decimal) -> str | None:
    """Return the key of the strategy for a regime; None where a long-only bot should not begin.

    A sure trend upwards is bought on new highs (breakout), an unsure one when averages cross (sma_cross). A sure range is bought
    when it is oversold (rsi_reversion), an unsure one in steps on the way down (smart_dca). A fall, wild prices and a market that
    nobody understands get no bot.
    """
    if regime == Regime.TREND_UP:
        return "breakout" if confidence >= SURE else "sma_cross"
    if regime == Regime.RANGE:
        return "rsi_reversion" if confidence >= SURE else "smart_dca"
    return None


def capital_usd_min(notional_usd_min: Decimal) -> Decimal:
    """Return the least capital with which every entry of every strategy, at its default params, reaches this order value."""
    unit_usd = Decimal(1000)
    legs = (leg.notional_usd / unit_usd for one in registry.all() for leg in one.ladder(one.schema.clean({}), unit_usd))
    return notional_usd_min / min(legs)
