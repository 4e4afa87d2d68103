"""The intelligence layer: a scan of many symbols with candles that nobody has read before, and an assessment of known ones.

``python -m bench.intelligence RUNS`` measures in a process of its own and prints JSON.
"""

import json
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

from bench.scratch import Scratch
from bench.table import BenchRow

SYMBOLS = 500
CANDLES = 500
ASSESSED = 5_000


def run(scratch: Scratch, *, quick: bool = False) -> list[BenchRow]:
    """Return the rows; ``quick`` measures fewer times."""
    measured: dict[str, float] = json.loads(scratch.run("-m", "bench.intelligence", "1" if quick else "5"))
    return [
        BenchRow(
            f"scan {SYMBOLS} symbols x {CANDLES} candles: CPU",
            f"{measured['scan_s']:.2f} s",
            "< 2 s",
            "—",
            "intelligence layer; every series read for the first time",
        ),
        BenchRow(
            "assess a market whose candles are known: CPU",
            f"{measured['assess_ms']:.3f} ms",
            "≤ 0.05 ms",
            "—",
            "what a tick pays for the intelligence layer",
        ),
    ]


def measure(runs: int) -> dict[str, float]:
    """Return the CPU of a scan in seconds and of an assessment in milliseconds, as medians; a first run warms up."""
    from bots.intelligence import layer

    now_ = _circumstances()
    scans, assessed = [], []
    for _ in range(runs + 1):
        fresh = _fresh_series()
        before_s = time.process_time()
        for series in fresh:
            layer.assess(series, now_)
        scans.append(time.process_time() - before_s)
        before_s = time.process_time()
        for _ in range(ASSESSED):
            layer.assess(fresh[0], now_)
        assessed.append((time.process_time() - before_s) * 1000 / ASSESSED)
    return {"scan_s": statistics.median(scans[1:]), "assess_ms": statistics.median(assessed[1:])}


def _fresh_series() -> list[Any]:
    """Return as many stretches of a recording as there are symbols, none of them seen before."""
    from bots.market_data.base import CandleSeries
    from bots.market_data.datasets import dataset

    data = dataset("BTC-PERP")
    frame = data.frame("1m")
    columns = ("open", "high", "low", "close", "volume")
    whole = CandleSeries(
        "kraken", "BTC", "1m", data.opened_at, frame.open, frame.high, frame.low, frame.close, frame.volume
    )
    apart = (len(whole) - CANDLES) // SYMBOLS
    places = [slice(number * apart, number * apart + CANDLES) for number in range(SYMBOLS)]
    return [
        replace(whole, opened_at=whole.opened_at[one], **{name: getattr(whole, name)[one].copy() for name in columns})
        for one in places
    ]


def _circumstances() -> Any:
    """Return circumstances in which nothing is in the way."""
    from datetime import UTC, datetime
    from decimal import Decimal

    from bots.intelligence.values import Circumstances
    from safety.intents import Level, Quote

    quote = Quote("kraken", "BTC", Decimal("42000.1"), Decimal("42000.2"), datetime(2026, 1, 1, tzinfo=UTC), "bench")
    return Circumstances(
        level=Level.ACTIVE,
        quote=quote,
        quote_age_s=Decimal(1),
        quote_age_max_s=Decimal(10),
        candle_age_s=Decimal(30),
        candle_bar_s=Decimal(60),
        fee_rate=Decimal("0.004"),
    )


def main() -> None:
    """Measure and print JSON."""
    import django

    django.setup()
    json.dump(measure(int(sys.argv[1])), sys.stdout)


if __name__ == "__main__":
    main()
