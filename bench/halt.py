"""How soon the kill switch answers while 200 bots trade: ``blocked_ms``, from the call until nothing new can be sent.

``python -m bench.halt BOTS HALTS`` measures in a process of its own, beside a worker that ticks the bots, and prints JSON.
"""

import json
import subprocess
import sys
import time

from bench.scratch import ROOT, Scratch
from bench.table import BenchRow

BOTS = 200


def run(scratch: Scratch, *, quick: bool = False) -> list[BenchRow]:
    """Return the row, measured on this database."""
    halts = 40 if quick else 200
    found = json.loads(scratch.run("-m", "bench.halt", str(BOTS), str(halts)))
    return [
        BenchRow(
            f"kill-switch answer, {BOTS} running bots: p50 / p99",
            f"{found['p50_ms']:.0f} / {found['p99_ms']:.0f} ms",
            "p99 ≤ 50 ms",
            "freqtrade 9–17 ms, and it goes on sending",
            f"{scratch.vendor}; {halts} halts and releases beside one worker",
        )
    ]


def halt(bots: int, halts: int) -> dict[str, float]:
    """Halt and release so often beside a worker that ticks the bots; return how long the halts took."""
    from bench.desk import make_bots
    from safety.intents import Level
    from safety.kill_switch import engage, release

    make_bots(bots)
    worker = subprocess.Popen([sys.executable, "-m", "bench.ticks", "fleet", str(bots), str(halts * 0.25 + 20)],
                              cwd=ROOT, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        time.sleep(8)
        took_ms = []
        for _ in range(halts):
            took_ms.append(engage(Level.HALTED, "measured", actor="bench").blocked_ms or 0)
            release("measured", actor="bench")
            # Bots trade in between; the halts come at no fixed point of their ticks.
            time.sleep(0.05 + time.monotonic() % 0.2)
    finally:
        worker.terminate()
        worker.wait(20)
    took_ms.sort()
    return {"p50_ms": took_ms[len(took_ms) // 2], "p99_ms": took_ms[int(len(took_ms) * 0.99)]}


def main() -> None:
    """Measure and print."""
    import django

    django.setup()
    print(json.dumps(halt(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
