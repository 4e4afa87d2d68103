"""What a tick costs: CPU of idle ticks and of ticks with open positions, adding a bot, memory, and the lag of many bots.

``python -m bench.ticks cpu|fleet COUNT [SECONDS]`` measures in a process of its own and prints JSON.
"""

import json
import statistics
import sys
import time
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from bench.scratch import Scratch
from bench.table import BenchRow

ROUNDS = 9


def run(scratch: Scratch, *, quick: bool = False) -> list[BenchRow]:
    """Return the rows, measured on this database; ``quick`` measures fewer bots for a shorter time."""
    count, seconds = (200, 10) if quick else (2000, 40)
    cpu = json.loads(scratch.run("-m", "bench.ticks", "cpu", "64"))
    fleet = json.loads(scratch.run("-m", "bench.ticks", "fleet", str(count), str(seconds)))
    start = json.loads(scratch.run("-m", "bench.ticks", "start"))
    db = scratch.vendor
    return [
        BenchRow("CPU of one idle tick", f"{cpu['idle_ms']:.2f} ms", "≤ 0.6 ms", "freqtrade 6.2 ms", db),
        BenchRow("CPU with 10 open positions", f"{cpu['ten_open_ms']:.2f} ms", "≤ 4.3 ms", "freqtrade 43.5 ms", db),
        BenchRow("adding a bot: CPU", f"{cpu['add_s'] * 1000:.0f} ms", "≤ 100 ms", "freqtrade 3.2 s", db),
        BenchRow("worker start to first tick: CPU", f"{start['cpu_s']:.2f} s", "≤ 1.5 s", "Nautilus 1.06 s CPU", db),
        BenchRow(
            "paper bots in 1 GiB of worker memory (PSS)",
            f"{fleet['per_gib']:.0f}",
            "≥ 200",
            "freqtrade 4.1",
            f"{db}; {count} bots in one worker of {fleet['pss_mib']:.0f} MiB",
        ),
        BenchRow(
            f"lag p99, {count} bots at 5 s",
            f"{fleet['lag_p99_ms']:.0f} ms",
            "< 1 s",
            "—",
            f"{db}; one worker, {fleet['cores']:.2f} of a core, {fleet['ticks']} ticks",
        ),
    ]


def cpu(count: int) -> dict[str, float]:
    """Return the median CPU of an idle tick, of ten ticks with open positions, and of adding a bot."""
    from django.utils import timezone

    from bench.desk import all_leases, make_bots
    from bots.models import Position
    from bots.tick import tick_batch

    fence = all_leases().fence()
    bots = make_bots(count)
    now = timezone.now()
    # The first round may trade; with the same moment again nothing is left to do.
    for _ in range(2):
        tick_batch(_due(bots, now), fence, now)
    idle = [_cpu_s(lambda: tick_batch(_due(bots, now), fence, now)) / count for _ in range(ROUNDS)]
    held = [bot for bot in bots if bot.strategy == "smart_dca"][:10]
    if Position.objects.filter(bot__in=held, quantity__gt=Decimal(0)).count() < len(held):
        raise RuntimeError("the DCA bots should have bought at once, and hold a position each")
    ten = [_cpu_s(lambda: tick_batch(_due(held, now), fence, now)) for _ in range(ROUNDS)]
    adding = [_cpu_s(partial(make_bots, count + 1 + number)) for number in range(5)]
    return {
        "idle_ms": statistics.median(idle) * 1000,
        "ten_open_ms": statistics.median(ten) * 1000,
        "add_s": statistics.median(adding),
    }


def fleet(count: int, seconds: float) -> dict[str, float]:
    """Run one worker's shift over many bots, and return its memory, its CPU and how late its ticks were."""
    from bench.desk import make_bots
    from bots.tick import load_schedule, tick_batch
    from bots.workers.shift import Runner

    make_bots(count)
    runner = Runner(cluster_id="bench", life_s=seconds, tick_batch=tick_batch, load_schedule=load_schedule)
    before_s = time.process_time()
    runner.run()
    shown = runner.shown()
    pss_mib = _pss_mib()
    return {
        "pss_mib": pss_mib,
        "per_gib": count / pss_mib * 1024,
        "lag_p99_ms": shown["lag_ms_p99"],
        "ticks": shown["ticks"],
        "cores": (time.process_time() - before_s) / seconds,
    }


def start() -> dict[str, float]:
    """Return the CPU that this process used until its first tick was done."""
    from django.utils import timezone

    from bench.desk import all_leases, make_bots
    from bots.tick import tick_batch

    fence = all_leases("bench start").fence()
    now = timezone.now()
    tick_batch(_due(make_bots(1), now), fence, now)
    return {"cpu_s": time.process_time()}


def _due(bots: Any, now: datetime) -> Any:
    from bots.workers.schedule import DueTick

    return [DueTick(bot.pk, now) for bot in bots]


def _cpu_s(work: Any) -> float:
    before_s = time.process_time()
    work()
    return time.process_time() - before_s


def _pss_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024


def main() -> None:
    """Measure what the command line names."""
    import django

    django.setup()
    what, *numbers = sys.argv[1:]
    result = {"cpu": cpu, "fleet": fleet, "start": start}[what](*map(int, numbers))  # type: ignore[operator]
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
