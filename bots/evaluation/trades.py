"""What the intelligence layer saves in turnover and costs or gains in P&L, against bots that may always enter."""

from dataclasses import dataclass
from decimal import Decimal

from bots.brokers.fees import fees_for
from bots.market_data.base import CandleSeries
from bots.market_data.datasets import VENUE, DatasetInfo
from bots.simulation import simulate
from bots.simulation_values import Conditions, SimulationResult
from bots.strategies import registry
from bots.strategies.base import Strategy
from safety.intents import LimitSet

CAPITAL_USD, EQUITY_USD = Decimal(1000), Decimal(100_000)
#: A bot with a least score, as a person may set one.
SCORE_MIN = 60


@dataclass(frozen=True, slots=True)
class Takings:
    """What one replay came to, in USD; ``pnl_usd`` is net of all costs, with what is still held at the last bid."""

    executions: int
    turnover_usd: Decimal
    fees_usd: Decimal
    pnl_usd: Decimal
    held_back: int


@dataclass(frozen=True, slots=True)
class TradeCheck:
    """One strategy with its defaults on one series: always allowed to enter, with the layer, and with a least score."""

    strategy: str
    always: Takings
    layer: Takings
    picky: Takings


def check_trades(series: CandleSeries, info: DatasetInfo, limits: LimitSet) -> list[TradeCheck]:
    """Return what each strategy came to on one series."""
    return [_check(strategy, series, info, limits) for strategy in registry.all()]


def _check(strategy: Strategy, series: CandleSeries, info: DatasetInfo, limits: LimitSet) -> TradeCheck:
    def takings(*, is_on: bool, score_min: int = 0) -> Takings:
        conditions = Conditions(
            CAPITAL_USD, EQUITY_USD, info.rules(), fees_for(VENUE, info.symbol), limits, info.half_spread_bps,
            with_intelligence=is_on, score_min=score_min,
        )  # fmt: skip
        return _takings(simulate(strategy, strategy.schema.defaults(), series, conditions))

    return TradeCheck(strategy.key, takings(is_on=False), takings(is_on=True), takings(is_on=True, score_min=SCORE_MIN))


def _takings(result: SimulationResult) -> Takings:
    book = result.book
    turnover = sum((trade.execution.quantity * trade.execution.price for trade in result.trades), Decimal(0))
    pnl_usd = book.realised_pnl + book.quantity * result.final_price - book.cost
    return Takings(len(result.trades), turnover, book.fees, pnl_usd, result.held_back)
