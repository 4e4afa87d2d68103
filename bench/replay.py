"""Replay of history through strategy, gate, paper broker and books, in memory: bars and orders per CPU-second."""

import statistics
import time
from decimal import Decimal
from typing import Any

from bench.scratch import Scratch
from bench.table import BenchRow

SYMBOL = "BTC-PERP"
RUNS = 5


def run(scratch: Scratch, *, quick: bool = False) -> list[BenchRow]:
    """Return the rows: the median over the strategies' medians, with the slowest and the fastest named."""
    import json

    measured: dict[str, list[float]] = json.loads(scratch.run("-m", "bench.replay", "1" if quick else str(RUNS)))
    bars = {key: one[0] for key, one in measured.items()}
    orders = {key: one[1] for key, one in measured.items()}
    return [
        BenchRow(
            "replay of history: bars",
            f"{statistics.median(bars.values()):,.0f} bars/CPU-s",
            "≥ 102,000 bars/CPU-s",
            "backtesting.py 102,000; freqtrade 13,500",
            f"{SYMBOL} 1m; {_spread(bars)}",
        ),
        BenchRow(
            "replay of history: orders",
            f"{statistics.median(orders.values()):,.0f} orders/CPU-s",
            "≥ 4,700 orders/CPU-s",
            "Nautilus 938",
            f"{SYMBOL} 1m; {_spread(orders)}",
        ),
    ]


def _spread(figures: dict[str, float]) -> str:
    return ", ".join(f"{key} {figure:,.0f}" for key, figure in sorted(figures.items(), key=lambda item: item[1]))


def measure(runs: int) -> dict[str, tuple[float, float]]:
    """Return bars and orders per CPU-second of each strategy with its defaults."""
    from bots.strategies import registry

    return {strategy.key: _measure_one(strategy, runs) for strategy in registry.all()}


def _measure_one(strategy: Any, runs: int) -> tuple[float, float]:
    from bots import backtest
    from safety.intents import LimitSet

    # The limits on losses are evaluated and let it trade on: a bot that they have paused makes no orders to be measured.
    never = Decimal(100)
    limits = LimitSet(
        notional_usd_max=Decimal(5000),
        notional_usd_min={"replay": Decimal(1)},
        daily_loss_pct=never,
        drawdown_pct=never,
        losing_streak_max=10**6,
    )
    case = backtest.Backtest(strategy, strategy.schema.defaults(), SYMBOL, Decimal(250), Decimal(10_000), limits)
    bars, orders = [], []
    for number in range(runs + 1):
        before_s = time.process_time()
        result = backtest.run(case).simulation
        spent_s = time.process_time() - before_s
        if number:  # the first run warms up
            bars.append(result.bars / spent_s)
            orders.append(len(result.trades) / spent_s)
    return statistics.median(bars), statistics.median(orders)


def main() -> None:
    """Measure and print JSON."""
    import json
    import sys

    import django

    django.setup()
    json.dump(measure(int(sys.argv[1])), sys.stdout)


if __name__ == "__main__":
    main()
