"""Live bots on both loopback venues, with real workers, faults at random and kill −9: ``python -m tests.faults.soak``.

``--minutes 30 --bots 40 --seed N``: the same as tests/faults/test_soak.py runs for a minute. The seed decides which faults come
in which order; what they meet depends on the machine.
"""

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = "tests/faults/test_soak.py"


def main() -> None:
    """Run the soak as the test does, for as long and with as many bots as asked for, and exit with its code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--bots", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    environ = {
        **os.environ,
        "SOAK_MINUTES": str(options.minutes),
        "SOAK_BOTS": str(options.bots),
        "SOAK_SEED": str(options.seed),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", TEST]
    sys.exit(subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode)


if __name__ == "__main__":
    main()
