"""A bot's whole ladder through the controls beforehand: what would be denied, and which limit to raise. Nothing is placed.

The legs are judged one after another on a falling price, each after those before it have filled and with the losses so far.
Only controls on sizes and losses are asked: what holds at the moment (locks, quotes, pace) says nothing of a plan.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Protocol

from bots.exposure import Market
from bots.instruments import is_major
from bots.strategies import registry
from bots.strategies.base import PlannedLeg
from bots.strategies.common import HUNDRED, entry_quantity
from safety.controls.base import StateReading
from safety.gate import verdicts
from safety.intents import Denial, Exposure, InstrumentRules, Level, LimitSet, OrderIntent, OrderType, Quote, Side
from safety.limit_fields import LimitField, fields_of

#: The controls that say something of a plan.
ASKED = frozenset({
    "NOTIONAL_ABOVE_MAX", "NOTIONAL_BELOW_MIN", "SIZE_OUTLIER", "POSITION_MAX", "GROSS_EXPOSURE_MAX", "BOT_CAPITAL_EXCEEDED",
    "DAILY_LOSS", "DRAWDOWN", "INSUFFICIENT_FUNDS", "INSTRUMENT_RULES", "LIVE_RAMP",
})  # fmt: skip


class Planned(Protocol):
    """What a ladder follows from: a bot, or one that is not made yet."""

    @property
    def venue(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def capital_usd(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Funds:
    """The account that a ladder is judged on, in USD. ``committed_usd`` is what other bots hold and have on order there."""

    equity_usd: Decimal
    committed_usd: Decimal = Decimal(0)
    live_fills: int = 0


@dataclass(frozen=True, slots=True)
class LegCheck:
    """One leg of a ladder and every reason against it. ``to_raise`` are the limits whose figure is too low for it."""

    leg: PlannedLeg
    denials: tuple[Denial, ...]
    to_raise: tuple[LimitField, ...]

    @property
    def passes(self) -> bool:
        """Return whether nothing is against the leg."""
        return not self.denials


def check_ladder(
    bot: Planned, market: Market, limits: LimitSet, funds: Funds, *, is_live: bool, now: datetime
) -> tuple[LegCheck, ...]:
    """Return what the controls say of every leg of the bot's ladder, from flat. Raises ParamError, UnknownStrategyError."""
    strategy = registry.get(bot.strategy)
    params = strategy.schema.clean(bot.params)
    planned = strategy.largest_leg_usd(params, bot.capital_usd)
    rules, fee_rate = market.view.rules, market.fees.taker
    held, cost = Decimal(0), Decimal(0)
    checks: list[LegCheck] = []
    for leg in strategy.ladder(params, bot.capital_usd):
        quote = _fallen(market.view.quote, leg.below_pct, rules, now)
        quantity = entry_quantity(leg.notional_usd, quote.ask, rules)
        exposure = replace(
            _exposure(bot, funds, quote, held, cost * (1 + fee_rate)),
            rules=rules,
            bot_committed_usd=cost,
            fee_rate=fee_rate,
            planned_leg_usd=planned,
            live_fills=funds.live_fills + len(checks),
        )
        intent = _intent(bot, leg, quantity, is_live=is_live, now=now)
        checks.append(_check(leg, intent, exposure, limits, now))
        held, cost = held + quantity, cost + quantity * quote.ask
    return tuple(checks)


def _exposure(bot: Planned, funds: Funds, quote: Quote, held: Decimal, spent_usd: Decimal) -> Exposure:
    """Return what the gate would know of a bot that holds this much and spent this much on it, fees included."""
    held_usd = held * quote.bid
    return Exposure(
        quote=quote,
        allowed_symbols=frozenset({(bot.venue, bot.symbol)}),
        capital_usd=bot.capital_usd,
        cash_free_usd=funds.equity_usd - funds.committed_usd - spent_usd,
        position_quantity=held,
        pending_exit_quantity=Decimal(0),
        is_major=is_major(bot.venue, bot.symbol),
        recent_notionals_usd=(),
        equity_usd=funds.equity_usd - spent_usd + held_usd,
        symbol_exposure_usd=held_usd,
        gross_exposure_usd=held_usd + funds.committed_usd,
        day_start_equity_usd=funds.equity_usd,
        peak_equity_usd=funds.equity_usd,
    )


def _check(leg: PlannedLeg, intent: OrderIntent, exposure: Exposure, limits: LimitSet, now: datetime) -> LegCheck:
    found = verdicts(intent, exposure, limits, StateReading(Level.ACTIVE), now=now)
    denials = tuple(one.denial for one in found if one.denial is not None and one.code in ASKED)
    codes = {denial.code for denial in denials}
    return LegCheck(leg, denials, tuple(one for one in fields_of(is_live=intent.is_live) if one.code in codes))


def _fallen(quote: Quote, below_pct: Decimal, rules: InstrumentRules, now: datetime) -> Quote:
    """Return the quote after its prices fell by so many %, in whole ticks and away from each other; a tick at least."""
    share = 1 - below_pct / HUNDRED
    tick = rules.tick_at(quote.bid * share)
    bid = max((quote.bid * share / tick).to_integral_value(ROUND_DOWN), Decimal(1)) * tick
    ask = max((quote.ask * share / tick).to_integral_value(ROUND_UP), Decimal(1)) * tick
    return replace(quote, bid=bid, ask=max(bid, ask), seen_at=now)


def _intent(bot: Planned, leg: PlannedLeg, quantity: Decimal, *, is_live: bool, now: datetime) -> OrderIntent:
    return OrderIntent(
        client_order_id=f"plan-{leg.name}"[:18],
        bot_id=0,
        venue=bot.venue,
        symbol=bot.symbol,
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=quantity,
        limit_price=None,
        reduce_only=False,
        is_live=is_live,
        created_at=now,
        leg=leg.name,
        reason="a plan",
        actor="plan",
    )
